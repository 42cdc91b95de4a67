//===- DecodeIndex.cpp - An index from bytes ------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Strict: besides what Fields.h checks, every enumeration against its values,
// and nothing may be left over. What the records say of each other is for
// Check.cpp.
//
//===----------------------------------------------------------------------===//

#include "nibble/Bundle/Format.h"

#include "Fields.h"

namespace nibble::bundle {
namespace {

/// Reads the records of an index; one function per record type.
class IndexDecoder {
public:
  explicit IndexDecoder(std::span<const std::byte> bytes) : from(bytes) {}

  Expected<BundleIndex> decode(uint64_t features) {
    BundleIndex index;
    index.producer = name("producer");
    dims(index.dims);
    expressionTable();
    weights(index);
    kernels(index.kernels);
    entries(index.entries);
    variants(index);
    layers(index.layers);
    generation(index.generation);
    uint32_t size = from.number<uint32_t>("tokenizer size");
    auto tokenizer = from.take(size, "tokenizer");
    index.tokenizer.assign(tokenizer.begin(), tokenizer.end());
    if (features & featureDefinitions) {
      std::vector<Program *> programs;
      for (EntryPoint &entry : index.entries)
        programs.push_back(&entry);
      if (definitions(programs) == 0)
        from.fail("definitions", "are none, though the header announces them");
    }
    if (features & featureStates)
      states(index);
    if (features & featureCuda)
      cuda(index.cuda.emplace());
    if (from.ok() && !from.atEnd())
      from.fail("index", "goes on after its last field");
    if (!from.ok())
      return from.status();
    return index;
  }

private:
  std::string name(const char *what) { return from.string(what, maxNameBytes); }

  void dims(std::vector<DimSymbol> &to) {
    to.resize(from.count("dimensions", 20));
    for (DimSymbol &dim : to) {
      dim.name = name("dimension name");
      dim.min = from.number<int64_t>("dimension minimum");
      dim.max = from.number<int64_t>("dimension maximum");
    }
  }

  void expressionTable() {
    uint32_t count = from.count("expressions", 4);
    for (uint32_t i = 0; i < count && from.ok(); ++i) {
      std::string text = from.string("expression", maxExpressionBytes);
      if (!from.ok())
        return;
      Expected<DimExpr> expression = DimExpr::parse(text);
      if (!expression) {
        from.fail("expression",
                  "cannot be read: " + expression.status().message());
        return;
      }
      expressions.push_back(expression.take());
    }
  }

  DimExpr expression() {
    uint32_t number = from.number<uint32_t>("expression number");
    if (from.ok() && number >= expressions.size())
      from.fail("expression number", "is " + std::to_string(number) + " of " +
                                         std::to_string(expressions.size()));
    return from.ok() ? expressions[number] : DimExpr();
  }

  void weights(BundleIndex &index) {
    index.weightOffset = from.number<uint64_t>("weight segment offset");
    index.weightBytes = from.number<uint64_t>("weight segment size");
    index.weights.resize(from.count("weights", 64));
    for (WeightEntry &weight : index.weights) {
      weight.name = name("weight name");
      weight.offset = from.number<uint64_t>("weight offset");
      weight.bytes = from.number<uint64_t>("weight size");
      weight.indexLimit = from.number<uint64_t>("weight index limit");
      weight.indexBits = from.number<uint32_t>("weight index width");
      weight.digest = from.digest("weight digest");
    }
  }

  void kernels(std::vector<KernelEntry> &to) {
    to.resize(from.count("kernels", 12));
    for (KernelEntry &kernel : to) {
      kernel.name = name("kernel name");
      kernel.bufferCount = from.number<uint32_t>("kernel buffer count");
      kernel.scalarCount = from.number<uint32_t>("kernel scalar count");
    }
  }

  /// A port or a state: name, type and shape. At least 10 bytes.
  template <typename Tensor> void tensor(Tensor &to, const char *what) {
    to.name = name(what);
    uint8_t kind = from.number<uint8_t>("element kind");
    constexpr auto last = static_cast<uint8_t>(ElementType::Kind::Float4E2M1FN);
    if (kind > last)
      from.fail("element kind", "is " + std::to_string(kind) +
                                    ", expected 0 to " + std::to_string(last));
    to.type.kind = static_cast<ElementType::Kind>(kind);
    to.type.bits = from.number<uint8_t>("element width");
    to.shape.resize(from.count("dimensions of a tensor", 4));
    for (DimExpr &dim : to.shape)
      dim = expression();
  }

  void ports(std::vector<Port> &to, const char *what) {
    to.resize(from.count(what, 10));
    for (Port &port : to)
      tensor(port, "port name");
  }

  void step(Step &to) {
    to.kernel = from.number<uint32_t>("kernel number");
    to.buffers.resize(from.count("buffers", 17));
    for (BufferRef &buffer : to.buffers) {
      uint8_t kind = from.number<uint8_t>("buffer kind");
      if (kind > static_cast<uint8_t>(BufferRef::Kind::State))
        from.fail("buffer kind",
                  "is " + std::to_string(kind) + ", expected 0 to 4");
      buffer.kind = static_cast<BufferRef::Kind>(kind);
      buffer.index = from.number<uint32_t>("buffer number");
      buffer.offset = from.number<uint64_t>("buffer offset");
      buffer.bytes = expression();
    }
    to.results = from.number<uint32_t>("result count");
    to.scalars.resize(from.count("scalars", 4));
    for (DimExpr &scalar : to.scalars)
      scalar = expression();
    to.tasks = expression();
    to.after = from.number<int32_t>("previous step");
  }

  void entries(std::vector<EntryPoint> &to) {
    to.resize(from.count("entry points", 28));
    for (EntryPoint &entry : to) {
      entry.name = name("entry point name");
      ports(entry.inputs, "inputs");
      ports(entry.outputs, "outputs");
      entry.checks.resize(from.count("index checks", 20));
      for (IndexCheck &check : entry.checks) {
        check.input = from.number<uint32_t>("checked input");
        check.min = from.number<int64_t>("index minimum");
        check.limit = from.number<int64_t>("index limit");
      }
      program(entry);
    }
  }

  void program(Program &to) {
    to.arenaBytes = from.number<uint64_t>("arena size");
    to.steps.resize(from.count("steps", 24));
    for (Step &each : to.steps)
      step(each);
  }

  void variants(BundleIndex &index) {
    index.variants.resize(from.count("code variants", 52));
    for (CodeVariant &variant : index.variants) {
      variant.target = name("target name");
      variant.offset = from.number<uint64_t>("code offset");
      variant.bytes = from.number<uint64_t>("code size");
      variant.digest = from.digest("code digest");
      variant.kernelOffsets.resize(from.count("kernel offsets", 8));
      for (uint64_t &offset : variant.kernelOffsets)
        offset = from.number<uint64_t>("kernel offset");
    }
  }

  void layers(std::vector<LayerInfo> &to) {
    to.resize(from.count("layers", 28));
    for (LayerInfo &layer : to) {
      layer.id = name("layer id");
      layer.kind = name("layer kind");
      layer.scheme = name("layer scheme");
      layer.parameters = from.number<uint64_t>("layer parameters");
      layer.bitsPerWeight = from.number<double>("layer bits");
    }
  }

  void generation(std::optional<GenerationInfo> &to) {
    if (!flag("generation flag") || !from.ok())
      return;
    GenerationInfo &info = to.emplace();
    info.entry = name("generation entry point");
    info.tokens = from.number<int32_t>("token input");
    info.attentionMask = from.number<int32_t>("mask input");
    info.positions = from.number<int32_t>("position input");
    info.logits = from.number<int32_t>("logits output");
    info.cache.resize(from.count("cache pairs", 8));
    for (auto &[input, output] : info.cache) {
      input = from.number<uint32_t>("cache input");
      output = from.number<uint32_t>("cache output");
    }
    info.sequenceDim = name("sequence dimension");
    info.pastDim = name("past dimension");
  }

  /// One record for each step that defines dimensions, in order; gives their
  /// number.
  uint32_t definitions(const std::vector<Program *> &programs) {
    uint32_t count = from.count("definitions", 16);
    std::pair<uint32_t, uint32_t> previous;
    for (uint32_t i = 0; i < count && from.ok(); ++i) {
      auto program = from.number<uint32_t>("defining entry point");
      auto step = from.number<uint32_t>("defining step");
      std::pair place(program, step);
      if (from.ok() && (program >= programs.size() ||
                        step >= programs[program]->steps.size() ||
                        (i != 0 && place <= previous)))
        from.fail("defining step", "is " + std::to_string(step) +
                                       " of entry point " +
                                       std::to_string(program) +
                                       ", which is not there or not in order");
      previous = place;
      uint32_t dims = from.count("defined dimensions", 4);
      if (from.ok() && dims == 0)
        from.fail("defined dimensions", "are none");
      for (uint32_t d = 0; d < dims && from.ok(); ++d)
        programs[program]->steps[step].defines.push_back(
            from.number<uint32_t>("defined dimension"));
    }
    return count;
  }

  void states(BundleIndex &index) {
    index.states.resize(from.count("states", 10));
    if (from.ok() && index.states.empty())
      from.fail("states", "are none, though the header announces them");
    for (StateEntry &state : index.states)
      tensor(state, "state name");
    if (!flag("decoder flag") || !from.ok())
      return;
    DecoderInfo &info = index.decoder.emplace();
    info.prefill = name("prefill entry point");
    info.decode = name("decode entry point");
    info.capacity = from.number<int64_t>("cache capacity");
  }

  bool flag(const char *what) {
    uint8_t value = from.number<uint8_t>(what);
    if (value > 1)
      from.fail(what, "is " + std::to_string(value) + ", expected 0 or 1");
    return value == 1;
  }

  void launch(CudaLaunch &to) {
    to.target = from.string("launch target", maxNameBytes);
    if (flag("launch limit flag")) {
      to.over = expression();
      to.upTo = from.number<int64_t>("launch limit");
    }
    if (flag("workspace flag"))
      to.workspace = expression();
    to.calls.resize(from.count("calls", 32));
    for (CudaCall &call : to.calls) {
      call.function = name("function name");
      for (DimExpr &size : call.grid)
        size = expression();
      for (uint32_t &size : call.block)
        size = from.number<uint32_t>("block size");
      call.sharedBytes = from.number<uint32_t>("shared memory");
    }
  }

  void cuda(CudaSection &to) {
    to.kernels.resize(from.count("CUDA kernels", 16));
    for (CudaKernel &kernel : to.kernels) {
      kernel.name = name("kernel name");
      kernel.bufferCount = from.number<uint32_t>("kernel buffer count");
      kernel.scalarCount = from.number<uint32_t>("kernel scalar count");
      kernel.launches.resize(from.count("launches", 10));
      for (CudaLaunch &each : kernel.launches)
        launch(each);
    }
    to.programs.resize(from.count("CUDA programs", 12));
    std::vector<Program *> programs;
    for (Program &each : to.programs) {
      program(each);
      programs.push_back(&each);
    }
    definitions(programs);
    to.images.resize(from.count("CUDA images", 53));
    for (CudaImage &image : to.images) {
      image.target = name("image target");
      image.isPtx = flag("PTX flag");
      image.offset = from.number<uint64_t>("image offset");
      image.bytes = from.number<uint64_t>("image size");
      image.digest = from.digest("image digest");
    }
  }

  Decoder from;
  std::vector<DimExpr> expressions;
};

} // namespace

Expected<BundleIndex> decodeIndex(std::span<const std::byte> bytes,
                                  uint64_t features) {
  return IndexDecoder(bytes).decode(features);
}

} // namespace nibble::bundle
