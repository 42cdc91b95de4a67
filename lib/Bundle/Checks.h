//===- Checks.h - What all checks of an index use ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_BUNDLE_CHECKS_H
#define NIBBLE_LIB_BUNDLE_CHECKS_H

#include "nibble/Base/SmallFloat.h"
#include "nibble/Bundle/Format.h"

#include <set>

namespace nibble::bundle {

inline std::string quoted(const std::string &name) { return "'" + name + "'"; }

/// Names end up in messages, C strings and archive members.
inline Status checkName(const std::string &name, const std::string &what) {
  if (name.empty())
    return Status::error(what + " has no name");
  if (name.size() > maxNameBytes)
    return Status::error(what + " has a name of " +
                         std::to_string(name.size()) + " bytes, at most " +
                         std::to_string(maxNameBytes) + " are allowed");
  for (unsigned char c : name)
    if (c < 0x20 || c == 0x7f)
      return Status::error(what + " has a control character in its name");
  return Status::success();
}

/// Checks names one by one, and that none comes twice.
class UniqueNames {
public:
  explicit UniqueNames(std::string what) : what(std::move(what)) {}
  Status add(const std::string &name) {
    if (Status status = checkName(name, what); !status.isOk())
      return status;
    if (!seen.insert(name).second)
      return Status::error(what + " " + quoted(name) + " is there twice");
    return Status::success();
  }

private:
  std::string what;
  std::set<std::string> seen;
};

/// The element types of the C interface.
inline bool isPortType(ElementType type) {
  switch (type.kind) {
  case ElementType::Kind::Float:
    return type.bits == 16 || type.bits == 32 || type.bits == 64;
  case ElementType::Kind::BFloat:
    return type.bits == 16;
  case ElementType::Kind::Bool:
    return type.bits == 8;
  case ElementType::Kind::Signed:
  case ElementType::Kind::Unsigned:
    return type.bits == 2 || type.bits == 4 || type.bits == 8 ||
           type.bits == 16 || type.bits == 32 || type.bits == 64;
  default:
    return SmallFloat::of(type) != nullptr;
  }
}

/// Type and rank of a port or a state; `plural` says which.
inline Status checkTensor(ElementType type, const std::vector<DimExpr> &shape,
                          const std::string &plural) {
  if (!isPortType(type))
    return Status::error("has an element type that " + plural + " cannot have");
  if (shape.size() > maxRank)
    return Status::error("has " + std::to_string(shape.size()) +
                         " dimensions, at most 8 are allowed");
  return Status::success();
}

/// Checks programs, of which many steps share few expressions.
class StepChecker {
public:
  /// `stateBytes`: of the states at the bounds; both must live longer.
  StepChecker(const BundleIndex &index,
              const std::vector<uint64_t> &stateBytes);
  /// A program of `entry`, whose steps name `kernels` by number.
  Status check(const EntryPoint &entry, const Program &program,
               const std::vector<const KernelEntry *> &kernels);

private:
  Status checkStep(const EntryPoint &entry, const Program &program,
                   const std::vector<const KernelEntry *> &kernels,
                   const Step &step);
  Status checkBuffer(const EntryPoint &entry, const Program &program,
                     const BufferRef &buffer, bool isResult);
  Expected<int64_t> largest(const DimExpr &expression);

  const BundleIndex &index;
  const std::vector<uint64_t> &stateBytes;
  std::map<std::string, DimExpr::Bound> bounds;
  std::map<DimExpr, int64_t> maxima;
};

} // namespace nibble::bundle

#endif // NIBBLE_LIB_BUNDLE_CHECKS_H
