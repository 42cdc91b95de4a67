//===- Format.h - Constants and index codec of the bundle -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What reader and writer share. docs/BundleFormat.md is the specification; the
// names here are the names there. Users of bundles need Bundle.h only.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BUNDLE_FORMAT_H
#define NIBBLE_BUNDLE_FORMAT_H

#include "nibble/Bundle/Bundle.h"

namespace nibble::bundle {

/// As PNG's: not text, and damaged by a transfer that changes line ends.
constexpr std::array<uint8_t, 8> headerMagic = {0x89, 'N',  'B',  'L',
                                                '\r', '\n', 0x1a, '\n'};
constexpr std::array<uint8_t, 8> trailerMagic = {0x89, 'N',  'B',  'X',
                                                 '\r', '\n', 0x1a, '\n'};
constexpr uint32_t formatVersion = 1;
constexpr uint64_t headerBytes = 128;
constexpr uint64_t trailerBytes = 64;
constexpr uint64_t segmentAlignment = 65536;
constexpr uint64_t weightAlignment = 256;
/// Required feature: steps define dimensions.
constexpr uint64_t featureDefinitions = 1;
/// Required feature: entry points share states.
constexpr uint64_t featureStates = 2;
/// Required feature: programs for NVIDIA GPUs.
constexpr uint64_t featureCuda = 4;
/// Required features that this reader knows.
constexpr uint64_t knownFeatures =
    featureDefinitions | featureStates | featureCuda;
constexpr size_t maxNameBytes = 4096;
constexpr size_t maxExpressionBytes = 4096;
constexpr size_t maxRank = 8;

/// The header without magic, sizes and checksums that follow from it.
struct Header {
  uint64_t requiredFeatures = 0, optionalFeatures = 0;
  uint64_t totalBytes = 0, indexBytes = 0;
  Digest indexDigest{};
};

/// Where the bundle lies inside an executable.
struct Trailer {
  uint64_t bundleOffset = 0, bundleBytes = 0;
  Digest headerDigest{}; ///< of the bundle's header
};

/// `value` rounded up to a multiple of `alignment`; nullopt on overflow.
std::optional<uint64_t> alignUp(uint64_t value, uint64_t alignment);

std::vector<std::byte> encodeHeader(const Header &header);
Expected<Header> decodeHeader(std::span<const std::byte> bytes);
std::vector<std::byte> encodeTrailer(const Trailer &trailer);
/// nullopt if the last bytes of `file` are no trailer.
Expected<std::optional<Trailer>> decodeTrailer(std::span<const std::byte> file);

/// The required features that an index makes use of.
uint64_t featuresOf(const BundleIndex &index);
std::vector<std::byte> encodeIndex(const BundleIndex &index);
/// Syntax only: counts and sizes; see checkIndex for the meaning. `features`
/// are the required ones that the header names.
Expected<BundleIndex> decodeIndex(std::span<const std::byte> bytes,
                                  uint64_t features);

/// Checks everything in the index that can be checked without reading
/// segments: names, bounds, references, expressions, the memory plan, and that
/// segments lie exactly where the format puts them. `weightDigest` is filled
/// in. Reader and writer both call it, so no writer can make a file that the
/// reader refuses.
Status checkIndex(BundleIndex &index, uint64_t indexBytes, uint64_t totalBytes);

/// The part of checkIndex that is about dimensions which steps define (R11),
/// for a program of `entry` whose references have been checked.
Status checkDefinitions(const EntryPoint &entry, const Program &program,
                        const std::vector<DimSymbol> &dims);

/// The part of checkIndex that is about launches of CUDA kernels (R15), when
/// programs have been checked.
Status checkLaunches(const CudaSection &cuda,
                     const std::vector<DimSymbol> &dims);

/// The part of checkIndex that is about how text is generated (R9) and about
/// decoders (R13), when entry points and states have been checked.
Status checkGeneration(const BundleIndex &index);

/// Checks that the elements of a weight with an index limit respect it.
Status checkIndexWeight(const WeightEntry &weight,
                        std::span<const std::byte> bytes);

/// Largest number of bytes of a port over the dimensions' bounds.
Expected<uint64_t> maxPortBytes(const Port &port,
                                const std::vector<DimSymbol> &dims);

/// Most bytes of a state: the memory that a decoder holds for it.
Expected<uint64_t> maxStateBytes(const StateEntry &state,
                                 const std::vector<DimSymbol> &dims);

/// The target of an image: "sm_90a" is 90 and 'a'. PTX may be for "compute_80".
struct CudaArchitecture {
  unsigned capability = 0; ///< 90 is 9.0
  char letter = 0;         ///< 'a', 'f' or none
};
/// Nothing if the target has another form.
std::optional<CudaArchitecture> architectureOf(const CudaImage &image);

/// "d0", "d1", ...: what a launch calls the scalars of its kernel.
std::string scalarName(size_t number);

/// The launches of `kernel` in the image of `target`, in order.
std::vector<const CudaLaunch *> launchesOf(const CudaKernel &kernel,
                                           const std::string &target);

/// Largest workspace of any launch in the image of `target` over the
/// dimensions' bounds.
Expected<uint64_t> maxWorkspaceBytes(const CudaSection &cuda,
                                     const std::vector<DimSymbol> &dims,
                                     const std::string &target);

/// Largest grid, block and dynamic shared memory of any GPU that there is.
constexpr std::array<int64_t, 3> maxGrid = {2147483647, 65535, 65535};
constexpr std::array<uint32_t, 3> maxBlock = {1024, 1024, 64};
constexpr uint32_t maxBlockThreads = 1024;
constexpr uint32_t maxSharedBytes = 227 * 1024;
/// Parameters of 8 bytes that fit into the 4 KiB that all GPUs have for them.
constexpr uint32_t maxParameters = 512;

/// The dimensions' bounds in the form that DimExpr takes.
std::map<std::string, DimExpr::Bound>
boundsOf(const std::vector<DimSymbol> &dims);

} // namespace nibble::bundle

#endif // NIBBLE_BUNDLE_FORMAT_H
