//===- LanguageModelForm.h - Ways to drive a model --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_RUNTIME_LANGUAGEMODELFORM_H
#define NIBBLE_LIB_RUNTIME_LANGUAGEMODELFORM_H

#include "nibble/Runtime/LanguageModel.h"

namespace nibble {

/// One way to drive a model. Whoever fills in the fields promises: `append` is
/// called with as many spans as there are lengths, which fit into the capacity.
class LanguageModel::Form {
public:
  virtual ~Form() = default;
  /// Runs the model on the new tokens, sets `logits` of the sequences that have
  /// some, and adds to the lengths.
  virtual Status append(std::span<const std::span<const int32_t>> tokens) = 0;
  virtual const Session &promptSession() const = 0;
  virtual const Session &stepSession() const = 0;
  /// Bytes of cache for each token.
  virtual uint64_t cacheBytesPerToken() const = 0;

  std::vector<uint64_t> lengths;              ///< by sequence
  std::vector<std::span<const float>> logits; ///< by sequence
  uint64_t capacity = 0;
  int64_t vocabulary = 0;
  bool hasCache = false;
};

/// With the entry points of `info`.
Expected<std::unique_ptr<LanguageModel::Form>>
makeDecoderForm(Session &session, const DecoderInfo &info, uint64_t sequences);
/// With the entry point of the bundle's generation info, whose session it is;
/// for one sequence.
Expected<std::unique_ptr<LanguageModel::Form>>
makeExportedForm(Session &session, const GenerationInfo &info);

} // namespace nibble

#endif // NIBBLE_LIB_RUNTIME_LANGUAGEMODELFORM_H
