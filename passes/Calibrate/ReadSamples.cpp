//===- ReadSamples.cpp - Files to arguments of the model ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Sequences of one length that follow each other are run several at a time, as
// many as the model's batch allows: each run decodes the weights anew, so that
// few runs are cheaper. Neither the batch nor the file's format changes what is
// measured, so that the hash of the data does not cover them.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/Calibration.h"

#include "nibble/Base/Sha256.h"
#include "nibble/Bundle/Generation.h"
#include "nibble/Formats/Safetensors.h"
#include "nibble/Support/Dims.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/EntryPoints.h"

using namespace mlir;
using namespace nibble;

namespace {

/// A run holds the activations of about this many tokens.
constexpr int64_t tokensPerRun = 4096;

/// Tokens that are read from the first on, and where they come from.
struct Sequence {
  std::vector<int64_t> ids;
  std::string name; ///< for messages
};

/// What limits the sequences that a model reads.
class TokenPorts {
public:
  static FailureOr<TokenPorts> get(func::FuncOp main) {
    TokenPorts ports;
    FailureOr<EntryPoint> entry = describeEntry(main);
    if (failed(entry))
      return failure();
    std::optional<GenerationInfo> roles = findGeneration(*entry);
    if (!roles)
      return main.emitError(
          "has no input of tokens and output of logits that token ids could be "
          "given to; expects an .npz with an array per input");
    ports.entry = std::move(*entry);
    ports.roles = std::move(*roles);
    auto bounds = dimBounds(main->getParentOfType<ModuleOp>());
    const std::vector<DimExpr> &shape =
        ports.entry.inputs[ports.roles.tokens].shape;
    if (nibble::Expected<DimExpr::Bound> rows = shape[0].bound(bounds))
      ports.rows = *rows;
    if (nibble::Expected<DimExpr::Bound> length = shape[1].bound(bounds))
      ports.length = *length;
    return ports;
  }

  /// An error if the model cannot read `sequence`.
  Status check(const Sequence &sequence) const {
    auto count = static_cast<int64_t>(sequence.ids.size());
    if (count == 0)
      return Status::error("expects at least one token in " + sequence.name +
                           ", got none; leave it out");
    if (length && (count < length->min || count > length->max))
      return Status::error(
          "expects sequences of " + std::to_string(length->min) + " to " +
          std::to_string(length->max) + " tokens, the model's bounds for '" +
          roles.sequenceDim + "', got " + std::to_string(count) + " in " +
          sequence.name + "; cut them, or raise the bound with --dim " +
          roles.sequenceDim + "=MIN..MAX");
    int64_t vocabulary = *entry.outputs[roles.logits].shape.back().asConstant();
    for (size_t i = 0; i < sequence.ids.size(); ++i)
      if (sequence.ids[i] < 0 || sequence.ids[i] >= vocabulary)
        return Status::error(
            "expects token ids in 0.." + std::to_string(vocabulary - 1) +
            " (the model's vocabulary), got " +
            std::to_string(sequence.ids[i]) + " in " + sequence.name +
            ", token " + std::to_string(i) +
            "; use the tokenizer of the model, and no padding");
    return Status::success();
  }

  EntryPoint entry;
  GenerationInfo roles;
  DimExpr::Bound rows{1, 1};
  std::optional<DimExpr::Bound> length;
};

/// Adds the rows of `tokens`, [tokens] or [sequences, tokens].
Status addSequences(const Tensor &tokens, const std::string &name,
                    std::vector<Sequence> &sequences) {
  if (!tokens.type().isInteger())
    return Status::error(name +
                         ": expects token ids, which are integers, got " +
                         describe(tokens.type(), tokens.shape()) +
                         "; convert them, for instance with "
                         "array.astype(numpy.int64)");
  int64_t length = tokens.shape().back();
  int64_t rows = tokens.rank() == 2 ? tokens.shape()[0] : 1;
  for (int64_t row = 0; row < rows; ++row) {
    Sequence sequence;
    sequence.name =
        name + (tokens.rank() == 2 ? ", row " + std::to_string(row) : "");
    for (int64_t i = 0; i < length; ++i)
      sequence.ids.push_back(tokens.integerAt(row * length + i));
    sequences.push_back(std::move(sequence));
  }
  return Status::success();
}

/// Arguments for `count` sequences of one length from `first` on.
nibble::Expected<CalibrationSample> makeRun(const TokenPorts &ports,
                                            ArrayRef<Sequence> sequences) {
  auto length = static_cast<int64_t>(sequences.front().ids.size());
  auto count = static_cast<int64_t>(sequences.size());
  Tensor tokens = Tensor::allocate(ElementType::signedInt(64), {count, length});
  for (auto [row, sequence] : llvm::enumerate(sequences))
    llvm::copy(sequence.ids,
               tokens.asMutable<int64_t>().begin() + row * length);
  auto inputs = tokenInputs(ports.entry, ports.roles, tokens);
  if (!inputs)
    return inputs.status();
  CalibrationSample sample;
  for (auto &[name, tensor] : *inputs)
    sample.arguments.push_back(std::move(tensor));
  return sample;
}

std::string hashOfSequences(ArrayRef<Sequence> sequences) {
  std::string hashes = "tokens";
  for (const Sequence &sequence : sequences)
    hashes += ";" + toHex(sha256(std::as_bytes(std::span(sequence.ids))));
  return hashOf(hashes);
}

FailureOr<CalibrationData> runsOf(func::FuncOp main, StringRef path,
                                  ArrayRef<Sequence> sequences) {
  FailureOr<TokenPorts> ports = TokenPorts::get(main);
  if (failed(ports))
    return failure();
  auto fail = [&](const Status &status) {
    return main.emitError() << "'" << path << "': " << status.message();
  };
  for (const Sequence &sequence : sequences)
    if (Status status = ports->check(sequence); !status.isOk())
      return fail(status);
  CalibrationData data;
  data.hash = hashOfSequences(sequences);
  data.sequences = static_cast<int64_t>(sequences.size());
  while (!sequences.empty()) {
    auto length = static_cast<int64_t>(sequences.front().ids.size());
    int64_t least = std::max<int64_t>(ports->rows.min, 1);
    int64_t most = std::clamp<int64_t>(tokensPerRun / length, least,
                                       std::max(ports->rows.max, least));
    ArrayRef<Sequence> part = sequences.take_while([&](const Sequence &next) {
      return static_cast<int64_t>(next.ids.size()) == length;
    });
    // No more than leaves a whole batch.
    auto equal = static_cast<int64_t>(part.size());
    if (equal > most && equal - most < least && equal >= 2 * least)
      most = equal - least;
    part = part.take_front(most);
    if (static_cast<int64_t>(part.size()) < ports->rows.min)
      return fail(Status::error(
          "expects a multiple of " + std::to_string(ports->rows.min) +
          " sequences of one length, the smallest batch of the model, got " +
          std::to_string(part.size()) + " of " + std::to_string(length) +
          " tokens at the end"));
    nibble::Expected<CalibrationSample> sample = makeRun(*ports, part);
    if (!sample)
      return fail(sample.status());
    data.samples.push_back(sample.take());
    sequences = sequences.drop_front(part.size());
  }
  return data;
}

/// One run on `arrays`, by the names of the inputs.
FailureOr<CalibrationData> runOf(func::FuncOp main,
                                 const NamedTensors &arrays) {
  FailureOr<std::vector<Tensor>> arguments = argumentsOf(main, arrays);
  if (failed(arguments))
    return failure();
  std::string hashes = "inputs";
  for (const Tensor &argument : *arguments)
    hashes += ";" + describe(argument.type(), argument.shape()) + " " +
              toHex(sha256(argument.bytes()));
  CalibrationData data;
  data.hash = hashOf(hashes);
  data.sequences = 1;
  data.samples.push_back({std::move(*arguments), {}});
  return data;
}

/// The arrays of a file; that of an .npy has no name.
nibble::Expected<NamedTensors> readArrays(StringRef path) {
  if (path.ends_with(".npz"))
    return readNpz(path.str());
  if (path.ends_with(".safetensors"))
    return readSafetensors(path.str());
  nibble::Expected<Tensor> array = readNpy(path.str());
  if (!array)
    return array.status();
  return NamedTensors{{"", array.take()}};
}

} // namespace

FailureOr<CalibrationData> nibble::readSamples(func::FuncOp main,
                                               StringRef path, uint64_t limit) {
  nibble::Expected<NamedTensors> arrays = readArrays(path);
  if (!arrays)
    return main.emitError() << arrays.status().message();
  for (unsigned i = 0; i < main.getNumArguments(); ++i)
    if (auto name = main.getArgAttrOfType<StringAttr>(i, onnx::nameAttrName);
        find(*arrays, name ? name.str() : std::to_string(i)))
      return runOf(main, *arrays);

  std::vector<Sequence> sequences;
  for (const auto &[name, tensor] : *arrays) {
    bool isFile = name.empty();
    if (tensor.rank() != 2 && (isFile || tensor.rank() != 1))
      return main.emitError()
             << "'" << path << "': expects token ids "
             << (isFile ? "" : "[tokens] or ") << "[sequences, tokens], got "
             << describe(tensor.type(), tensor.shape())
             << (isFile ? "" : " in '" + name + "'");
    Status added = addSequences(tensor, isFile ? "the array" : "'" + name + "'",
                                sequences);
    if (!added.isOk())
      return main.emitError() << "'" << path << "': " << added.message();
  }
  if (sequences.empty())
    return main.emitError()
           << "'" << path
           << "': expects at least one sequence of tokens, got "
              "none";
  if (limit > sequences.size())
    main.emitWarning() << "'" << path << "' has " << sequences.size()
                       << " sequences, fewer than the " << limit
                       << " samples asked for; all are used";
  if (limit != 0)
    sequences.resize(std::min<size_t>(sequences.size(), limit));
  return runsOf(main, path, sequences);
}
