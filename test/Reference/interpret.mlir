// What the interpreter does around ops: inputs by name, dimension symbols,
// calls, subgraphs, lifetimes, and its errors.

// RUN: rm -rf %t && split-file %s %t && cd %t
// RUN: %python arrays.py
// RUN: quant-opt main.mlir --interpret=in.npz -o out.npz
// RUN: %python check.py out.npz
// RUN: quant-opt main.mlir --pass-pipeline='builtin.module(nibble-interpret{inputs=in.npz outputs=pass.npz})' -o /dev/null
// RUN: %python check.py pass.npz
// RUN: not quant-opt main.mlir --interpret=wrong-type.npz -o no.npz 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: not quant-opt main.mlir --interpret=wrong-dim.npz -o no.npz 2>&1 | FileCheck %s --check-prefix=DIM
// RUN: not quant-opt main.mlir --interpret=missing.npz -o no.npz 2>&1 | FileCheck %s --check-prefix=MISSING
// RUN: not quant-opt unknown.mlir --interpret=in.npz -o no.npz 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not quant-opt index.mlir --interpret=in.npz -o no.npz 2>&1 | FileCheck %s --check-prefix=INDEX
// RUN: not quant-opt shape.mlir --interpret=in.npz -o no.npz 2>&1 | FileCheck %s --check-prefix=SHAPE
// RUN: not quant-opt zero.mlir --interpret=in.npz -o no.npz 2>&1 | FileCheck %s --check-prefix=ZERO
// RUN: not quant-opt main.mlir --interpret=in.npz 2>&1 | FileCheck %s --check-prefix=USAGE
// RUN: not quant-opt --no-such-option 2>&1 | FileCheck %s --check-prefix=OPTION
// RUN: not ls no.npz

// TYPE: input 'x' expects 'tensor<?x?xf32>', got 2x3xf64
// TYPE: error: could not interpret 'main.mlir'
// DIM: input 'mask' expects dimension 1 to be {{past \+ seq|seq \+ past}} = 5, got 4
// MISSING: expects inputs 'mask', 'cache', which are not given
// UNKNOWN: cannot be interpreted: no reference for operator 'NoSuchOperator' of domain 'org.example'
// INDEX: expects indices in [-2, 2), got 2 at element 0
// SHAPE: expects shapes that broadcast, got 2x3xf32 and 2x2xf32
// ZERO: divides integers by zero at element 1
// USAGE: error: --interpret writes arrays; name their file with -o
// OPTION: error: {{.*}}--no-such-option

//--- arrays.py
import numpy as np

x = np.arange(6, dtype=np.float32).reshape(2, 3)
good = dict(x=x, mask=np.ones((2, 5), np.int64), cache=np.zeros((2, 2)),
            unused=np.zeros(3))
np.savez("in.npz", **good)
np.savez("wrong-type.npz", **{**good, "x": x.astype(np.float64)})
np.savez("wrong-dim.npz", **{**good, "mask": np.ones((2, 4), np.int64)})
np.savez("missing.npz", x=x)

//--- check.py
import sys
import numpy as np

found = np.load(sys.argv[1])
x = np.arange(6, dtype=np.float32).reshape(2, 3)
assert sorted(found) == ["chosen", "dims", "loop", "scanned", "tripled"], \
    sorted(found)
assert np.array_equal(found["tripled"], 3 * x)
assert np.array_equal(found["dims"], [2, 3, 2, 5])
assert found["dims"].dtype == np.int64
assert np.array_equal(found["chosen"], -x)
assert found["loop"] == 1 + 2 + 3 + 4
assert np.array_equal(found["scanned"], [1, 3, 6, 10])

//--- main.mlir
func.func private @add_twice(
    %a: tensor<?x?xf32> {qmodel.dims = ["rows", "columns"]},
    %b: tensor<?x?xf32> {qmodel.dims = ["rows", "columns"]})
    -> tensor<?x?xf32> {
  %0 = onnx.node "Add"(%a, %b) {version = 16 : i64}
    : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  %1 = onnx.node "Add"(%0, %b) {version = 16 : i64}
    : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  return %1 : tensor<?x?xf32>
}

func.func @main(
    %x: tensor<?x?xf32> {onnx.name = "x", qmodel.dims = ["batch", "seq"]},
    %mask: tensor<?x?xi64>
      {onnx.name = "mask", qmodel.dims = ["batch", "past + seq"]},
    %cache: tensor<?x?xf64>
      {onnx.name = "cache", qmodel.dims = ["batch", "past"]})
    -> (tensor<?x?xf32> {onnx.name = "tripled"},
        tensor<4xi64> {onnx.name = "dims"},
        tensor<?x?xf32> {onnx.name = "chosen"},
        tensor<i64> {onnx.name = "loop"},
        tensor<?xi64> {onnx.name = "scanned"}) {
  %tripled = call @add_twice(%x, %x)
    : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  %dims = qmodel.dim_tensor ["batch", "seq", "past", "past + seq"]
    : tensor<4xi64>
  %false = onnx.constant dense<false> : tensor<i1>
  %chosen = onnx.node "If"(%false) {version = 16 : i64}
    : (tensor<i1>) -> tensor<?x?xf32> {
    // else_branch, which sees the values around it
    %0 = onnx.node "Neg"(%x) {version = 13 : i64}
      : (tensor<?x?xf32>) -> tensor<?x?xf32>
    onnx.yield %0 : tensor<?x?xf32>
  }, {
    onnx.yield %x : tensor<?x?xf32>
  }
  %trips = onnx.constant dense<4> : tensor<i64>
  %start = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %true = onnx.constant dense<true> : tensor<i1>
  %loop, %scanned = onnx.node "Loop"(%trips, %true, %start) {version = 16 : i64}
    : (tensor<i64>, tensor<i1>, tensor<i64>) -> (tensor<i64>, tensor<?xi64>) {
  ^bb0(%i: tensor<i64>, %going: tensor<i1>, %sum: tensor<i64>):
    %0 = onnx.node "Add"(%i, %one) {version = 16 : i64}
      : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %1 = onnx.node "Add"(%sum, %0) {version = 16 : i64}
      : (tensor<i64>, tensor<i64>) -> tensor<i64>
    onnx.yield %going, %1, %1 : tensor<i1>, tensor<i64>, tensor<i64>
  }
  return %tripled, %dims, %chosen, %loop, %scanned
    : tensor<?x?xf32>, tensor<4xi64>, tensor<?x?xf32>, tensor<i64>,
      tensor<?xi64>
}

//--- unknown.mlir
func.func @main(%x: tensor<?x?xf32> {onnx.name = "x"}) -> tensor<?x?xf32> {
  %0 = onnx.node "NoSuchOperator"(%x)
    {domain = "org.example", version = 1 : i64}
    : (tensor<?x?xf32>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}

//--- index.mlir
func.func @main(%x: tensor<?x?xf32> {onnx.name = "x"}) -> tensor<1x?xf32> {
  %at = onnx.constant dense<2> : tensor<1xi64>
  %0 = onnx.node "Gather"(%x, %at) {version = 13 : i64}
    : (tensor<?x?xf32>, tensor<1xi64>) -> tensor<1x?xf32>
  return %0 : tensor<1x?xf32>
}

//--- shape.mlir
func.func @main(%x: tensor<?x?xf32> {onnx.name = "x"}) -> tensor<?x?xf32> {
  %two = onnx.constant dense<0.0> : tensor<2x2xf32>
  %0 = onnx.node "Add"(%x, %two) {version = 16 : i64}
    : (tensor<?x?xf32>, tensor<2x2xf32>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}

//--- zero.mlir
func.func @main(%x: tensor<?x?xf32> {onnx.name = "x"}) -> tensor<2xi64> {
  %a = onnx.constant dense<[7, 7]> : tensor<2xi64>
  %b = onnx.constant dense<[2, 0]> : tensor<2xi64>
  %0 = onnx.node "Div"(%a, %b) {version = 14 : i64}
    : (tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
  return %0 : tensor<2xi64>
}
