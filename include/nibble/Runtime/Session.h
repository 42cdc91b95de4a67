//===- Session.h - Run an entry point of a bundle ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Expected<std::unique_ptr<Session>> session = Session::create(bundle);
//   Status status = (*session)->setInput("input_ids", ids);
//   if (status.isOk())
//     status = (*session)->run();
//   Tensor logits = (*session)->output(0);
//
// A session owns the outputs of one entry point; the code, the arena, the
// threads and the bundle's states may belong to several. All memory of a run is
// found before its first step; the steps allocate nothing.
//
// The same on a processor and on an NVIDIA GPU: inputs and outputs are in the
// caller's memory, and a run is done when `run` returns.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_RUNTIME_SESSION_H
#define NIBBLE_RUNTIME_SESSION_H

#include "nibble/Bundle/Bundle.h"

namespace nibble {

namespace session {
struct Device;
struct State;
struct StateMemory;
} // namespace session

struct SessionOptions {
  /// Empty: "main", or the only one there is.
  std::string entry;
  /// "cpu", "cuda:0", "cuda:1", ...; empty: "cpu", or "cuda:0" for a bundle
  /// that has no code for processors. The three below are for processors.
  std::string device;
  /// Counts the caller; 0: one per available core.
  unsigned threads = 0;
  /// Code variant; empty: the best that this processor can run.
  std::string variant;
  /// Thread i stays on core i of these, the thread that makes the session being
  /// the first; empty: where the system puts them.
  std::vector<int> cores;
};

/// One entry point, ready to run. For one thread at a time.
class Session {
public:
  static Expected<std::unique_ptr<Session>>
  create(std::shared_ptr<const Bundle> bundle,
         const SessionOptions &options = {});
  ~Session();

  enum class States { Shared, Own };
  /// A session of another entry point that has device, threads, code and
  /// scratch memory in common with this one, so that only one may run at a
  /// time. Also the states, or else states of its own, all zero.
  Expected<std::unique_ptr<Session>> share(const std::string &entry,
                                           States states) const;

  const Bundle &bundle() const;
  const EntryPoint &entry() const;
  /// What the device runs for the entry point.
  const Program &program() const;
  /// "cpu", "cuda:0", ...
  const std::string &device() const;
  /// What the code is for: "x86-64-v3", "sm_90a", ...
  const std::string &target() const;
  /// Threads of the processor that take part in a run.
  unsigned threads() const;

  /// Points an input at `data`, dense and row-major, of the port's element
  /// type; not copied, so it must live until the run is done. May be null if
  /// the shape has no elements. `shape` is checked against the bounds here, and
  /// against the other inputs by `run`.
  Status setInput(uint32_t input, const void *data,
                  std::span<const int64_t> shape);
  /// The same with a check of the name and type; keeps the tensor alive.
  Status setInput(const std::string &name, const Tensor &tensor);
  /// Makes the bytes of an output, as the last run left them, an input of the
  /// next one, without copying. The two take turns with two buffers.
  Status feedBack(uint32_t output, uint32_t input);

  bool isSet(uint32_t input) const;
  /// Shape of an input as it is set.
  std::vector<int64_t> shape(uint32_t input) const;
  /// Name of an input that is not set yet; empty if all are.
  std::string missingInput() const;
  Status run();
  /// True after a successful run.
  bool hasRun() const;
  /// A view of an output: valid until the next run, feedBack of this output,
  /// or the session's end. Empty before the first run.
  Tensor output(uint32_t output) const;
  /// The same without an allocation.
  std::span<const std::byte> outputBytes(uint32_t output) const;
  std::span<const int64_t> outputShape(uint32_t output) const;

  /// Bytes planned for arena and outputs at the bounds: on a processor virtual
  /// memory, of which a run takes what it touches.
  uint64_t plannedBytes() const;

private:
  Session();
  static Expected<std::unique_ptr<Session>>
  create(std::shared_ptr<session::Device> device,
         std::shared_ptr<const session::StateMemory> states,
         const std::string &entry);
  std::unique_ptr<session::State> state;
};

} // namespace nibble

#endif // NIBBLE_RUNTIME_SESSION_H
