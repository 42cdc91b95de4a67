//===- LinearLowerings.cpp - Linears with packed weights ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A packed_linear with fragments gets a function for 8, 16, 32 and 64 tokens,
// and says in its launch table which of them runs. Weights of 32 bits, which
// tensor cores would round, are multiplied by a warp for eight outputs.
//
//===----------------------------------------------------------------------===//

#include "FragmentLinear.h"
#include "Lowerings.h"
#include "Threads.h"

#include "nibble/dialects/QKernel/QKernel.h"

using namespace mlir;

namespace nibble::cuda {

namespace {

//===----------------------------------------------------------------------===//
// Fragments
//===----------------------------------------------------------------------===//

/// The functions of a linear and when they run.
class FragmentLaunches {
public:
  FragmentLaunches(GpuKernel &gpu, qkernel::PackedLinearOp op)
      : gpu(gpu), op(op), layout(qkernel::fragmentLayout(op.getFragments())),
        x(op.getX()), tokens(gpu.rows(op.getX())) {
    FragmentsAttr fragments = op.getFragments();
    Type type = qkernel::multipliedType(
        fragments, getElementTypeOrSelf(op.getX().getType()));
    mayScaleWeights = fragments.getScales() == type;
  }

  void emit();

private:
  using FragmentsAttr = qkernel::FragmentsAttr;

  FragmentPlan planFor(int64_t blockTokens, bool maySplit) const {
    FragmentPlan plan =
        FragmentPlan::of(layout, blockTokens, maySplit, mayScaleWeights);
    // Rounding x takes registers that two blocks do not have.
    if (getElementTypeOrSelf(x.getType()).isF32())
      plan.blocksPerSm = 1;
    return plan;
  }
  Launch launchOf(const FragmentPlan &plan, const llvm::Twine &suffix);

  GpuKernel &gpu;
  qkernel::PackedLinearOp op;
  FragmentLayout layout;
  Value x;
  DimExpr tokens;
  bool mayScaleWeights;
};

Launch FragmentLaunches::launchOf(const FragmentPlan &plan,
                                  const llvm::Twine &suffix) {
  bool isSplit = plan.splits > 1;
  Launch launch;
  LaunchCall call = gpu.add(suffix.str(),
                            {.threads = plan.threads(),
                             .hasWorkspace = isSplit,
                             .blocksPerSm = plan.blocksPerSm},
                            [&](GpuFunction &function) {
                              FragmentLinear(function, op, layout, plan).emit();
                            });
  call.grid.x = (layout.out + plan.rows() - 1) / plan.rows();
  call.grid.y = plan.splits;
  call.grid.z =
      (tokens + DimExpr(plan.tokens - 1)).floorDiv(DimExpr(plan.tokens));
  launch.calls.push_back(std::move(call));
  if (!isSplit)
    return launch;
  DimExpr results = tokens * DimExpr(layout.out);
  launch.workspace = results * DimExpr(4 * plan.splits);
  LaunchCall sum =
      gpu.add(suffix.str() + "_sum",
              {.threads = FragmentLinear::sumThreads, .hasWorkspace = true},
              [&](GpuFunction &function) {
                FragmentLinear::emitSum(function, op, plan.splits);
              });
  sum.grid.x = FragmentLinear::sumBlocks(results);
  launch.calls.push_back(std::move(sum));
  return launch;
}

void FragmentLaunches::emit() {
  std::optional<int64_t> known = tokens.asConstant();
  constexpr int64_t most = FragmentPlan::mostTokens;
  LaunchTable table;
  table.over = tokens;
  bool isDone = false;
  for (int64_t limit = 8; limit <= most && !isDone; limit *= 2) {
    if (known && *known > limit)
      continue;
    FragmentPlan plan = planFor(limit, /*maySplit=*/true);
    Launch launch = launchOf(plan, "m" + llvm::Twine(limit));
    isDone = known || (limit == most && plan.splits == 1);
    if (!isDone)
      launch.upTo = limit;
    table.launches.push_back(std::move(launch));
  }
  // More tokens are blocks enough, and partial sums of all of them much to
  // write and read again.
  if (!isDone)
    table.launches.push_back(
        launchOf(planFor(most, /*maySplit=*/false), "many"));
  gpu.launch(std::move(table));
}

//===----------------------------------------------------------------------===//
// Floats of CPU kernels' layout
//===----------------------------------------------------------------------===//

/// A warp sums eight outputs of a token: lane 8 s + r every fourth input of row
/// r, from input s on.
LogicalResult lowerRows(GpuKernel &gpu, qkernel::PackedLinearOp op) {
  constexpr int64_t warps = 4, slices = 4;
  RowInterleavedLayout layout =
      qkernel::rowInterleavedLayout(op.getRowLayout());
  constexpr int64_t rows = RowInterleavedLayout::rows;
  DimExpr tokens = gpu.rows(op.getX());
  LaunchCall call = gpu.add(
      "rows", {.threads = warps * Threads::warpSize}, [&](GpuFunction &f) {
        Kernel &kernel = f.kernel;
        Code &code = kernel.code;
        Threads threads(f, warps * Threads::warpSize);
        auto number = [&](int64_t value) { return code.index(value); };
        Value token = f.block();
        Value block =
            code.add(code.mul(f.block(1), number(warps)), threads.warp);
        Value row = code.remainder(threads.lane, number(rows), true);
        Value slice = code.divide(threads.lane, number(rows), true);
        Value out = code.add(code.mul(block, number(rows)), row);
        code.branch(
            code.compare(Compare::lt, block, number(layout.rowBlocks())), [&] {
              Type stored = op.getRowLayout().getElement();
              Value base = code.mul(block, number(layout.in * rows));
              Value first = code.mul(token, number(layout.in));
              Value sum = code.loop(
                  slice, number(layout.in), slices, {code.zero(code.f32())},
                  [&](Value input, llvm::ArrayRef<Value> carried) -> Values {
                    Value weight = code.loadFloats(
                        stored, 1, kernel.pointer(op.getWeight()),
                        code.add(base,
                                 code.add(code.mul(input, number(rows)), row)));
                    Value x = code.load(code.f32(), kernel.pointer(op.getX()),
                                        code.add(first, input));
                    return {code.fma(x, weight, carried[0])};
                  })[0];
              // Slices are in lanes that differ in bits 3 and 4.
              for (int32_t distance = 8; distance < 32; distance *= 2)
                sum = code.add(sum, f.shuffleXor(sum, distance));
              Value isMine = code.bitAnd(
                  code.compare(Compare::eq, slice, number(0)),
                  code.compare(Compare::lt, out, number(layout.out)));
              code.branch(isMine, [&] {
                if (op.getBias())
                  sum = code.add(
                      sum,
                      code.load(code.f32(), kernel.pointer(op.getBias()), out));
                code.store(sum, kernel.output(op.getResult()),
                           code.add(code.mul(token, number(layout.out)), out));
              });
            });
      });
  call.grid.x = tokens;
  call.grid.y = (layout.rowBlocks() + warps - 1) / warps;
  gpu.launch(std::move(call));
  return success();
}

//===----------------------------------------------------------------------===//
// Table
//===----------------------------------------------------------------------===//

bool acceptsLinear(const GpuKernel &gpu, Operation *op) {
  auto linear = cast<qkernel::PackedLinearOp>(op);
  for (Value operand : op->getOperands())
    if (!gpu.isInMemory(operand))
      return false;
  if (linear.getFragments())
    return true;
  qkernel::LayoutAttr rows = linear.getRowLayout();
  return isa<FloatType>(rows.getElement()) && !rows.getSparse24();
}

LogicalResult lowerLinear(GpuKernel &gpu, Operation *op) {
  auto linear = cast<qkernel::PackedLinearOp>(op);
  if (!linear.getFragments())
    return lowerRows(gpu, linear);
  FragmentLaunches(gpu, linear).emit();
  return success();
}

} // namespace

void addLinearLowerings(GpuLoweringTable &table) {
  GpuLowering &linear = table["qkernel.packed_linear"];
  linear.lower = lowerLinear;
  linear.accepts = acceptsLinear;
}

} // namespace nibble::cuda
