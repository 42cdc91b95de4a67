//===- GpuKernel.h - One qkernel.kernel as GPU functions --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   static LogicalResult lowerNorm(GpuKernel &gpu, Operation *op) {
//     LaunchCall call = gpu.add("rows", {.threads = 128}, [&](GpuFunction &f) {
//       Value row = f.block(0), column = f.thread();
//       ... f.kernel.element(x, index) ... f.barrier();
//     });
//     call.grid.x = rows;
//     gpu.launch(call);
//     return success();
//   }
//   void addNorms(GpuLoweringTable &table) {
//     table["qmodel.rms_norm"].lower = lowerNorm;
//   }
//
// How a lowering of codegen/CUDA makes functions with the parameters of
// Target/CudaKernelAbi.h, and says how they are launched. What is not in the
// table has a thread per element (codegen/Kernel) or, slower, a thread per
// task.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_GPUKERNEL_H
#define NIBBLE_CODEGEN_CUDA_GPUKERNEL_H

#include "nibble/codegen/Kernel/Kernel.h"
#include "nibble/dialects/QKernel/Launches.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace nibble::cuda {

using namespace codegen;

using qkernel::Grid;
using qkernel::Launch;
using qkernel::LaunchCall;
using qkernel::LaunchTable;

struct GpuFunctionOptions {
  int64_t threads = 256; ///< of a block
  bool hasWorkspace = false;
  int64_t dynamicSharedBytes = 0; ///< for gpu.dynamic_shared_memory
  /// Blocks that must fit into an SM at a time: what registers a thread gets.
  /// 0 leaves it to ptxas, which rather spills a little than holds few.
  int64_t blocksPerSm = 0;
};

/// A gpu.func whose body is being written.
class GpuFunction {
public:
  GpuFunction(mlir::gpu::GPUFuncOp op, Kernel kernel, Value workspace)
      : op(op), kernel(std::move(kernel)), workspace(workspace) {}

  mlir::gpu::GPUFuncOp op;
  /// The kernel's tensors, dimensions and code, which stands in the entry
  /// block: `kernel.pointer(x)` is an operand, `kernel.output(y)` a result,
  /// `kernel.element(x, index)` an element wherever it comes from.
  Kernel kernel;
  Value workspace; ///< a pointer, or null

  /// Index of the thread in its block and of the block in the grid, as i64.
  Value thread();
  Value block(unsigned dimension = 0);
  /// Shared memory of the block with a size that is known: a memref in address
  /// space workgroup.
  Value shared(Type element, llvm::ArrayRef<int64_t> shape);
  void barrier();
  /// The value that the lane `distance` (xor) away has in `value`, a number of
  /// 32 or 64 bits.
  Value shuffleXor(Value value, int32_t distance);
};

/// The kernel that is being lowered.
class GpuKernel {
public:
  qkernel::KernelOp source;
  const DimsAnalysis &dims;

  const Shape &shape(Value tensor) const { return *dims.of(tensor).shape; }
  /// Rows of a tensor: all dimensions but the last.
  DimExpr rows(Value tensor) const;
  DimExpr elementCount(Value tensor) const;
  /// Whether a tensor has an address: an argument of the kernel, a constant, or
  /// what the kernel yields. Others are computed where they are read.
  bool isInMemory(Value tensor) const;

  /// Makes a function of the kernel, named after it and `suffix`. `body` writes
  /// what a thread does; the function returns behind it. The grid is one block.
  LaunchCall add(llvm::StringRef suffix, const GpuFunctionOptions &options,
                 llvm::function_ref<void(GpuFunction &)> body);

  /// What does the work of the op that is being lowered: one call, or several
  /// launches to choose from.
  void launch(LaunchCall call);
  void launch(LaunchTable table);

  GpuKernel(qkernel::KernelOp source, mlir::gpu::GPUModuleOp module,
            const DimsAnalysis &dims, const LoweringTable &lowerings)
      : source(source), dims(dims), module(module), lowerings(lowerings) {}
  /// What all parts together launch.
  const LaunchTable &launches() const { return table; }
  bool hasFailed() const { return failed; }

private:
  Kernel bind(mlir::gpu::GPUFuncOp function, mlir::OpBuilder &builder);

  mlir::gpu::GPUModuleOp module;
  const LoweringTable &lowerings;
  LaunchTable table;
  unsigned constants = 0;
  bool failed = false;
};

/// How one op becomes GPU code of its own.
struct GpuLowering {
  /// Makes functions and launches them. Where it fails it has said why.
  llvm::LogicalResult (*lower)(GpuKernel &, mlir::Operation *) = nullptr;
  /// Whether it knows this op with these types and operands; null: it knows
  /// all. Other ops are lowered as if they were not in the table.
  bool (*accepts)(const GpuKernel &, mlir::Operation *) = nullptr;
};

/// By name, as LoweringTable: "qmodel.rms_norm", "onnx.Softmax".
using GpuLoweringTable = llvm::StringMap<GpuLowering>;

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_GPUKERNEL_H
