//===- Ptx.cpp - Bitcode to PTX -------------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Parameters of kernels that are pointers point to global memory: the back end
// takes that for granted for CUDA, but only behind the optimizer. Said at the
// start of each kernel, it holds for pointers that loops and branches make of
// them too.
//
//===----------------------------------------------------------------------===//

#include "Codegen.h"

#include "llvm/Analysis/LoopInfo.h"
#include "llvm/IR/Dominators.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/NVPTXAddrSpace.h"

using namespace nibble;
using namespace nibble::codegen;

namespace {

/// Replaces generic pointers by casts of global ones.
void useGlobalParameters(llvm::Function &kernel) {
  llvm::IRBuilder<> builder(&kernel.getEntryBlock(),
                            kernel.getEntryBlock().begin());
  for (llvm::Argument &argument : kernel.args()) {
    auto *type = llvm::dyn_cast<llvm::PointerType>(argument.getType());
    if (!type || argument.hasByValAttr() ||
        type->getAddressSpace() != llvm::NVPTXAS::ADDRESS_SPACE_GENERIC ||
        argument.use_empty())
      continue;
    auto *global = llvm::cast<llvm::Instruction>(builder.CreateAddrSpaceCast(
        &argument, builder.getPtrTy(llvm::NVPTXAS::ADDRESS_SPACE_GLOBAL)));
    llvm::Value *generic = builder.CreateAddrSpaceCast(global, type);
    argument.replaceUsesWithIf(
        generic, [&](llvm::Use &use) { return use.getUser() != global; });
  }
}

bool isProduct(const llvm::Instruction &instruction) {
  auto *call = llvm::dyn_cast<llvm::CallInst>(&instruction);
  if (!call)
    return false;
  if (auto *code = llvm::dyn_cast<llvm::InlineAsm>(call->getCalledOperand()))
    return code->getAsmString().starts_with("wgmma");
  const llvm::Function *callee = call->getCalledFunction();
  return callee && (callee->getName().starts_with("llvm.nvvm.mma.") ||
                    callee->getName().starts_with("llvm.nvvm.wgmma."));
}

/// Generators unroll loops around products of tensor cores as far as registers
/// go. Neither LLVM nor ptxas is to take them further.
void keepProductLoops(llvm::Function &function) {
  llvm::DominatorTree dominators(function);
  llvm::LoopInfo loops(dominators);
  for (llvm::Loop *loop : loops.getLoopsInPreorder())
    if (llvm::any_of(loop->blocks(), [](const llvm::BasicBlock *block) {
          return llvm::any_of(*block, isProduct);
        }))
      loop->setLoopAlreadyUnrolled();
}

/// Otherwise ptxas would find what is missing, or the driver on another
/// machine.
llvm::Error checkDefined(const llvm::Module &module) {
  std::string undefined;
  for (const llvm::Function &function : module)
    if (function.isDeclaration() && !function.isIntrinsic())
      undefined += (undefined.empty() ? "" : ", ") + function.getName().str();
  if (undefined.empty())
    return llvm::Error::success();
  return llvm::createStringError("the code calls what it does not define: %s",
                                 undefined.c_str());
}

} // namespace

llvm::Expected<std::string> nibble::codegen::emitPtx(llvm::Module &module,
                                                     const CudaTarget &target) {
  auto machine = createMachine("nvptx64-nvidia-cuda", target.chip(),
                               "+ptx" + std::to_string(target.ptx));
  if (!machine)
    return machine.takeError();
  if (llvm::Error error = prepare(module, **machine))
    return error;
  if (llvm::Error error = checkDefined(module))
    return error;
  for (llvm::Function &function : module)
    if (function.getCallingConv() == llvm::CallingConv::PTX_Kernel) {
      useGlobalParameters(function);
      keepProductLoops(function);
    }
  optimize(module, **machine);
  return emitFile(module, **machine, llvm::CodeGenFileType::AssemblyFile);
}
