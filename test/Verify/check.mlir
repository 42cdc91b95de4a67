// nibble-check compares a model with what an earlier check saw; test/tools/plugin
// has the same in a stock mlir-opt.

// RUN: rm -rf %t && mkdir %t
// RUN: %python -c "import numpy as np; np.savez('%t/in.npz', x=np.arange(8, dtype='f4').reshape(2, 4) - 3)"
// RUN: %python -c "import numpy as np; np.savez('%t/other.npz', x=np.ones((2, 4), 'f4'))"
// DEFINE: %{check} = nibble-check{probes=%t/in.npz}

// What preserves values passes, and the module stays as it is.
// RUN: quant-opt %s --pass-pipeline='builtin.module(%{check},canonicalize,cse,%{check},qkernel-pack,%{check})' -o %t/out.mlir
// RUN: quant-opt %s --pass-pipeline='builtin.module(%{check})' | FileCheck %s
// CHECK: qmodel.rms_norm
// CHECK: qmodel.linear "down"

// What does not is named: the layer itself, and the value that it is.
// RUN: not quant-opt %s --pass-pipeline='builtin.module(%{check},qmodel-plan{bits=2 group=0},qmodel-quantize-rtn,%{check})' 2>&1 | FileCheck %s --check-prefix=MOVED
// MOVED: error: nibble-check: expects the values of the reference, but the passes since then moved 'up' in @main by a relative L2 of {{.*}}, more than the tolerance of 1.00e-04; the layer itself has changed
// RUN: not quant-opt %s --pass-pipeline='builtin.module(%{check},qmodel-plan{bits=2 group=0 include=down},qmodel-quantize-rtn,%{check})' 2>&1 | FileCheck %s --check-prefix=DOWN
// DOWN: moved 'down' in @main
// RUN: quant-opt %s --pass-pipeline='builtin.module(%{check},qmodel-plan{bits=2 group=0},qmodel-quantize-rtn,nibble-check{probes=%t/in.npz tolerance=0.9})' -o %t/out.mlir

// Layers are followed through packing.
// RUN: not quant-opt %s --pass-pipeline='builtin.module(%{check},qmodel-plan{bits=2 group=0 include=down},qmodel-quantize-rtn,qkernel-pack,%{check})' 2>&1 | FileCheck %s --check-prefix=DOWN

// A file keeps the reference for other runs.
// DEFINE: %{file} = nibble-check{probes=%t/in.npz reference=%t/r.safetensors}
// RUN: quant-opt %s --pass-pipeline='builtin.module(%{file})' -o %t/out.mlir
// RUN: test -s %t/r.safetensors
// RUN: quant-opt %s --pass-pipeline='builtin.module(cse,%{file},qkernel-pack,%{file})' -o %t/out.mlir
// RUN: sed 's/epsilon 1.0E-5/epsilon 0.1/' %s > %t/changed.mlir
// RUN: not quant-opt %t/changed.mlir --pass-pipeline='builtin.module(%{file})' 2>&1 | FileCheck %s --check-prefix=NORM
// NORM: moved the qmodel.rms_norm 'norm' in @main by {{.*}}; nothing in front of it has changed
// RUN: not quant-opt %s --pass-pipeline='builtin.module(qmodel-plan{bits=2 group=0 include=down},qmodel-quantize-rtn,%{file})' 2>&1 | FileCheck %s --check-prefix=DOWN

// An output of another shape, or another name, has moved too.
// RUN: sed 's/onnx.name = "y"/onnx.name = "z"/' %s > %t/renamed.mlir
// RUN: not quant-opt %t/renamed.mlir --pass-pipeline='builtin.module(nibble-check{probes=%t/in.npz reference=%t/r.safetensors})' 2>&1 | FileCheck %s --check-prefix=LOST
// LOST: error: nibble-check: {{.*}} moved 'y' in @main by a relative L2 of INF

// What it refuses.
// RUN: not quant-opt %s --pass-pipeline='builtin.module(nibble-check)' 2>&1 | FileCheck %s --check-prefix=PROBES
// PROBES: error: nibble-check: expects 'probes' to name a file of inputs
// RUN: not quant-opt %s --pass-pipeline='builtin.module(nibble-check{probes=%t/none.npz})' 2>&1 | FileCheck %s --check-prefix=NONE
// NONE: error: {{.*}}none.npz
// RUN: not quant-opt %s --pass-pipeline='builtin.module(nibble-check{probes=%t/in.npz tolerance=-1})' 2>&1 | FileCheck %s --check-prefix=TOLERANCE
// TOLERANCE: error: nibble-check: expects 'tolerance' to be 0 or more, got -1
// RUN: not quant-opt %s --pass-pipeline='builtin.module(nibble-check{probes=%t/other.npz reference=%t/r.safetensors})' 2>&1 | FileCheck %s --check-prefix=OTHER
// OTHER: error: nibble-check: expects the probes that '{{.*}}r.safetensors' was made on, got others; give these, or delete the file to make it anew
// RUN: %python -c "import numpy as np; open('%t/x.safetensors', 'wb').write(b'\x02\0\0\0\0\0\0\0{}')"
// RUN: not quant-opt %s --pass-pipeline='builtin.module(nibble-check{probes=%t/in.npz reference=%t/x.safetensors})' 2>&1 | FileCheck %s --check-prefix=FILE
// FILE: error: nibble-check: expects '{{.*}}x.safetensors' to be written by nibble-check, got another safetensors file; name one that is not there yet
// RUN: echo 'module {}' > %t/empty.mlir
// RUN: not quant-opt %t/empty.mlir --pass-pipeline='builtin.module(nibble-check{probes=%t/in.npz})' 2>&1 | FileCheck %s --check-prefix=MAIN
// MAIN: error: nibble-check expects a function @main to run, got none

qmodel.weight @g : tensor<4xf32> = dense<[1.0, 0.5, 2.0, 1.0]> : tensor<4xf32>
qmodel.weight @u : tensor<4x4xf32> = dense<[[0.1, 0.9, -0.7, 0.3], [1.0, 0.35, 0.2, -0.9], [0.45, 0.8, 0.15, 0.7], [-0.3, 0.6, 0.9, 0.2]]> : tensor<4x4xf32>
qmodel.weight @d : tensor<2x4xf32> = dense<[[0.3, -0.8, 0.25, 0.6], [0.7, 0.1, 0.55, -0.4]]> : tensor<2x4xf32>
func.func @main(%x: tensor<2x4xf32> {onnx.name = "x"}) -> (tensor<2x2xf32> {onnx.name = "y"}) {
  %g = qmodel.load @g : tensor<4xf32>
  %u = qmodel.load @u : tensor<4x4xf32>
  %d = qmodel.load @d : tensor<2x4xf32>
  %0 = qmodel.rms_norm %x, %g epsilon 1.0E-5 : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32> loc("norm")
  %1 = qmodel.linear "up" %0, %u : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32> loc("/up")
  %2 = qmodel.linear "down" %1, %d : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x2xf32> loc("/down")
  return %2 : tensor<2x2xf32>
}
