//===- Targets.cpp - For which instruction sets code is made --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Targets.h"

#include "nibble/Runtime/Variant.h"
#include "nibble/Target/CpuTarget.h"
#include "nibble/Target/CudaTarget.h"

#include <algorithm>

using namespace nibble;

#if defined(__x86_64__)
static constexpr bool hostIsX86 = true;
#else
static constexpr bool hostIsX86 = false;
#endif

static bool isX86(const std::string &name) {
  return findCpuTarget(name)->isX86();
}

static std::string joined(const std::vector<std::string> &names) {
  std::string text;
  for (const std::string &name : names)
    text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// The same on every machine, so that the same model gives the same bytes.
static std::vector<std::string> usualTargets(Emit emit) {
  // Code to read or to take apart is of the least, which all others run.
  if (emit == Emit::Ptx)
    return {"compute_80"};
  if (isCodeFile(emit))
    return {"x86-64-v3"};
  std::vector<std::string> names;
  for (const CpuTarget &target : cpuTargets())
    if (target.isX86())
      names.push_back(target.name);
  return names;
}

bool nibble::isCodeFile(Emit emit) {
  return emit == Emit::Llvm || emit == Emit::Asm || emit == Emit::Object ||
         emit == Emit::Ptx;
}

/// Puts the target of a name that a user gives where it belongs.
static Status addTarget(const std::string &name, Options &options) {
  std::string target = name == "native" ? bestTarget() : name;
  if (target.empty())
    return Status::error("expects a processor that some code is made for, "
                         "for --target=native; choose one of " +
                         cpuTargetNames());
  bool isCuda = findCudaTarget(target);
  bool isPtx = options.emit == Emit::Ptx, isCode = isCodeFile(options.emit);
  if (isPtx && !isCuda)
    return Status::error("expects a target of " + cudaTargetNames() +
                         " for PTX; got '" + name + "'");
  if (isCuda && isCode && !isPtx)
    return Status::error("expects a target of " + cpuTargetNames() +
                         " for this kind of code; got '" + name +
                         "', whose code is --emit=ptx");
  if (!isCuda && !findCpuTarget(target))
    return Status::error("expects a target of " + cpuTargetNames() +
                         ", or native, or of the GPUs " + cudaTargetNames() +
                         "; got '" + target + "'");
  std::vector<std::string> &list =
      isCuda ? options.cudaTargets : options.targets;
  if (std::ranges::find(list, target) == list.end())
    list.push_back(target);
  return Status::success();
}

Status nibble::chooseTargets(Options &options) {
  std::vector<std::string> wanted = std::move(options.targets);
  options.targets.clear();
  if (wanted.empty())
    wanted = usualTargets(options.emit);
  for (const std::string &name : wanted)
    if (Status status = addTarget(name, options); !status.isOk())
      return status;
  if (isCodeFile(options.emit) &&
      options.targets.size() + options.cudaTargets.size() > 1)
    return Status::error("expects one --target for a file of code, got " +
                         joined(options.targets) + joined(options.cudaTargets));
  if (options.emit == Emit::Mlir && !options.targets.empty() &&
      !options.cudaTargets.empty())
    return Status::error("expects targets of one kind of device for "
                         "--emit=mlir, got " +
                         joined(options.targets) + " and " +
                         joined(options.cudaTargets));
  auto isOther = [&](const std::string &target) {
    return isX86(target) != isX86(options.targets.front());
  };
  if (options.emit == Emit::Exe &&
      std::ranges::any_of(options.targets, isOther))
    return Status::error("expects targets of one kind of processor for an "
                         "executable, got " +
                         joined(options.targets));
  return Status::success();
}

const char *nibble::runnerName(const Options &options) {
  // For a GPU alone, of this machine.
  if (options.targets.empty() || isX86(options.targets.front()) == hostIsX86)
    return "nibble-runner";
  return hostIsX86 ? "nibble-runner-aarch64" : "nibble-runner-x86_64";
}
