//===- SessionState.h - What a session keeps between runs -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A run has two halves. Set-up solves the dimensions from the input shapes,
// evaluates each distinct expression of the program once, checks every buffer
// against the memory behind it and patches pointers. The steps then use arrays
// that were laid out when the session was made. Where a step defines
// dimensions, they stop behind it for the set-up of what follows from them: a
// stage.
//
// Set-up is skipped but for the pointers to inputs and outputs where the inputs
// have the shapes of the run before, as in one decode step after the other.
//
// What memory and steps are on a device, `Device` and `State` leave to those
// who derive from them: CpuSession.cpp and CudaSession.cpp.
//
// Bundle::open has verified all references; what is checked here depends on the
// sizes of the run.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_RUNTIME_SESSIONSTATE_H
#define NIBBLE_LIB_RUNTIME_SESSIONSTATE_H

#include "nibble/Bundle/Format.h"
#include "nibble/Runtime/Session.h"
#include "nibble/Target/KernelAbi.h"

#include <algorithm>
#include <array>

namespace nibble {
namespace session {

/// What pointers of the host to tensors without elements refer to: nobody sees
/// null.
alignas(bufferAlignment) inline std::byte nothing[bufferAlignment];

/// A shape without allocation: inputs are set before every decode step.
struct Shape {
  std::array<int64_t, bundle::maxRank> dims{};
  size_t rank = 0;
  std::span<const int64_t> span() const { return {dims.data(), rank}; }
  bool operator==(const Shape &other) const {
    return std::ranges::equal(span(), other.span());
  }
};

/// A dimension of an input, as `solveDims` needs it.
struct InputDim {
  std::vector<uint32_t> symbols; ///< numbers of the dimensions in it
  bool isBare = false;           ///< one symbol and nothing else
  uint32_t expression = 0;       ///< its number
  DimExpr::Bound bound{};
};

struct Input {
  const std::byte *data = nullptr; ///< as set
  std::vector<InputDim> dims;
  Shape shape, preparedShape; ///< as set, and that of the last set-up
  uint64_t bytes = 0;
  bool isSet = false;
  int32_t fedBack = -1; ///< the output whose last bytes these are
  Tensor keepAlive;
};

struct Output {
  Shape shape;
  uint64_t bytes = 0, maxBytes = 0;
};

struct PreparedStep {
  uint32_t firstBuffer = 0, firstScalar = 0, bufferCount = 0;
  uint32_t stage = 0; ///< that begins behind the step; 0: none
  /// Numbers of the expressions that sizeStep needs.
  std::vector<uint32_t> expressions;
};

/// A part of a run, from the step that defines `dims` to the next such step;
/// the first begins with the dimensions of the inputs. The rest is what these
/// dimensions decide: numbers of expressions, outputs, ...
struct Stage {
  std::vector<uint32_t> dims;
  uint32_t values = 0; ///< number of the buffer that holds those of `dims`
  std::vector<uint32_t> expressions, outputs, buffers, scalars, steps;
};

/// A pointer that follows an input or output, or a size to check.
struct PreparedBuffer {
  BufferRef::Kind kind;
  uint32_t index;
  uint64_t offset;
  uint32_t bytes; ///< number of the expression
};

inline std::string quoted(const std::string &name) { return "'" + name + "'"; }

inline std::string shapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// The bundle's states in the memory of a device.
struct StateMemory {
  virtual ~StateMemory() = default;
  std::vector<std::byte *> pointers; ///< as index().states; null: empty
  std::vector<uint64_t> bytes;
};

/// What sessions of one bundle on one device have in common: code, scratch
/// memory, weights.
struct Device {
  explicit Device(std::shared_ptr<const Bundle> bundle)
      : bundle(std::move(bundle)) {}
  virtual ~Device() = default;
  /// Of the entry point with this number.
  virtual const Program &program(size_t entry) const = 0;
  /// Zeros for all states at the dimensions' bounds.
  virtual Expected<std::shared_ptr<const StateMemory>> makeStates() const = 0;
  /// A session's state; `self` is this.
  virtual std::unique_ptr<State>
  makeState(std::shared_ptr<Device> self,
            std::shared_ptr<const StateMemory> states, size_t entry) const = 0;
  /// Bytes of a weight, as kernels read them; null: empty.
  virtual const std::byte *weight(uint32_t number) const = 0;
  virtual unsigned threads() const { return 1; }

  std::shared_ptr<const Bundle> bundle;
  std::string name, target;
  std::byte *arena = nullptr; ///< enough for any entry point
  std::byte *empty = nothing; ///< tensors without elements, for kernels
};

struct State {
  State(std::shared_ptr<Device> device,
        std::shared_ptr<const StateMemory> states, size_t entry)
      : device(std::move(device)), states(std::move(states)),
        entry(bundle().index().entries[entry]),
        program(this->device->program(entry)) {}
  virtual ~State() = default;

  const Bundle &bundle() const { return *device->bundle; }

  // Once per session.
  Status prepare();
  uint32_t numberOf(const DimExpr &expression);

  // Once per run.
  Status run();
  Status enter(const Stage &stage, const std::byte *defined);

  // What is done in a way of the device's own.
  /// Takes in a step, number `steps.size()`; names the expressions it needs.
  virtual Status addStep(const Step &step, PreparedStep &prepared) = 0;
  /// After the last step: arrays stay where they are from now on.
  virtual Status finishSteps() { return Status::success(); }
  /// Puts the bytes of all inputs where kernels read them.
  virtual Status placeInputs() = 0;
  /// Finds memory for the bytes of an output.
  virtual Status placeOutput(uint32_t output) = 0;
  /// Where kernels read and write the bytes of an input or output.
  virtual std::byte *inputMemory(uint32_t input) const = 0;
  virtual std::byte *outputMemory(uint32_t output) const = 0;
  /// Sets up what the dimensions of a run decide for a step.
  virtual Status sizeStep(uint32_t step) = 0;
  virtual Status runSteps() = 0;
  /// The bytes of an output for the caller, after a run.
  virtual const std::byte *outputData(uint32_t output) const = 0;
  /// Keeps the bytes of an output where they are while the next run writes it.
  virtual void keepOutput(uint32_t output) = 0;

  std::shared_ptr<Device> device;
  std::shared_ptr<const StateMemory> states;
  const EntryPoint &entry;
  const Program &program;
  uint64_t plannedBytes = 0;

  std::vector<Input> inputs;
  std::vector<Output> outputs;
  std::map<std::string, DimExpr::Bound> bounds;

  std::vector<DimExpr> expressions; ///< all distinct ones
  std::vector<int64_t> values;

  std::vector<Stage> stages; ///< at least the first
  std::vector<PreparedStep> steps;
  std::vector<PreparedBuffer> buffers;
  std::vector<void *> pointers; ///< as buffers
  std::vector<int64_t> scalarValues;
  bool hasRun = false;
  /// This run has the shapes of the last one, and its sizes.
  bool isRepeated = false;

private:
  void prepareStages();
  uint32_t stageOf(const DimExpr &expression) const;
  void assignStages();
  Status prepareStep(const Step &step);
  Status checkSolvable() const;

  Status solveDims();
  bool solveFrom(const InputDim &dim, int64_t value);
  Status checkShapes();
  Status checkIndices();
  Status define(const Stage &stage, const std::byte *found);
  Status evaluate(const Stage &stage);
  Status placeOutputs(const Stage &stage);
  Status placeBuffers(const Stage &stage);
  Status placeBuffer(uint32_t number);
  Status prepareInputs();

  std::optional<int64_t> dimension(const std::string &name) const;
  size_t dimNumber(const std::string &name) const;
  Expected<int64_t> valueOf(const DimExpr &expression) const;

  std::vector<std::optional<int64_t>> dims;        ///< as index().dims
  std::map<DimExpr, uint32_t> numbers;             ///< of the expressions
  std::vector<std::vector<uint32_t>> outputShapes; ///< expression numbers
  std::map<std::string, uint32_t> definedIn;       ///< dimension -> stage
  std::vector<uint32_t> portBuffers; ///< buffers that are inputs or outputs
  std::vector<uint32_t> scalars;     ///< expression numbers
  bool isPrepared = false;           ///< for the inputs' `preparedShape`
};

/// Sessions on this processor.
Expected<std::shared_ptr<Device>>
makeCpuDevice(std::shared_ptr<const Bundle> bundle,
              const SessionOptions &options);
/// Sessions on the GPU with this number.
Expected<std::shared_ptr<Device>>
makeCudaDevice(std::shared_ptr<const Bundle> bundle, uint32_t number);

} // namespace session
} // namespace nibble

#endif // NIBBLE_LIB_RUNTIME_SESSIONSTATE_H
