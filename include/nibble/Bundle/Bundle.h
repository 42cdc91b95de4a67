//===- Bundle.h - The deployable file ---------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<std::shared_ptr<const Bundle>> bundle = Bundle::open("m.nbl");
//   for (const EntryPoint &entry : (*bundle)->index().entries) ...
//
// One file: header, index, code segments, weight segment. `BundleIndex` is the
// index in memory; docs/BundleFormat.md gives every byte. `Bundle::open` checks
// the whole index (counts, sizes, offsets, alignment, overlaps, references,
// expressions) with checked arithmetic and the hashes of index and code before
// it returns; weight hashes are checked by `verifyWeights` only.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BUNDLE_BUNDLE_H
#define NIBBLE_BUNDLE_BUNDLE_H

#include "nibble/Base/DimExpr.h"
#include "nibble/Base/MappedFile.h"
#include "nibble/Base/Sha256.h"
#include "nibble/Base/Tensor.h"

#include <array>
#include <map>

namespace nibble {

/// A named dimension of the model and the bounds it was compiled for. The
/// shapes of the inputs determine its value, or a step of the entry point does.
struct DimSymbol {
  std::string name;
  int64_t min = 1, max = 1;
};

/// An input or output of an entry point.
struct Port {
  std::string name;
  ElementType type;
  std::vector<DimExpr> shape; ///< over the bundle's dimension symbols
};

/// A constant tensor, stored as kernels read it.
struct WeightEntry {
  std::string name;
  uint64_t offset = 0; ///< in the weight segment; multiple of 256
  uint64_t bytes = 0;
  /// Elements that kernels use as indices must lie in [0, indexLimit);
  /// 0 where the weight carries none. Checked when the bundle is opened.
  uint64_t indexLimit = 0;
  /// Width of such an element, two's complement: 8, 16, 32 or 64.
  uint32_t indexBits = 32;
  Digest digest{}; ///< of the tensor's bytes
};

/// Memory that entry points share and that keeps its contents between runs: the
/// caches of a decoder. All zero at first.
struct StateEntry {
  std::string name;
  ElementType type;
  std::vector<DimExpr> shape; ///< memory is there for the largest
};

/// A buffer that a step reads or writes. A state may be both in one step, which
/// then works in place.
struct BufferRef {
  enum class Kind : uint8_t { Input, Output, Weight, Arena, State };
  Kind kind = Kind::Arena;
  uint32_t index = 0;  ///< of the input, output, weight or state; else 0
  uint64_t offset = 0; ///< in the arena, multiple of 256
  DimExpr bytes;       ///< size in use; at most the planned size at the bounds
};

/// One kernel call.
struct Step {
  uint32_t kernel = 0;            ///< index into BundleIndex::kernels
  std::vector<BufferRef> buffers; ///< operands, then results
  uint32_t results = 1;           ///< how many of `buffers` are written
  std::vector<DimExpr> scalars;
  DimExpr tasks;
  /// Step that must have finished first (-1: none); earlier ones follow by
  /// transitivity.
  int32_t after = -1;
  /// Dimensions that the step finds, as numbers into BundleIndex::dims: element
  /// i of its last result, an i64, is the value of the i-th for the steps
  /// behind it and for the outputs.
  std::vector<uint32_t> defines;
};

/// An index input (token ids) whose elements address rows of a table: checked
/// by the runtime before every run.
struct IndexCheck {
  uint32_t input = 0;
  int64_t min = 0, limit = 0; ///< elements must lie in [min, limit)
};

/// What one kind of device does for an entry point.
struct Program {
  std::vector<Step> steps;
  uint64_t arenaBytes = 0; ///< scratch at the bounds
};

/// A function of the model, as data: its interface, the same on all devices,
/// and the program of the processor.
struct EntryPoint : Program {
  std::string name;
  std::vector<Port> inputs, outputs;
  std::vector<IndexCheck> checks;
};

/// A kernel's place in a code image.
struct KernelEntry {
  std::string name; ///< hash of the instance, with a readable prefix
  uint32_t bufferCount = 0, scalarCount = 0;
};

/// Code for one instruction-set level: a flat position-independent image.
struct CodeVariant {
  std::string target;  ///< "x86-64-v3", ...
  uint64_t offset = 0; ///< in the file; multiple of 64 KiB
  uint64_t bytes = 0;
  Digest digest{};
  std::vector<uint64_t> kernelOffsets; ///< per kernel, into the image
};

/// One launch of a CUDA function. Its parameters are a pointer per buffer of
/// the step, an i64 per scalar and, where the launch has one, a pointer to the
/// workspace (Target/CudaKernelAbi.h).
struct CudaCall {
  std::string function;
  std::array<DimExpr, 3> grid = {1, 1, 1}; ///< nothing runs if one is 0
  std::array<uint32_t, 3> block = {1, 1, 1};
  uint32_t sharedBytes = 0; ///< dynamic shared memory
};

/// What a kernel does at some sizes: calls in order. Expressions are over the
/// kernel's scalars, of which number i is called `d<i>`.
struct CudaLaunch {
  /// Only in the image of this target; empty: in every one.
  std::string target;
  /// Taken where `over` is at most `upTo`; the last one of a target always.
  DimExpr over;
  std::optional<int64_t> upTo;
  std::vector<CudaCall> calls;
  /// Bytes of scratch for these calls; undefined before the first.
  std::optional<DimExpr> workspace;
};

struct CudaKernel : KernelEntry {
  std::vector<CudaLaunch> launches; ///< the first that fits is taken
};

/// Code for one architecture, or PTX, which the driver compiles.
struct CudaImage {
  std::string target; ///< "sm_90a", ...; of PTX the least that can run it
  bool isPtx = false;
  uint64_t offset = 0; ///< in the file; multiple of 64 KiB
  uint64_t bytes = 0;
  Digest digest{};
};

/// The entry points on an NVIDIA GPU: weights and states are the bundle's.
struct CudaSection {
  std::vector<CudaKernel> kernels;
  std::vector<Program> programs; ///< as BundleIndex::entries; tasks are 1
  std::vector<CudaImage> images;
};

/// How text generation drives an entry point: which port plays which part.
struct GenerationInfo {
  std::string entry;
  int32_t tokens = -1, attentionMask = -1, positions = -1; ///< inputs; -1: none
  int32_t logits = -1;                                     ///< output
  /// Cache in: input index; cache out: output index; empty without a cache.
  std::vector<std::pair<uint32_t, uint32_t>> cache;
  std::string sequenceDim, pastDim; ///< pastDim empty without a cache
};

/// Two entry points that together are a language model with a cache, which lies
/// in the bundle's states. Ports are known by their position:
///
///   prefill(tokens [batch, sequence], past lengths [batch], last [batch])
///   decode(tokens [batch, 1], past lengths [batch])
///
/// all i64; the one result is the logits [batch, vocabulary], f32, behind token
/// `last[b]`. Token i of sequence b is at position past length + i, and in the
/// cache from then on. Rows behind the last valid token are padding: what they
/// leave in the cache is not seen, and the next call writes over it.
struct DecoderInfo {
  std::string prefill, decode; ///< entry points
  int64_t capacity = 0;        ///< most tokens of one sequence in the cache
};

/// One quantizable layer, for `--inspect` and reports.
struct LayerInfo {
  std::string id, kind, scheme; ///< scheme: "float32", "ui4 1x32 ...", ...
  uint64_t parameters = 0;
  double bitsPerWeight = 32; ///< codes, scales and zero points, unpadded
};

struct BundleIndex {
  std::string producer;
  std::vector<DimSymbol> dims;
  std::vector<WeightEntry> weights;
  std::vector<StateEntry> states;
  std::vector<KernelEntry> kernels;
  std::vector<EntryPoint> entries;
  std::vector<CodeVariant> variants;
  std::vector<LayerInfo> layers;
  std::optional<GenerationInfo> generation;
  std::optional<DecoderInfo> decoder;
  std::optional<CudaSection> cuda;
  /// SentencePiece model file, verbatim; empty if none was bundled.
  std::vector<std::byte> tokenizer;
  uint64_t weightOffset = 0, weightBytes = 0; ///< segment in the file
  /// Hash of the weights' digests in order; not stored, follows from them.
  Digest weightDigest{};
};

/// An open, verified bundle. Weights stay in the mapped file.
class Bundle {
public:
  /// Opens a bundle file, or an executable that ends in one.
  static Expected<std::shared_ptr<const Bundle>> open(const std::string &path);
  /// The same on bytes in memory (fuzzing, tests); `keepAlive` owns them.
  static Expected<std::shared_ptr<const Bundle>>
  parse(std::span<const std::byte> bytes,
        std::shared_ptr<const void> keepAlive);

  const BundleIndex &index() const { return contents; }
  std::span<const std::byte> weight(uint32_t weightIndex) const;
  std::span<const std::byte> code(const CodeVariant &variant) const;
  std::span<const std::byte> code(const CudaImage &image) const;
  /// Size of the bundle itself, without an executable in front of it.
  uint64_t fileBytes() const { return bytes.size(); }
  /// Hashes the weight segment: an error that names the weight if a byte has
  /// changed.
  Status verifyWeights() const;

private:
  Bundle() = default;
  /// Hashes of all code, and zeros between the segments behind byte `end`.
  Status checkCode(uint64_t end) const;
  BundleIndex contents;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> keepAlive;
};

/// Input of the writer: an index whose offsets, sizes and digests it fills in.
struct BundleContents {
  BundleIndex index;
  /// Bytes per weight, in the order of index.weights. Called once each, in
  /// order; so that no two large tensors need to be in memory at once.
  std::function<Expected<Tensor>(uint32_t weightIndex)> weightBytes;
  /// Image per variant, in the order of index.variants.
  std::vector<std::vector<std::byte>> images;
  /// The same of index.cuda's images. With such, weights of equal bytes are
  /// stored once.
  std::vector<std::vector<std::byte>> cudaImages;
  /// Non-empty: bytes of a prebuilt runner to put in front (--emit=exe).
  std::span<const std::byte> runner;
};

/// Writes a bundle (or executable) whole or not at all. Equal contents give
/// equal bytes.
Status writeBundle(const std::string &path, BundleContents contents);

} // namespace nibble

#endif // NIBBLE_BUNDLE_BUNDLE_H
