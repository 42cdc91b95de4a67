//===- Einsum.cpp - Sums of products over named dimensions ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An element of the result is a loop over every letter that is summed. That
// serves all equations; those that are matrix products are not sped up.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"

#include "nibble/dialects/Onnx/Einsum.h"

using namespace mlir;

namespace nibble::codegen {

namespace {

/// One Einsum at one index of its result.
class EinsumElement {
public:
  EinsumElement(Kernel &kernel, onnx::NodeOp node, const onnx::Einsum &einsum,
                Index index)
      : kernel(kernel), node(node), einsum(einsum) {
    for (auto [letter, value] : llvm::zip_equal(einsum.output, index))
      at[letter] = value;
    // The size of a letter is that of a dimension which is not broadcast.
    for (auto [operand, term] :
         llvm::zip_equal(node.getInputs(), einsum.inputs))
      for (auto [letter, size] : llvm::zip_equal(term, kernel.shape(operand))) {
        auto [it, isNew] = sizes.try_emplace(letter, size);
        if (!isNew && it->second.asConstant() == 1)
          it->second = size;
      }
  }

  /// The sum over the letters from `next` on.
  Value sum(size_t next) {
    if (next == einsum.summed.size())
      return product();
    Code &code = kernel.code;
    char letter = einsum.summed[next];
    Value zero = code.zero(kernel.registerType(node.getOutputs()[0]));
    return code.loop(code.index(0), kernel.evaluate(sizes[letter]), 1, {zero},
                     [&](Value i, llvm::ArrayRef<Value> total) -> Values {
                       at[letter] = i;
                       return {code.add(total[0], sum(next + 1))};
                     })[0];
  }

private:
  Value product() {
    Value result;
    for (auto [operand, term] :
         llvm::zip_equal(node.getInputs(), einsum.inputs)) {
      Values index;
      Shape target;
      for (char letter : term) {
        index.push_back(at[letter]);
        target.push_back(sizes[letter]);
      }
      Value value = kernel.broadcastElement(operand, index, target);
      result = result ? kernel.code.mul(result, value) : value;
    }
    return result;
  }

  Kernel &kernel;
  onnx::NodeOp node;
  const onnx::Einsum &einsum;
  std::map<char, Value> at;
  std::map<char, DimExpr> sizes;
};

Value einsum(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  llvm::SmallVector<int64_t> ranks;
  for (Value operand : node.getInputs())
    ranks.push_back(kernel.rank(operand));
  Expected<onnx::Einsum> parsed =
      onnx::parseEinsum(node.stringAttribute("equation", "").str(), ranks);
  if (!parsed)
    return kernel.unsupported(op, "an equation that cannot be read: " +
                                      parsed.status().message());
  return EinsumElement(kernel, node, *parsed, index).sum(0);
}

} // namespace

void addEinsumLowerings(LoweringTable &table) {
  table["onnx.Einsum"].element = einsum;
}

} // namespace nibble::codegen
