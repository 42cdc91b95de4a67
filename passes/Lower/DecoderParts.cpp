//===- DecoderParts.cpp - Which argument plays which part -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The bundle's rules for names and dimensions decide (Bundle/Generation.h). A
// cache whose size is not the past, because past and present share one buffer,
// is found by what is left: tensors of floats. Other integers count tokens.
//
//===----------------------------------------------------------------------===//

#include "Decoder.h"

#include "nibble/Bundle/Generation.h"
#include "nibble/Support/Decline.h"
#include "nibble/dialects/QKernel/EntryPoints.h"

#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;

/// The past where no dimension of the model counts it.
static constexpr StringLiteral unnamedPast = "nibble.past";

/// The dimension of a cache that an output has with the new tokens behind it;
/// empty if there is none.
static std::string pastOf(const EntryPoint &entry, const DecoderParts &parts) {
  for (unsigned cache : parts.caches) {
    EntryPoint one = entry;
    one.inputs = {entry.inputs[parts.tokens], entry.inputs[cache]};
    if (std::optional<GenerationInfo> grown = findGeneration(one))
      return grown->pastDim;
  }
  return {};
}

static bool isSingle(const Port &port) {
  return llvm::all_of(port.shape,
                      [](const DimExpr &dim) { return dim.asConstant() == 1; });
}

/// Exporters agree on "total" in the name of the count of all tokens.
static bool isTotal(const Port &port) {
  return llvm::StringRef(port.name).contains("total");
}

std::optional<DecoderParts> lower::findDecoder(func::FuncOp main) {
  // What cannot be described is reported by what lowers it.
  ScopedDiagnosticHandler quiet(main.getContext(),
                                [](Diagnostic &) { return success(); });
  FailureOr<EntryPoint> entry = describeEntry(main);
  if (failed(entry))
    return std::nullopt;
  std::optional<GenerationInfo> roles = findTokenPorts(*entry);
  if (!roles)
    return std::nullopt;
  ElementType tokenType = entry->inputs[roles->tokens].type;
  if (tokenType != ElementType::signedInt(64) &&
      tokenType != ElementType::signedInt(32))
    return std::nullopt;
  DecoderParts parts;
  parts.tokens = roles->tokens;
  parts.logits = roles->logits;
  if (roles->attentionMask >= 0)
    parts.mask = roles->attentionMask;
  if (roles->positions >= 0)
    parts.positions = roles->positions;
  parts.batch = entry->inputs[roles->tokens].shape[0];
  parts.sequence = roles->sequenceDim;
  SmallVector<unsigned> totals;
  for (auto [index, port] : llvm::enumerate(entry->inputs)) {
    bool isCount = port.type.isInteger() && index != parts.tokens &&
                   index != parts.mask && index != parts.positions;
    if (port.type.isFloat() && port.shape.size() >= 4)
      parts.caches.push_back(index);
    else if (isCount && isSingle(port) && isTotal(port))
      totals.push_back(index);
    else if (isCount && port.shape.size() == 1 && port.shape[0] == parts.batch)
      parts.counts.emplace(index, unknownCount(index));
    else if (isCount && isSingle(port))
      // A start, an end, a flag: what it means is not in the model.
      return decline(main, makeDecoderName,
                     llvm::Twine("what input '") + port.name +
                         "' counts is not known"),
             std::nullopt;
  }
  if (parts.caches.empty())
    return std::nullopt;

  auto bounds = dimBounds(main->getParentOfType<ModuleOp>());
  auto largest = [&](const DimExpr &dim) {
    Expected<DimExpr::Bound> bound = dim.bound(bounds);
    return bound ? bound->max : 0;
  };
  int64_t tokens = largest(DimExpr::symbol(parts.sequence));
  parts.past = pastOf(*entry, parts);
  if (!parts.past.empty()) {
    parts.capacity = std::max(largest(DimExpr::symbol(parts.past)) + 1, tokens);
  } else {
    parts.past = unnamedPast.str();
    const std::vector<DimExpr> &shape =
        entry->inputs[parts.caches.front()].shape;
    parts.capacity = largest(shape[shape.size() - 2]);
  }
  // One count for all sequences: all tokens of the longest.
  for (unsigned total : totals)
    parts.counts.emplace(total, DimExpr::symbol(parts.past) +
                                    DimExpr::symbol(parts.sequence));
  // Without bounds, lowering says which are missing.
  return tokens > 0 && parts.capacity > 0 ? std::optional(parts) : std::nullopt;
}
