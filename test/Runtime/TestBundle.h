//===- TestBundle.h - Bundles with hand-written kernels ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What a compiler would make, without one: the kernels of kernels.c, compiled
// by the C compiler, and programs spelled by hand.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_RUNTIME_TESTBUNDLE_H
#define NIBBLE_TEST_RUNTIME_TESTBUNDLE_H

#include "nibble/Bundle/Bundle.h"

namespace nibble::test {

/// Tokens of the language model below.
constexpr int64_t vocabulary = 19;
/// Most tokens in its past, or in a sequence.
constexpr int64_t maxPast = 40, maxSequence = 16;

/// Entry points "twice" (y = 4 x through the arena; rows up to 64, 3 columns)
/// and "lookup" (rows of a table of 5 x 2).
BundleContents arithmeticContents();

/// Entry point "up to": the numbers below the sum of up to 1000 ids. Data
/// decide how many these are, at most 50000.
BundleContents upToContents();

/// Entry point "main": a language model with tokens, mask, positions, and a
/// cache if asked for, and a tokenizer of the letters a to p.
BundleContents languageModelContents(bool withCache);

/// The same with a cache, and a decoder beside it for up to 4 sequences, of
/// which 16 tokens at a time, with caches of `maxPast` + 1 tokens.
BundleContents decoderContents();

/// Contents with programs for GPUs beside those for processors: the same steps,
/// for the kernels of FakeCuda, in code for sm_90a and PTX for sm_80.
BundleContents withCuda(BundleContents contents);
/// With those alone.
BundleContents cudaOnly(BundleContents contents);

/// The text that the model continues `prompt` with; computed here, without the
/// runtime: the sum of all tokens plus the position, modulo the vocabulary.
std::string expectedText(const std::string &prompt, size_t maxTokens);

/// Writes contents to a new temporary file and gives its path.
std::string writeTemporary(const BundleContents &contents);
std::shared_ptr<const Bundle> openTemporary(const BundleContents &contents);

} // namespace nibble::test

#endif // NIBBLE_TEST_RUNTIME_TESTBUNDLE_H
