//===- CheckDefinitions.cpp - Dimensions that steps define ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rule R11 of docs/BundleFormat.md: where a dimension gets its value, and that
// nobody uses it before.
//
//===----------------------------------------------------------------------===//

#include "Checks.h"

namespace nibble::bundle {
namespace {

class DefinitionChecker {
public:
  DefinitionChecker(const EntryPoint &entry, const Program &program,
                    const std::vector<DimSymbol> &dims)
      : entry(entry), program(program), dims(dims) {}

  Status check() {
    for (size_t i = 0; i < program.steps.size(); ++i)
      if (Status status = addDefinitions(i); !status.isOk())
        return status.withContext("step " + std::to_string(i));
    if (definers.empty())
      return Status::success();
    if (Status status = checkInputs(); !status.isOk())
      return status;
    for (const Step &step : program.steps)
      if (Status status = checkUses(step); !status.isOk())
        return status.withContext("step " +
                                  std::to_string(&step - program.steps.data()));
    return Status::success();
  }

private:
  /// Each dimension once, and the last result of the step has room for them.
  Status addDefinitions(size_t number) {
    const Step &step = program.steps[number];
    if (step.defines.empty())
      return Status::success();
    for (uint32_t dim : step.defines) {
      if (dim >= dims.size())
        return Status::error("defines dimension " + std::to_string(dim) +
                             " of " + std::to_string(dims.size()));
      if (!definers.emplace(dims[dim].name, number).second)
        return Status::error("defines dimension " + quoted(dims[dim].name) +
                             ", which has a value");
    }
    auto bytes = static_cast<int64_t>(step.defines.size() * sizeof(int64_t));
    if (step.results == 0 || step.buffers.empty() ||
        step.buffers.back().kind != BufferRef::Kind::Arena ||
        step.buffers.back().bytes.asConstant() != bytes)
      return Status::error("defines dimensions, so that its last result has to "
                           "be " +
                           std::to_string(bytes) + " bytes in the arena");
    return Status::success();
  }

  Status checkInputs() const {
    for (const Port &port : entry.inputs)
      for (const DimExpr &dim : port.shape)
        for (const std::string &name : dim.symbols())
          if (definers.count(name))
            return Status::error("input " + quoted(port.name) +
                                 " has dimension " + quoted(name) +
                                 ", which a step defines");
    return Status::success();
  }

  /// When the step begins, all dimensions that it uses are known; those of an
  /// output are those of its shape.
  Status checkUses(const Step &step) {
    std::vector<DimExpr> used = step.scalars;
    used.push_back(step.tasks);
    for (const BufferRef &buffer : step.buffers) {
      used.push_back(buffer.bytes);
      if (buffer.kind == BufferRef::Kind::Output) {
        const std::vector<DimExpr> &shape = entry.outputs[buffer.index].shape;
        used.insert(used.end(), shape.begin(), shape.end());
      }
    }
    for (const DimExpr &expression : used)
      // `after` is an earlier step, which was checked.
      if (const auto &[definer, name] = lastDefinition(expression);
          step.after < definer)
        return Status::error("uses dimension " + quoted(name) +
                             " and does not wait for step " +
                             std::to_string(definer) + ", which defines it");
    return Status::success();
  }

  using Definition = std::pair<int64_t, std::string>;

  /// The last step that defines a dimension of `expression`, and which; step -1
  /// if none does. Remembered: a file can use a large expression very often.
  const Definition &lastDefinition(const DimExpr &expression) {
    auto [found, isNew] = last.try_emplace(expression, -1, "");
    if (isNew)
      for (const std::string &name : expression.symbols())
        if (auto definer = definers.find(name); definer != definers.end())
          found->second =
              std::max(found->second,
                       Definition(static_cast<int64_t>(definer->second), name));
    return found->second;
  }

  const EntryPoint &entry;
  const Program &program;
  const std::vector<DimSymbol> &dims;
  std::map<std::string, size_t> definers; ///< dimension -> number of the step
  std::map<DimExpr, Definition> last;
};

} // namespace

Status checkDefinitions(const EntryPoint &entry, const Program &program,
                        const std::vector<DimSymbol> &dims) {
  return DefinitionChecker(entry, program, dims).check();
}

} // namespace nibble::bundle
