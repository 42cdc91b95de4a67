//===- QuantizeRows.cpp - Activations to codes ----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A block finds the range of a token, or a warp that of a group of channels;
// then each thread makes codes of its own elements. The smallest and the
// largest element do not depend on an order, so codes and scales are those of
// the interpreter to the bit.
//
//===----------------------------------------------------------------------===//

#include "Lowerings.h"
#include "Threads.h"

#include "nibble/codegen/Kernel/SchemeCode.h"
#include "nibble/dialects/QModel/QModel.h"

using namespace mlir;

namespace nibble::cuda {

namespace {

/// What one team of threads, a block or a warp, quantizes: the elements from
/// `from` up to `to` of x, which are block `number` of scales and zeros.
struct Group {
  Value from, to, number;
};

class GroupQuantizer {
public:
  GroupQuantizer(GpuFunction &function, qmodel::DynamicQuantizeOp op,
                 int64_t count, bool isWarp)
      : threads(function, count), kernel(function.kernel), code(kernel.code),
        op(op), scheme(code, op.getScheme()), isWarp(isWarp) {}

  void emit(const Group &group) {
    auto [lo, hi] = rangeOf(group);
    auto [scale, zero] = scheme.parameters(lo, hi);
    code.branch(code.compare(Compare::eq, member(), code.index(0)),
                [&, scale = scale, zero = zero] {
                  storeIfUsed(op.getScales(), group.number, scale);
                  if (zero)
                    storeIfUsed(op.getZeros(), group.number, asCode(zero));
                });
    if (!kernel.outputs.count(op.getCodes()))
      return;
    code.loop(code.add(group.from, member()), group.to, members(),
              [&, scale = scale, zero = zero](Value i) {
                kernel.storeAt(op.getCodes(), i,
                               scheme.quantized(at(i), scale, zero));
              });
  }

  Threads threads;
  Kernel &kernel;
  Code &code;

private:
  Value member() { return isWarp ? threads.lane : threads.thread; }
  int64_t members() const { return isWarp ? Threads::warpSize : threads.count; }
  Value at(Value i) {
    return code.resizeFloat(kernel.elementAt(op.getX(), i), code.f32());
  }
  Value asCode(Value zero) {
    return code.resizeInteger(code.toInteger(zero, code.i32()), code.i8());
  }
  void storeIfUsed(Value result, Value position, Value value) {
    if (result && kernel.outputs.count(result))
      kernel.storeAt(result, position, value);
  }

  /// Smallest and largest element, for all threads of the team.
  std::pair<Value, Value> rangeOf(const Group &group) {
    auto smaller = [&](Value a, Value b) {
      return code.select(code.compare(Compare::lt, b, a), b, a);
    };
    auto larger = [&](Value a, Value b) {
      return code.select(code.compare(Compare::gt, b, a), b, a);
    };
    // Every thread begins with an element that there is.
    Value first = at(group.from);
    Values mine = code.loop(
        code.add(group.from, member()), group.to, members(), {first, first},
        [&](Value i, llvm::ArrayRef<Value> range) -> Values {
          Value x = at(i);
          return {smaller(range[0], x), larger(range[1], x)};
        });
    auto reduce = [&](Value value, Threads::Combine combine) {
      return isWarp ? threads.reduceLanes(value, combine)
                    : threads.reduceBlock(value, combine);
    };
    return {reduce(mine[0], smaller), reduce(mine[1], larger)};
  }

  qmodel::DynamicQuantizeOp op;
  codegen::SchemeCode scheme;
  bool isWarp;
};

/// A block for each token.
LogicalResult lowerTokens(GpuKernel &gpu, qmodel::DynamicQuantizeOp op) {
  constexpr int64_t count = 256;
  LaunchCall call =
      gpu.add("tokens", {.threads = count}, [&](GpuFunction &function) {
        GroupQuantizer quantizer(function, op, count, /*isWarp=*/false);
        Kernel &kernel = function.kernel;
        Code &code = kernel.code;
        Value width = kernel.size(op.getX(), kernel.rank(op.getX()) - 1);
        Value row = function.block();
        Value from = code.mul(row, width);
        quantizer.emit({from, code.add(from, width), row});
      });
  call.grid.x = gpu.rows(op.getX());
  gpu.launch(std::move(call));
  return success();
}

/// A warp for each group of a token.
LogicalResult lowerGroups(GpuKernel &gpu, qmodel::DynamicQuantizeOp op,
                          int64_t size) {
  constexpr int64_t warps = 4;
  DimExpr width = gpu.shape(op.getX()).back();
  DimExpr perRow = (width + DimExpr(size - 1)).floorDiv(DimExpr(size));
  DimExpr groups = gpu.rows(op.getX()) * perRow;
  LaunchCall call = gpu.add(
      "groups", {.threads = warps * Threads::warpSize},
      [&](GpuFunction &function) {
        GroupQuantizer quantizer(function, op, warps * Threads::warpSize,
                                 /*isWarp=*/true);
        Kernel &kernel = function.kernel;
        Code &code = kernel.code;
        Value number = code.add(code.mul(function.block(), code.index(warps)),
                                quantizer.threads.warp);
        Value isThere =
            code.compare(Compare::lt, number, kernel.evaluate(groups));
        // Whole warps: the shuffles need all of their lanes.
        code.branch(isThere, [&] {
          Value columns = kernel.evaluate(width),
                each = kernel.evaluate(perRow);
          Value row = code.divide(number, each, /*isUnsigned=*/true);
          Value group = code.remainder(number, each, /*isUnsigned=*/true);
          Value firstOfRow = code.mul(row, columns);
          Value from = code.add(firstOfRow, code.mul(group, code.index(size)));
          Value to = code.minimum(code.add(from, code.index(size)),
                                  code.add(firstOfRow, columns));
          quantizer.emit({from, to, number});
        });
      });
  call.grid.x = (groups + DimExpr(warps - 1)).floorDiv(DimExpr(warps));
  gpu.launch(std::move(call));
  return success();
}

LogicalResult lowerDynamicQuantize(GpuKernel &gpu, Operation *op) {
  auto quantize = cast<qmodel::DynamicQuantizeOp>(op);
  int64_t group = quantize.getScheme().getGroup();
  return group == 0 ? lowerTokens(gpu, quantize)
                    : lowerGroups(gpu, quantize, group);
}

/// Codes of a byte: of smaller ones two threads would write to one.
bool hasWholeBytes(const GpuKernel &, Operation *op) {
  return !Kernel::isPacked(cast<qmodel::DynamicQuantizeOp>(op).getCodes());
}

} // namespace

void addQuantizeRowLowerings(GpuLoweringTable &table) {
  table["qmodel.dynamic_quantize"] = {lowerDynamicQuantize, hasWholeBytes};
}

} // namespace nibble::cuda
