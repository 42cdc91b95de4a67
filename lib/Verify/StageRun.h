//===- StageRun.h - The values of one stage ---------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   StageRun run(first, previous, trail);
//   FailureOr<StageRecord> now = run.model(module, probes);
//
// Runs @main, or one layer, and keeps what every quantizable layer read and
// wrote, by id, and what other ops wrote, by where they came from. A tensor
// that is what it was in an earlier stage is shared with it, and large ones
// wait in an unnamed temporary file, so that memory holds little of a stage.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_STAGERUN_H
#define NIBBLE_LIB_VERIFY_STAGERUN_H

#include "nibble/Reference/Interpreter.h"

#include "llvm/ADT/StringMap.h"

namespace nibble {

/// What a layer or another op wrote.
struct ValueRecord {
  std::string id; ///< of a layer; else the name of its origin
  std::string function;
  std::string op; ///< "qmodel.rope", "onnx.Transpose", "step.rope"
  bool isLayer = false;
  uint64_t order = 0; ///< ops that had run before it
  /// Of a layer: the name of its origin, and the key of the value that it
  /// reads; empty if unknown.
  std::string origin, reads;
  /// Of a layer, an entry for every time that it ran; of others, outputs only,
  /// an entry for every probe.
  std::vector<Tensor> inputs, outputs;
  /// What the layer makes of the inputs that it had in its first stage; empty
  /// where that cannot be told.
  std::vector<Tensor> own;

  /// Unique in a stage: an id may be the name of an origin as well.
  std::string key() const { return isLayer ? id : originKey(id); }
  static std::string originKey(llvm::StringRef name) {
    return ("=" + name).str();
  }
};

/// The calls of an outlined layer, an entry for every probe.
struct CallRecord {
  std::vector<std::vector<Tensor>> arguments, results;
};

using NamedRuns = std::vector<std::pair<std::string, std::vector<Tensor>>>;

struct StageRecord {
  std::vector<ValueRecord> values;   ///< in the order in which they ran
  llvm::StringMap<size_t> byKey;     ///< indices of `values`
  llvm::StringMap<CallRecord> calls; ///< by function
  /// The outputs of what was run, for every probe.
  NamedRuns outputs;
  bool quantizesActivations = false;

  ValueRecord *find(llvm::StringRef key) {
    auto found = byKey.find(key);
    return found == byKey.end() ? nullptr : &values[found->second];
  }
  const ValueRecord *find(llvm::StringRef key) const {
    return const_cast<StageRecord *>(this)->find(key);
  }
};

/// How layers are known once packing has taken their ids: by where they came
/// from, and by the weight that they read, in the order in which they ran.
struct LayerTrail {
  llvm::StringMap<std::vector<std::string>> byOrigin, byWeight;
};

/// Called whenever a layer with an id has run, with its weight and its input as
/// it multiplies them.
using LayerObserver = std::function<void(
    const std::string &id, const Tensor &weight, const Tensor &input)>;

/// Runs one stage. Errors are emitted.
class StageRun {
public:
  /// `first` holds every value as it was in the first stage that had it,
  /// `previous` the stage before, whose trail is `trail`.
  StageRun(const StageRecord &first, const StageRecord &previous,
           const LayerTrail &trail, LayerObserver observer = {});
  ~StageRun();

  /// Runs @main on each of `probes`.
  mlir::FailureOr<StageRecord> model(mlir::ModuleOp module,
                                     llvm::ArrayRef<NamedTensors> probes);
  /// Runs an outlined layer alone on the arguments of `calls`; its outputs are
  /// named as by `resultsOf`. `dims`, of every probe, are those of the caller.
  mlir::FailureOr<StageRecord> layer(mlir::func::FuncOp function,
                                     const CallRecord &calls,
                                     llvm::ArrayRef<DimValues> dims);
  /// The trail of the stage that was run.
  LayerTrail takeTrail();

private:
  class Recorder;
  std::unique_ptr<Recorder> recorder;
};

/// The results of calls of a layer as outputs of its run alone: "@name",
/// "@name#1", ..., for every probe.
NamedRuns resultsOf(llvm::StringRef function, const CallRecord &calls);

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_STAGERUN_H
