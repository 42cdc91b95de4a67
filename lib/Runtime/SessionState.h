//===- SessionState.h - What a session keeps between runs -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A run has two halves. Set-up solves the dimensions from the input shapes,
// evaluates each distinct expression of the program once, checks every buffer
// against the memory behind it and patches pointers. The step loop then calls
// kernels with arrays that were laid out when the session was made. Where a
// step defines dimensions, the loop stops behind it for the set-up of what
// follows from them: a stage.
//
// Set-up is skipped but for the pointers to inputs and outputs where the inputs
// have the shapes of the run before, as in one decode step after the other.
//
// Bundle::open has verified all references; what is checked here depends on the
// sizes of the run.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_RUNTIME_SESSIONSTATE_H
#define NIBBLE_LIB_RUNTIME_SESSIONSTATE_H

#include "nibble/Base/ThreadPool.h"
#include "nibble/Bundle/Format.h"
#include "nibble/Runtime/Memory.h"
#include "nibble/Runtime/Session.h"
#include "nibble/Target/KernelAbi.h"

#include <algorithm>
#include <array>

namespace nibble {
namespace session {

/// What pointers to tensors without elements refer to: kernels never see null.
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
  const std::byte *data = nullptr;   ///< as set
  const std::byte *placed = nullptr; ///< what kernels read
  std::vector<InputDim> dims;
  Shape shape, preparedShape; ///< as set, and that of the last set-up
  uint64_t bytes = 0;
  bool isSet = false;
  Tensor keepAlive;
  Pages aligned; ///< copy for pointers that are not aligned to an element
};

/// Two buffers, so that a cache can be read from one and written to the other.
struct Output {
  Pages current, spare;
  Shape shape;
  uint64_t bytes = 0, maxBytes = 0;
};

struct PreparedStep {
  CpuKernel kernel = nullptr;
  uint32_t firstBuffer = 0, firstScalar = 0, tasks = 0, bufferCount = 0;
  uint32_t stage = 0; ///< that begins behind the step; 0: none
  int64_t taskCount = 0;
  bool isSmall = false; ///< not worth a second thread in this run
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

} // namespace session

/// What sessions of one bundle have in common.
struct Session::Shared {
  Shared(std::shared_ptr<const Bundle> bundle, const CodeVariant &variant,
         const SessionOptions &options)
      : bundle(std::move(bundle)), variant(variant),
        pool(options.threads, options.cores) {}
  Status loadCode();
  Status reserveArena();
  /// Zeros for all states at the dimensions' bounds.
  Expected<std::shared_ptr<const std::vector<Pages>>> makeStates() const;

  std::shared_ptr<const Bundle> bundle;
  const CodeVariant &variant;
  ThreadPool pool;
  Pages code;
  Pages arena; ///< enough for any entry point
};

struct Session::State {
  State(std::shared_ptr<Shared> shared,
        std::shared_ptr<const std::vector<Pages>> states,
        const EntryPoint &entry)
      : shared(std::move(shared)), states(std::move(states)), entry(entry) {}

  const Bundle &bundle() const { return *shared->bundle; }

  // Once per session.
  void prepareStages();
  uint32_t stageOf(const DimExpr &expression) const;
  void assignStages();
  Status prepare();
  uint32_t numberOf(const DimExpr &expression);
  Status prepareStep(const Step &step);
  Status checkSolvable() const;

  // Once per run.
  Status solveDims();
  bool solveFrom(const session::InputDim &dim, int64_t value);
  Status checkShapes();
  Status checkIndices();
  Status evaluate(const session::Stage &stage);
  Status placeInputs();
  Status placeOutputs(const session::Stage &stage);
  Status placeBuffers(const session::Stage &stage);
  Status placeBuffer(uint32_t number);
  bool isRepeated() const;
  Status prepareInputs();
  Status define(const session::Stage &stage);
  Status enter(const session::Stage &stage);
  Status runSteps();

  std::optional<int64_t> dimension(const std::string &name) const;
  size_t dimNumber(const std::string &name) const;
  Expected<int64_t> valueOf(const DimExpr &expression) const;

  std::shared_ptr<Shared> shared;
  std::shared_ptr<const std::vector<Pages>> states; ///< as index().states
  const EntryPoint &entry;
  uint64_t plannedBytes = 0;

  std::vector<session::Input> inputs;
  std::vector<session::Output> outputs;
  std::vector<std::optional<int64_t>> dims; ///< as index().dims
  std::map<std::string, DimExpr::Bound> bounds;

  std::map<DimExpr, uint32_t> numbers; ///< of the distinct expressions
  std::vector<DimExpr> expressions;
  std::vector<int64_t> values;
  std::vector<std::vector<uint32_t>> outputShapes; ///< expression numbers

  std::vector<session::Stage> stages;        ///< at least the first
  std::map<std::string, uint32_t> definedIn; ///< dimension -> stage
  std::vector<session::PreparedStep> steps;
  std::vector<session::PreparedBuffer> buffers;
  std::vector<uint32_t> portBuffers; ///< buffers that are inputs or outputs
  std::vector<void *> pointers;      ///< as buffers
  std::vector<uint32_t> scalars;     ///< expression numbers
  std::vector<int64_t> scalarValues;
  bool hasRun = false;
  bool isPrepared = false; ///< for the inputs' `preparedShape`
};

} // namespace nibble

#endif // NIBBLE_LIB_RUNTIME_SESSIONSTATE_H
