//===- Generation.h - Which port plays which part ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   std::optional<GenerationInfo> roles = findGeneration(entry);
//   Expected<NamedTensors> inputs = tokenInputs(entry, *roles, tokens);
//
// What a language model's ports are for, and the inputs that make it read rows
// of tokens.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BUNDLE_GENERATION_H
#define NIBBLE_BUNDLE_GENERATION_H

#include "nibble/Bundle/Bundle.h"

namespace nibble {

/// The ports of tokens: as findGeneration, whatever inputs there are beside them
/// and whether or not these can be fed.
std::optional<GenerationInfo> findTokenPorts(const EntryPoint &entry);

/// Finds out how an entry point generates text, from the names, types and
/// dimensions of its ports: integer `input_ids`, `attention_mask` and
/// `position_ids` [batch, ...], `logits` [batch, seq, vocabulary] in floating
/// point, and
/// cache inputs, each with the output that has the same shape but for one
/// dimension grown by the sequence. Nothing if a needed input has no known
/// part.
std::optional<GenerationInfo> findGeneration(const EntryPoint &entry);

/// What input number `input`, which is not the tokens, must be so that `rows`
/// rows of `length` tokens are read from their first one: everything may be
/// seen, positions count from 0, caches are empty. Error if a dimension of the
/// port does not follow from rows and length.
Expected<Tensor> companionInput(const EntryPoint &entry,
                                const GenerationInfo &roles, uint32_t input,
                                int64_t rows, int64_t length);

/// Inputs, in the order of the ports, that read whole rows of `tokens` [rows,
/// length] (integers) from their first token; errors as above.
Expected<std::vector<std::pair<std::string, Tensor>>>
tokenInputs(const EntryPoint &entry, const GenerationInfo &roles,
            const Tensor &tokens);

} // namespace nibble

#endif // NIBBLE_BUNDLE_GENERATION_H
