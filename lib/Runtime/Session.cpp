//===- Session.cpp - Run an entry point of a bundle -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A run has two halves. Set-up solves the dimensions from the input shapes,
// evaluates each distinct expression of the program once, checks every buffer
// against the memory behind it and patches pointers. The step loop then calls
// kernels with arrays that were laid out when the session was made.
//
// Bundle::open has verified all references; what is checked here depends on the
// sizes of the run.
//
//===----------------------------------------------------------------------===//

#include "nibble/Runtime/Session.h"

#include "nibble/Base/ThreadPool.h"
#include "nibble/Bundle/Format.h"
#include "nibble/Runtime/Memory.h"
#include "nibble/Runtime/Variant.h"
#include "nibble/Target/KernelAbi.h"

#include <algorithm>
#include <cstring>

using namespace nibble;

namespace {

/// Steps that touch fewer bytes than this take about as long as it takes to
/// hand work to another thread; they run on the caller alone.
constexpr int64_t smallStepBytes = 32 * 1024;

/// More than any machine has cores; a typing error should not start a million.
constexpr unsigned maxThreads = 1024;

/// What pointers to tensors without elements refer to: kernels never see null.
alignas(bufferAlignment) std::byte nothing[bufferAlignment];

std::string quoted(const std::string &name) { return "'" + name + "'"; }

std::string shapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// A shape without allocation: inputs are set before every decode step.
struct Shape {
  std::array<int64_t, bundle::maxRank> dims{};
  size_t rank = 0;
  std::span<const int64_t> span() const { return {dims.data(), rank}; }
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
  Shape shape;
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
  int64_t taskCount = 0;
  bool isSmall = false; ///< not worth a second thread in this run
};

/// A pointer that follows an input or output, or a size to check.
struct PreparedBuffer {
  BufferRef::Kind kind;
  uint32_t index;
  uint64_t offset;
  uint32_t bytes; ///< number of the expression
};

/// Elements that lie outside [check.min, check.limit): the first, if any.
template <typename T>
std::optional<uint64_t> firstOutside(const std::byte *data, uint64_t bytes,
                                     const IndexCheck &check) {
  for (uint64_t at = 0; at < bytes; at += sizeof(T)) {
    T value;
    std::memcpy(&value, data + at, sizeof(T));
    bool isInside;
    if constexpr (std::is_unsigned_v<T>)
      isInside = check.limit > 0 &&
                 value < static_cast<uint64_t>(check.limit) &&
                 (check.min <= 0 || value >= static_cast<uint64_t>(check.min));
    else
      isInside = value >= check.min && value < check.limit;
    if (!isInside)
      return at / sizeof(T);
  }
  return std::nullopt;
}

std::optional<uint64_t> firstOutside(ElementType type, const std::byte *data,
                                     uint64_t bytes, const IndexCheck &check) {
  bool isSigned = type.kind == ElementType::Kind::Signed;
  switch (type.bits) {
  case 8:
    return isSigned ? firstOutside<int8_t>(data, bytes, check)
                    : firstOutside<uint8_t>(data, bytes, check);
  case 16:
    return isSigned ? firstOutside<int16_t>(data, bytes, check)
                    : firstOutside<uint16_t>(data, bytes, check);
  case 32:
    return isSigned ? firstOutside<int32_t>(data, bytes, check)
                    : firstOutside<uint32_t>(data, bytes, check);
  default:
    return isSigned ? firstOutside<int64_t>(data, bytes, check)
                    : firstOutside<uint64_t>(data, bytes, check);
  }
}

} // namespace

struct Session::State {
  State(std::shared_ptr<const Bundle> bundle, const EntryPoint &entry,
        const CodeVariant &variant, unsigned threads)
      : bundle(std::move(bundle)), entry(entry), variant(variant),
        pool(threads) {}

  // Once per session.
  Status loadCode();
  Status prepare();
  uint32_t numberOf(const DimExpr &expression);
  Status prepareStep(const Step &step);
  Status checkSolvable() const;

  // Once per run.
  Status solveDims();
  bool solveFrom(const InputDim &dim, int64_t value);
  Status checkShapes();
  Status checkIndices();
  Status evaluate();
  Status placeInputs();
  Status placeOutputs();
  Status placeBuffers();
  void runSteps();

  std::optional<int64_t> dimension(const std::string &name) const;
  size_t dimNumber(const std::string &name) const;
  Expected<int64_t> valueOf(const DimExpr &expression) const;

  std::shared_ptr<const Bundle> bundle;
  const EntryPoint &entry;
  const CodeVariant &variant;
  ThreadPool pool;
  Pages code, arena;
  uint64_t plannedBytes = 0;

  std::vector<Input> inputs;
  std::vector<Output> outputs;
  std::vector<std::optional<int64_t>> dims; ///< as index().dims
  std::map<std::string, DimExpr::Bound> bounds;

  std::map<DimExpr, uint32_t> numbers; ///< of the distinct expressions
  std::vector<DimExpr> expressions;
  std::vector<int64_t> values;
  std::vector<std::vector<uint32_t>> outputShapes; ///< expression numbers

  std::vector<PreparedStep> steps;
  std::vector<PreparedBuffer> buffers;
  std::vector<void *> pointers;  ///< as buffers
  std::vector<uint32_t> scalars; ///< expression numbers
  std::vector<int64_t> scalarValues;
  bool hasRun = false;
};

//===----------------------------------------------------------------------===//
// Once per session
//===----------------------------------------------------------------------===//

Status Session::State::loadCode() {
  std::span<const std::byte> image = bundle->code(variant);
  Expected<Pages> pages = Pages::reserve(image.size());
  if (!pages)
    return pages.status();
  code = pages.take();
  if (image.empty())
    return Status::success();
  std::memcpy(code.data(), image.data(), image.size());
  // The file may have changed since it was opened: what runs is what is hashed.
  if (sha256({code.data(), image.size()}) != variant.digest)
    return Status::error("the bundle's code has changed since it was opened");
  return code.makeExecutable();
}

uint32_t Session::State::numberOf(const DimExpr &expression) {
  auto [entry, isNew] = numbers.try_emplace(
      expression, static_cast<uint32_t>(expressions.size()));
  if (isNew)
    expressions.push_back(expression);
  return entry->second;
}

Status Session::State::prepareStep(const Step &step) {
  PreparedStep prepared;
  prepared.kernel = reinterpret_cast<CpuKernel>(
      code.data() + variant.kernelOffsets[step.kernel]);
  prepared.firstBuffer = static_cast<uint32_t>(buffers.size());
  prepared.firstScalar = static_cast<uint32_t>(scalars.size());
  prepared.tasks = numberOf(step.tasks);
  prepared.bufferCount = static_cast<uint32_t>(step.buffers.size());
  for (const BufferRef &buffer : step.buffers) {
    buffers.push_back(
        {buffer.kind, buffer.index, buffer.offset, numberOf(buffer.bytes)});
    const std::byte *pointer = nothing;
    if (buffer.kind == BufferRef::Kind::Arena && arena.data())
      pointer = arena.data() + buffer.offset;
    else if (buffer.kind == BufferRef::Kind::Weight &&
             !bundle->weight(buffer.index).empty())
      pointer = bundle->weight(buffer.index).data();
    // Results are never weights, so nothing writes through this pointer.
    pointers.push_back(const_cast<std::byte *>(pointer));
  }
  for (const DimExpr &scalar : step.scalars)
    scalars.push_back(numberOf(scalar));
  steps.push_back(prepared);
  return Status::success();
}

Status Session::State::prepare() {
  const BundleIndex &index = bundle->index();
  bounds = bundle::boundsOf(index.dims);
  dims.resize(index.dims.size());
  inputs.resize(entry.inputs.size());
  outputs.resize(entry.outputs.size());
  if (Status status = loadCode(); !status.isOk())
    return status;

  Expected<Pages> scratch = Pages::reserve(entry.arenaBytes);
  if (!scratch)
    return scratch.status();
  arena = scratch.take();
  plannedBytes = entry.arenaBytes;

  for (size_t i = 0; i < inputs.size(); ++i)
    for (const DimExpr &dim : entry.inputs[i].shape) {
      InputDim &prepared = inputs[i].dims.emplace_back();
      for (const std::string &name : dim.symbols())
        prepared.symbols.push_back(static_cast<uint32_t>(dimNumber(name)));
      prepared.isBare = dim.asSymbol().has_value();
      prepared.expression = numberOf(dim);
      Expected<DimExpr::Bound> bound = dim.bound(bounds);
      if (!bound)
        return bound.status();
      prepared.bound = *bound;
    }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Port &port = entry.outputs[i];
    Expected<uint64_t> bytes = bundle::maxPortBytes(port, index.dims);
    if (!bytes)
      return bytes.status();
    outputs[i].maxBytes = *bytes;
    plannedBytes += *bytes;
    outputShapes.emplace_back();
    for (const DimExpr &dim : port.shape)
      outputShapes.back().push_back(numberOf(dim));
  }
  for (const Step &step : entry.steps)
    if (Status status = prepareStep(step); !status.isOk())
      return status;
  values.resize(expressions.size());
  scalarValues.resize(scalars.size());
  return checkSolvable();
}

/// Every dimension that the program uses must appear in an input's shape, or
/// have one possible value.
Status Session::State::checkSolvable() const {
  std::set<std::string> known;
  for (const Port &port : entry.inputs)
    for (const DimExpr &dim : port.shape)
      for (const std::string &name : dim.symbols())
        known.insert(name);
  for (const DimExpr &expression : expressions)
    for (const std::string &name : expression.symbols())
      if (!known.count(name) && bounds.at(name).min != bounds.at(name).max)
        return Status::error("dimension " + quoted(name) +
                             " does not appear in the shape of an input, so "
                             "it cannot be known");
  return Status::success();
}

//===----------------------------------------------------------------------===//
// Once per run
//===----------------------------------------------------------------------===//

size_t Session::State::dimNumber(const std::string &name) const {
  const std::vector<DimSymbol> &all = bundle->index().dims;
  size_t i = 0;
  while (i < all.size() && all[i].name != name)
    ++i;
  return i;
}

std::optional<int64_t>
Session::State::dimension(const std::string &name) const {
  size_t number = dimNumber(name);
  return number < dims.size() ? dims[number] : std::nullopt;
}

Expected<int64_t> Session::State::valueOf(const DimExpr &expression) const {
  return expression.evaluate(
      [this](const std::string &name) { return dimension(name); });
}

/// Solves `dim == value` if exactly one dimension in it is unknown and the
/// expression is linear in that one. True if it has become known.
bool Session::State::solveFrom(const InputDim &dim, int64_t value) {
  std::optional<uint32_t> unknown;
  for (uint32_t symbol : dim.symbols)
    if (!dims[symbol]) {
      if (unknown)
        return false;
      unknown = symbol;
    }
  if (!unknown)
    return false;
  auto at = [&](int64_t trial) {
    dims[*unknown] = trial;
    Expected<int64_t> result = valueOf(expressions[dim.expression]);
    dims[*unknown].reset();
    return result;
  };
  Expected<int64_t> zero = at(0), one = at(1);
  int64_t slope, rest;
  if (!zero || !one || __builtin_sub_overflow(*one, *zero, &slope) ||
      __builtin_sub_overflow(value, *zero, &rest) || slope == 0 ||
      (slope == -1 && rest == INT64_MIN) || rest % slope != 0)
    return false;
  // checkShapes finds out about expressions that are not linear after all.
  dims[*unknown] = rest / slope;
  return true;
}

Status Session::State::solveDims() {
  const std::vector<DimSymbol> &all = bundle->index().dims;
  for (size_t i = 0; i < all.size(); ++i)
    dims[i] =
        all[i].min == all[i].max ? std::optional(all[i].min) : std::nullopt;
  // Bare names first: they need no solving and give the clearest messages.
  for (const Input &input : inputs)
    for (size_t d = 0; d < input.shape.rank; ++d)
      if (const InputDim &dim = input.dims[d];
          dim.isBare && !dims[dim.symbols.front()])
        dims[dim.symbols.front()] = input.shape.dims[d];
  bool hasChanged = true;
  while (hasChanged) {
    hasChanged = false;
    for (const Input &input : inputs)
      for (size_t d = 0; d < input.shape.rank; ++d)
        hasChanged |= solveFrom(input.dims[d], input.shape.dims[d]);
  }
  // Those that stand alone were checked when the input was set.
  for (size_t i = 0; i < all.size(); ++i)
    if (dims[i] && (*dims[i] < all[i].min || *dims[i] > all[i].max))
      return Status::error(
          "the input shapes make dimension " + quoted(all[i].name) + " " +
          std::to_string(*dims[i]) + ", but the model was compiled for " +
          std::to_string(all[i].min) + " to " + std::to_string(all[i].max) +
          "; use other inputs or compile with a larger "
          "bound");
  return Status::success();
}

Status Session::State::evaluate() {
  for (size_t i = 0; i < expressions.size(); ++i) {
    Expected<int64_t> value = valueOf(expressions[i]);
    if (!value)
      return value.status().withContext("the input shapes do not give '" +
                                        expressions[i].str() + "'");
    values[i] = *value;
  }
  return Status::success();
}

Status Session::State::checkShapes() {
  for (size_t i = 0; i < inputs.size(); ++i)
    for (size_t d = 0; d < inputs[i].shape.rank; ++d) {
      int64_t expected = values[inputs[i].dims[d].expression];
      int64_t found = inputs[i].shape.dims[d];
      if (expected == found)
        continue;
      const Port &port = entry.inputs[i];
      return Status::error(
          "input " + quoted(port.name) + ": dimension " + std::to_string(d) +
          " ('" + port.shape[d].str() + "') is " + std::to_string(found) +
          ", but the other inputs make it " + std::to_string(expected) +
          "; give inputs whose shapes agree");
    }
  return Status::success();
}

Status Session::State::checkIndices() {
  for (const IndexCheck &check : entry.checks) {
    const Port &port = entry.inputs[check.input];
    const Input &input = inputs[check.input];
    std::optional<uint64_t> wrong =
        firstOutside(port.type, input.data, input.bytes, check);
    if (!wrong)
      continue;
    Tensor tensor = Tensor::borrow(
        port.type, {static_cast<int64_t>(input.bytes / (port.type.bits / 8))},
        {input.data, input.bytes}, nullptr);
    return Status::error("input " + quoted(port.name) + ": element " +
                         std::to_string(*wrong) + " is " +
                         std::to_string(tensor.integerAt(*wrong)) +
                         ", expected at least " + std::to_string(check.min) +
                         " and less than " + std::to_string(check.limit));
  }
  return Status::success();
}

Status Session::State::placeInputs() {
  for (size_t i = 0; i < inputs.size(); ++i) {
    Input &input = inputs[i];
    input.placed = input.data;
    size_t alignment = std::max(entry.inputs[i].type.bits / 8, 1);
    if (reinterpret_cast<uintptr_t>(input.data) % alignment == 0)
      continue;
    if (input.aligned.size() < input.bytes) {
      Expected<Pages> pages = Pages::reserve(input.bytes);
      if (!pages)
        return pages.status();
      input.aligned = pages.take();
    }
    std::memcpy(input.aligned.data(), input.data, input.bytes);
    input.placed = input.aligned.data();
  }
  return Status::success();
}

Status Session::State::placeOutputs() {
  for (size_t i = 0; i < outputs.size(); ++i) {
    Output &output = outputs[i];
    const Port &port = entry.outputs[i];
    output.shape.rank = outputShapes[i].size();
    for (size_t d = 0; d < output.shape.rank; ++d)
      output.shape.dims[d] = values[outputShapes[i][d]];
    std::optional<uint64_t> count = elementCount(output.shape.span());
    std::optional<uint64_t> bytes =
        count ? byteSize(port.type, *count) : std::nullopt;
    if (!bytes || *bytes > output.maxBytes)
      return Status::error("these inputs give output " + quoted(port.name) +
                           " the shape " + shapeText(output.shape.span()) +
                           ", which it cannot have");
    output.bytes = *bytes;
    if (output.current.size() >= output.bytes)
      continue;
    // All of it at once where the system allows: later runs find it there.
    Expected<Pages> pages = Pages::reserve(output.maxBytes);
    if (!pages)
      pages = Pages::reserve(output.bytes);
    if (!pages)
      return pages.status();
    output.current = pages.take();
  }
  return Status::success();
}

Status Session::State::placeBuffers() {
  for (size_t i = 0; i < buffers.size(); ++i) {
    const PreparedBuffer &buffer = buffers[i];
    int64_t bytes = values[buffer.bytes];
    uint64_t room = 0;
    switch (buffer.kind) {
    case BufferRef::Kind::Input: {
      const Input &input = inputs[buffer.index];
      room = input.bytes;
      pointers[i] = const_cast<std::byte *>(room ? input.placed : nothing);
      break;
    }
    case BufferRef::Kind::Output:
      room = outputs[buffer.index].bytes;
      pointers[i] = room ? outputs[buffer.index].current.data() : nothing;
      break;
    case BufferRef::Kind::Weight:
      room = bundle->index().weights[buffer.index].bytes;
      break;
    case BufferRef::Kind::Arena:
      room = entry.arenaBytes - buffer.offset;
      break;
    }
    if (bytes < 0 || static_cast<uint64_t>(bytes) > room)
      return Status::error("the bundle's program uses " +
                           std::to_string(bytes) + " bytes of a buffer of " +
                           std::to_string(room) + "; compile the model again");
  }
  for (size_t i = 0; i < scalars.size(); ++i)
    scalarValues[i] = values[scalars[i]];
  for (PreparedStep &step : steps) {
    step.taskCount = values[step.tasks];
    int64_t left = smallStepBytes;
    for (uint32_t i = 0; i < step.bufferCount && left > 0; ++i)
      left -= std::min(left, values[buffers[step.firstBuffer + i].bytes]);
    step.isSmall = left > 0;
  }
  return Status::success();
}

void Session::State::runSteps() {
  for (const PreparedStep &step : steps) {
    if (step.taskCount <= 0)
      continue;
    void *const *stepBuffers = pointers.data() + step.firstBuffer;
    const int64_t *stepScalars = scalarValues.data() + step.firstScalar;
    if (step.isSmall) {
      step.kernel(stepBuffers, stepScalars, 0, step.taskCount);
      continue;
    }
    pool.parallelFor(step.taskCount, [&](int64_t begin, int64_t end) {
      step.kernel(stepBuffers, stepScalars, begin, end);
    });
  }
}

//===----------------------------------------------------------------------===//
// Interface
//===----------------------------------------------------------------------===//

Session::Session() = default;
Session::~Session() = default;

static Expected<const EntryPoint *> findEntry(const BundleIndex &index,
                                              const std::string &wanted) {
  std::string name = wanted.empty() ? "main" : wanted;
  std::string names;
  for (const EntryPoint &entry : index.entries) {
    if (entry.name == name)
      return &entry;
    names += (names.empty() ? "" : ", ") + entry.name;
  }
  if (wanted.empty() && index.entries.size() == 1)
    return &index.entries.front();
  return Status::error("expected an entry point of the bundle, got '" + name +
                       "'; it has: " + (names.empty() ? "none" : names));
}

Expected<std::unique_ptr<Session>>
Session::create(std::shared_ptr<const Bundle> bundle,
                const SessionOptions &options) {
  Expected<const EntryPoint *> entry =
      findEntry(bundle->index(), options.entry);
  if (!entry)
    return entry.status();
  Expected<uint32_t> variant = selectVariant(*bundle, options.variant);
  if (!variant)
    return variant.status();
  const CodeVariant &code = bundle->index().variants[*variant];
  std::unique_ptr<Session> session(new Session());
  session->state = std::make_unique<State>(std::move(bundle), **entry, code,
                                           options.threads);
  if (Status status = session->state->prepare(); !status.isOk())
    return status.withContext("entry point '" + (*entry)->name + "'");
  return session;
}

const Bundle &Session::bundle() const { return *state->bundle; }
const EntryPoint &Session::entry() const { return state->entry; }
const CodeVariant &Session::variant() const { return state->variant; }
unsigned Session::threads() const { return state->pool.threads(); }
uint64_t Session::plannedBytes() const { return state->plannedBytes; }
bool Session::hasRun() const { return state->hasRun; }

Status Session::setInput(uint32_t number, const void *data,
                         std::span<const int64_t> shape) {
  if (number >= state->inputs.size())
    return Status::error("there is no input " + std::to_string(number) +
                         ", the entry point has " +
                         std::to_string(state->inputs.size()));
  const Port &port = state->entry.inputs[number];
  Input &input = state->inputs[number];
  auto error = [&](const std::string &text) {
    return Status::error("input " + quoted(port.name) + ": " + text);
  };
  if (shape.size() != port.shape.size())
    return error("expected " + std::to_string(port.shape.size()) +
                 " dimensions, got " + std::to_string(shape.size()));
  for (size_t d = 0; d < shape.size(); ++d) {
    DimExpr::Bound bound = input.dims[d].bound;
    int64_t least = std::max<int64_t>(bound.min, 0);
    if (shape[d] >= least && shape[d] <= bound.max)
      continue;
    std::string range = least == bound.max ? std::to_string(least)
                                           : std::to_string(least) + " to " +
                                                 std::to_string(bound.max);
    return error("dimension " + std::to_string(d) + " ('" +
                 port.shape[d].str() + "') is " + std::to_string(shape[d]) +
                 ", but the model was compiled for " + range +
                 "; use another input or compile with a larger --dim bound");
  }
  std::optional<uint64_t> count = elementCount(shape);
  std::optional<uint64_t> bytes =
      count ? byteSize(port.type, *count) : std::nullopt;
  if (!bytes)
    return error("the shape " + shapeText(shape) + " has too many elements");
  if (!data && *bytes != 0)
    return error("expected data, got a null pointer");
  input.data = *bytes ? static_cast<const std::byte *>(data) : nothing;
  std::copy(shape.begin(), shape.end(), input.shape.dims.begin());
  input.shape.rank = shape.size();
  input.bytes = *bytes;
  input.isSet = true;
  input.keepAlive = Tensor();
  return Status::success();
}

Status Session::setInput(const std::string &name, const Tensor &tensor) {
  const std::vector<Port> &ports = state->entry.inputs;
  std::string names;
  for (uint32_t i = 0; i < ports.size(); ++i) {
    names += (i ? ", " : "") + ports[i].name;
    if (ports[i].name != name)
      continue;
    if (tensor.type() != ports[i].type)
      return Status::error("input " + quoted(name) + ": expected elements of " +
                           ports[i].type.str() + ", got " +
                           tensor.type().str());
    if (Status status = setInput(i, tensor.bytes().data(), tensor.shape());
        !status.isOk())
      return status;
    state->inputs[i].keepAlive = tensor;
    return Status::success();
  }
  return Status::error(
      "there is no input " + quoted(name) +
      "; the entry point has: " + (names.empty() ? "none" : names));
}

Status Session::feedBack(uint32_t from, uint32_t to) {
  if (from >= state->outputs.size() || to >= state->inputs.size() ||
      state->entry.outputs[from].type != state->entry.inputs[to].type)
    return Status::error("expected an output and an input of the same type");
  if (!state->hasRun)
    return Status::error("expected a run before its output is fed back");
  Output &output = state->outputs[from];
  if (Status status = setInput(to, output.current.data(), output.shape.span());
      !status.isOk())
    return status;
  std::swap(output.current, output.spare);
  return Status::success();
}

bool Session::isSet(uint32_t input) const {
  return input < state->inputs.size() && state->inputs[input].isSet;
}

std::vector<int64_t> Session::shape(uint32_t input) const {
  if (!isSet(input))
    return {};
  auto shape = state->inputs[input].shape.span();
  return {shape.begin(), shape.end()};
}

std::string Session::missingInput() const {
  for (size_t i = 0; i < state->inputs.size(); ++i)
    if (!state->inputs[i].isSet)
      return state->entry.inputs[i].name;
  return "";
}

Status Session::run() {
  if (std::string name = missingInput(); !name.empty())
    return Status::error("input " + quoted(name) +
                         " is not set; all inputs must be set before a run");
  state->hasRun = false;
  using Part = Status (State::*)();
  for (Part part : {&State::solveDims, &State::evaluate, &State::checkShapes,
                    &State::checkIndices, &State::placeInputs,
                    &State::placeOutputs, &State::placeBuffers})
    if (Status status = (state.get()->*part)(); !status.isOk())
      return status;
  state->runSteps();
  state->hasRun = true;
  return Status::success();
}

std::span<const std::byte> Session::outputBytes(uint32_t number) const {
  if (!state->hasRun || number >= state->outputs.size())
    return {};
  const Output &output = state->outputs[number];
  return {output.bytes ? output.current.data() : nothing, output.bytes};
}

std::span<const int64_t> Session::outputShape(uint32_t number) const {
  if (!state->hasRun || number >= state->outputs.size())
    return {};
  return state->outputs[number].shape.span();
}

Tensor Session::output(uint32_t number) const {
  if (!state->hasRun || number >= state->outputs.size())
    return Tensor();
  auto shape = outputShape(number);
  return Tensor::borrow(state->entry.outputs[number].type,
                        {shape.begin(), shape.end()}, outputBytes(number),
                        nullptr);
}
