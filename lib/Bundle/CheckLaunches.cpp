//===- CheckLaunches.cpp - What CUDA kernels launch -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rule R16 of docs/BundleFormat.md. Whatever the sizes of a run are, one launch
// of each step is taken in each image, and its grid and workspace are within
// limits: those are checked for the steps there are, at the dimensions' bounds.
//
//===----------------------------------------------------------------------===//

#include "Checks.h"

#include <algorithm>

namespace nibble::bundle {
namespace {

using Bounds = std::map<std::string, DimExpr::Bound>;

/// What a GPU passes to a function: buffers, scalars and the workspace.
Status checkParameters(const CudaKernel &kernel) {
  uint64_t count = uint64_t{kernel.bufferCount} + kernel.scalarCount + 1;
  if (count > maxParameters)
    return Status::error("takes " + std::to_string(kernel.bufferCount) +
                         " buffers and " + std::to_string(kernel.scalarCount) +
                         " scalars, expected at most " +
                         std::to_string(maxParameters - 1) + " together");
  return Status::success();
}

bool isScalar(const std::string &name, const CudaKernel &kernel) {
  for (size_t i = 0; i < kernel.scalarCount; ++i)
    if (name == scalarName(i))
      return true;
  return false;
}

/// Calls with blocks that some GPU can run, and expressions over the scalars.
Status checkCalls(const CudaKernel &kernel, const CudaLaunch &launch) {
  if (launch.calls.empty())
    return Status::error("calls no function");
  std::vector<const DimExpr *> used;
  if (launch.upTo)
    used.push_back(&launch.over);
  if (launch.workspace)
    used.push_back(&*launch.workspace);
  for (const CudaCall &call : launch.calls) {
    if (Status status = checkName(call.function, "a function"); !status.isOk())
      return status;
    uint64_t threads = 1;
    for (size_t i = 0; i < 3; ++i) {
      if (call.block[i] == 0 || call.block[i] > maxBlock[i])
        return Status::error("function " + quoted(call.function) +
                             " has blocks of " + std::to_string(call.block[i]) +
                             " threads in dimension " + std::to_string(i) +
                             ", expected 1 to " + std::to_string(maxBlock[i]));
      threads *= call.block[i];
      used.push_back(&call.grid[i]);
    }
    if (threads > maxBlockThreads)
      return Status::error("function " + quoted(call.function) +
                           " has blocks of " + std::to_string(threads) +
                           " threads, expected at most " +
                           std::to_string(maxBlockThreads));
    if (call.sharedBytes > maxSharedBytes)
      return Status::error("function " + quoted(call.function) + " uses " +
                           std::to_string(call.sharedBytes) +
                           " bytes of shared memory, expected at most " +
                           std::to_string(maxSharedBytes));
  }
  for (const DimExpr *expression : used)
    for (const std::string &name : expression->symbols())
      if (!isScalar(name, kernel))
        return Status::error("uses " + quoted(name) +
                             ", expected a scalar of the kernel, of which 'd0' "
                             "is the first of " +
                             std::to_string(kernel.scalarCount));
  return Status::success();
}

/// One launch fits at any size: limits rise, and the last has none.
Status checkChoice(const CudaKernel &kernel, const std::string &target) {
  std::vector<const CudaLaunch *> launches = launchesOf(kernel, target);
  if (launches.empty() || launches.back()->upTo)
    return Status::error("expected a last launch for " + quoted(target) +
                         " that is always taken");
  for (size_t i = 0; i + 1 < launches.size(); ++i)
    if (!launches[i]->upTo ||
        (i != 0 && launches[i]->over == launches[i - 1]->over &&
         *launches[i]->upTo <= *launches[i - 1]->upTo))
      return Status::error("launch " + std::to_string(i) + " for " +
                           quoted(target) + " hides the next");
  return Status::success();
}

/// Checks the grids of a launch over `bounds`; gives its largest workspace.
Expected<int64_t> checkSizes(const CudaLaunch &launch, const Bounds &bounds) {
  for (const CudaCall &call : launch.calls)
    for (size_t i = 0; i < 3; ++i) {
      Expected<DimExpr::Bound> size = call.grid[i].bound(bounds);
      if (!size)
        return size.status().withContext("grid of " + quoted(call.function));
      if (size->max > maxGrid[i])
        return Status::error(
            "function " + quoted(call.function) + " has a grid of up to " +
            std::to_string(size->max) + " blocks in dimension " +
            std::to_string(i) + ", expected at most " +
            std::to_string(maxGrid[i]));
    }
  if (launch.upTo)
    if (Expected<DimExpr::Bound> value = launch.over.bound(bounds); !value)
      return value.status();
  if (!launch.workspace)
    return int64_t{0};
  Expected<DimExpr::Bound> bytes = launch.workspace->bound(bounds);
  if (!bytes)
    return bytes.status().withContext("workspace");
  return std::max<int64_t>(bytes->max, 0);
}

/// The same of all launches that a step can take, each at the sizes at which it
/// does.
Expected<int64_t> checkStep(const CudaKernel &kernel, const std::string &target,
                            const Bounds &bounds) {
  Bounds rest = bounds;
  int64_t workspace = 0;
  bool isComplete = false; // no launch behind this one is ever taken
  for (const CudaLaunch *launch : launchesOf(kernel, target)) {
    std::optional<std::string> over =
        launch->upTo ? launch->over.asSymbol() : std::nullopt;
    Bounds own = rest;
    if (over) {
      DimExpr::Bound &scalar = own[*over];
      if (scalar.min > *launch->upTo)
        continue; // never taken
      isComplete = scalar.max <= *launch->upTo;
      scalar.max = std::min(scalar.max, *launch->upTo);
      if (!isComplete)
        rest[*over].min = std::max(scalar.min, *launch->upTo + 1);
    }
    Expected<int64_t> bytes = checkSizes(*launch, own);
    if (!bytes)
      return bytes;
    workspace = std::max(workspace, *bytes);
    if (isComplete)
      break;
  }
  return workspace;
}

/// checkStep for every kind of step there is: equal layers are many.
Expected<int64_t> checkSteps(const CudaSection &cuda, const Bounds &dims,
                             const std::string &target) {
  using Range = std::pair<int64_t, int64_t>;
  std::set<std::pair<uint32_t, std::vector<Range>>> seen;
  int64_t workspace = 0;
  for (const Program &program : cuda.programs)
    for (const Step &step : program.steps) {
      Bounds bounds;
      std::vector<Range> ranges;
      for (size_t i = 0; i < step.scalars.size(); ++i) {
        Expected<DimExpr::Bound> bound = step.scalars[i].bound(dims);
        if (!bound)
          return bound.status();
        bounds[scalarName(i)] = *bound;
        ranges.push_back({bound->min, bound->max});
      }
      if (!seen.insert({step.kernel, ranges}).second)
        continue;
      const CudaKernel &kernel = cuda.kernels[step.kernel];
      Expected<int64_t> bytes = checkStep(kernel, target, bounds);
      if (!bytes)
        return bytes.status().withContext("CUDA kernel " + quoted(kernel.name));
      workspace = std::max(workspace, *bytes);
    }
  return workspace;
}

} // namespace

std::optional<CudaArchitecture> architectureOf(const CudaImage &image) {
  std::string_view text = image.target;
  if (text.starts_with("sm_"))
    text.remove_prefix(3);
  else if (image.isPtx && text.starts_with("compute_"))
    text.remove_prefix(8);
  else
    return std::nullopt;
  CudaArchitecture found;
  if (text.ends_with('a') || text.ends_with('f')) {
    found.letter = text.back();
    text.remove_suffix(1);
  }
  if (text.size() < 2 || text.size() > 4)
    return std::nullopt;
  for (char digit : text) {
    if (digit < '0' || digit > '9')
      return std::nullopt;
    found.capability =
        found.capability * 10 + static_cast<unsigned>(digit - '0');
  }
  return found;
}

std::string scalarName(size_t number) { return "d" + std::to_string(number); }

std::vector<const CudaLaunch *> launchesOf(const CudaKernel &kernel,
                                           const std::string &target) {
  std::vector<const CudaLaunch *> launches;
  for (const CudaLaunch &launch : kernel.launches)
    if (launch.target.empty() || launch.target == target)
      launches.push_back(&launch);
  return launches;
}

Status checkLaunches(const CudaSection &cuda,
                     const std::vector<DimSymbol> &dims) {
  std::set<std::string> targets;
  for (const CudaImage &image : cuda.images)
    targets.insert(image.target);
  for (const CudaKernel &kernel : cuda.kernels) {
    std::string what = "CUDA kernel " + quoted(kernel.name);
    if (Status status = checkParameters(kernel); !status.isOk())
      return status.withContext(what);
    for (const CudaLaunch &launch : kernel.launches) {
      if (!launch.target.empty() && !targets.contains(launch.target))
        return Status::error(what + ": a launch is for " +
                             quoted(launch.target) +
                             ", of which there is no image");
      if (Status status = checkCalls(kernel, launch); !status.isOk())
        return status.withContext(
            what + ", launch " +
            std::to_string(&launch - kernel.launches.data()));
    }
    for (const std::string &target : targets)
      if (Status status = checkChoice(kernel, target); !status.isOk())
        return status.withContext(what);
  }
  for (const std::string &target : targets)
    if (Expected<uint64_t> workspace = maxWorkspaceBytes(cuda, dims, target);
        !workspace)
      return workspace.status();
  return Status::success();
}

Expected<uint64_t> maxWorkspaceBytes(const CudaSection &cuda,
                                     const std::vector<DimSymbol> &dims,
                                     const std::string &target) {
  Expected<int64_t> bytes = checkSteps(cuda, boundsOf(dims), target);
  if (!bytes)
    return bytes.status();
  return static_cast<uint64_t>(*bytes);
}

} // namespace nibble::bundle
