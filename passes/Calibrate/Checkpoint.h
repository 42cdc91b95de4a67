//===- Checkpoint.h - Finished layers in a folder ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<Checkpoint> kept = Checkpoint::open(folder, key);
//   for (size_t i = 0; i < kept->finished(); ++i)
//     use(kept->layer(i));                       // text and weights
//   auto streams = kept->activations();          // behind the last of them
//   ...
//   kept->startActivations();                    // of the next layer
//   kept->keep(tensor), kept->endRun(dims), kept->endStream();
//   kept->commit(layer);
//
// What is in a folder, all of it written whole or not at all:
//
//   lock              held by the process that works on it
//   key               what the layers belong to
//   layer-3.json      the list of what belongs to a finished layer, with
//                     hashes; it is written last
//   layer-3.mlir      the layer's module
//   activations-3     what waits behind the last finished layer
//   weights/<sha256>  the bytes of new weights
//
// `key` and the lists end in a line with the hash of what is in front of it.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_CHECKPOINT_H
#define NIBBLE_PASSES_CALIBRATE_CHECKPOINT_H

#include "nibble/Base/SpillFile.h"
#include "nibble/Reference/Interpreter.h"

namespace nibble {

/// What a checkpoint belongs to: values by what a user calls them. Long values
/// are hashes.
using CheckpointKey = std::vector<std::pair<std::string, std::string>>;

/// A layer that is finished.
struct KeptLayer {
  std::string name, text;
  std::vector<std::string> weights; ///< SHA-256 of new ones
};

/// The activations of one batch that wait (FunctionRun::keepWith).
struct KeptRun {
  DimValues dims;
  std::vector<Tensor> values;
};

/// Where a tensor lies in the file of activations.
struct PlacedTensor {
  ElementType type;
  std::vector<int64_t> shape;
  uint64_t offset = 0;
  std::string sha256;
};

/// Where the tensors of a KeptRun lie.
struct PlacedRun {
  DimValues dims;
  std::vector<PlacedTensor> values;
};

/// A folder that this process alone works on.
class Checkpoint {
public:
  /// Opens `folder`, or makes it. Layers whose bytes are not what they were are
  /// left out, with all behind them, and named in `warnings`. Error: another
  /// process works on it, it belongs to something else (says what differs), or
  /// it is no checkpoint.
  static Expected<std::unique_ptr<Checkpoint>> open(const std::string &folder,
                                                    const CheckpointKey &key);
  ~Checkpoint();
  Checkpoint(const Checkpoint &) = delete;
  Checkpoint &operator=(const Checkpoint &) = delete;

  const std::string &path() const { return folder; }
  std::vector<std::string> warnings;

  /// How many layers were whole when the folder was opened.
  size_t finished() const { return layers.size(); }
  const KeptLayer &layer(size_t index) const { return layers[index].content; }
  /// The bytes of a new weight, of a type with as many bytes.
  Expected<Tensor> readWeight(const std::string &sha256, ElementType type,
                              std::vector<int64_t> shape) const;
  /// What waits behind the last finished layer, stream by stream, each run by
  /// run. Error if it is not what it was.
  Expected<std::vector<std::vector<KeptRun>>> activations() const;

  /// Adds a new weight of the next layer.
  Status writeWeight(const std::string &sha256, const Tensor &tensor) const;
  /// Begins the file of what waits behind the next layer.
  Status startActivations(size_t index);
  Expected<Tensor> keep(const Tensor &tensor);
  void endRun(const DimValues &dims);
  void endStream();
  /// Makes layer `index` a finished one; what waited behind the one before goes
  /// away.
  Status commit(size_t index, const KeptLayer &layer);

  /// Deletes the folder, but no file that is not from here.
  Status remove();

private:
  struct Entry {
    KeptLayer content;
    std::vector<std::vector<PlacedRun>> streams;
  };

  Checkpoint(std::string folder, int lock)
      : folder(std::move(folder)), lock(lock) {}
  std::string file(const std::string &name) const {
    return folder + "/" + name;
  }
  Status checkKey(const CheckpointKey &key);
  Status readLayers();
  Expected<Entry> readLayer(size_t index) const;
  Status removeFrom(size_t index) const;

  std::string folder;
  int lock = -1;
  std::vector<Entry> layers;
  std::optional<SpillFile> spill;
  /// Of the layer that is being written: streams, runs, values.
  std::vector<std::vector<PlacedRun>> streams;
  std::vector<PlacedRun> stream;
  std::vector<PlacedTensor> run;
};

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_CHECKPOINT_H
