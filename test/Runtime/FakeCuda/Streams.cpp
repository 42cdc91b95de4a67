//===- Streams.cpp - Streams, events, launches and graphs of the fake -----===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FakeState.h"

#include <algorithm>
#include <cstring>

using namespace nibble::test;

Result nibble::test::add(const char *function, uintptr_t handle, Work work) {
  auto stream = all().streams.find(handle);
  if (stream == all().streams.end())
    return bad(function, "no such stream");
  stream->second.queue.push_back(std::move(work));
  return success;
}

namespace {

void drain(Stream &stream) {
  std::vector<Work> queue = std::move(stream.queue);
  stream.queue.clear();
  for (const Work &work : queue)
    work();
}

void launch(const Function &function, std::vector<int64_t> values,
            int64_t blocks) {
  const FakeKernel &kernel = *function.kernel;
  std::vector<void *> buffers;
  auto addBuffer = [&](int64_t value) {
    auto address = static_cast<uintptr_t>(value);
    std::byte *memory = find(all().device, address, 0);
    if (!memory || address % alignment != 0)
      complain(std::string(kernel.name) + ": no memory of the device, or not "
                                          "on a multiple of 256");
    buffers.push_back(memory);
  };
  for (uint32_t i = 0; i < kernel.buffers; ++i)
    addBuffer(values[i]);
  if (kernel.hasWorkspace)
    addBuffer(values[kernel.buffers + kernel.scalars]);
  if (std::ranges::count(buffers, nullptr) == 0)
    kernel.run(buffers.data(), values.data() + kernel.buffers, 0, blocks);
}

} // namespace

extern "C" {

Result cuStreamCreate(uintptr_t *stream, unsigned) {
  if (Result result = needContext("cuStreamCreate"))
    return result;
  *stream = addHandle(all().streams, Stream());
  return success;
}

Result cuStreamDestroy(uintptr_t stream) {
  if (auto found = all().streams.find(stream);
      found != all().streams.end() && !found->second.queue.empty())
    complain("cuStreamDestroy: with work that nobody has waited for");
  return release("cuStreamDestroy", all().streams, stream);
}

Result cuStreamSynchronize(uintptr_t handle) {
  // An error is that of the work, which is over as well.
  Result result = needContext("cuStreamSynchronize");
  auto stream = all().streams.find(handle);
  if (stream == all().streams.end() || stream->second.isCapturing)
    return bad("cuStreamSynchronize", "no such stream, or it is capturing");
  drain(stream->second);
  return result;
}

Result cuStreamBeginCapture(uintptr_t handle, int) {
  if (Result result = needContext("cuStreamBeginCapture"))
    return result;
  auto stream = all().streams.find(handle);
  if (stream == all().streams.end() || stream->second.isCapturing)
    return bad("cuStreamBeginCapture", "no such stream, or it is capturing");
  drain(stream->second);
  stream->second.isCapturing = true;
  return success;
}

Result cuStreamEndCapture(uintptr_t handle, uintptr_t *graph) {
  Result result = needContext("cuStreamEndCapture");
  auto stream = all().streams.find(handle);
  if (stream == all().streams.end() || !stream->second.isCapturing)
    return bad("cuStreamEndCapture", "no such stream, or not capturing");
  stream->second.isCapturing = false;
  Graph captured = std::move(stream->second.queue);
  stream->second.queue.clear();
  *graph = 0;
  if (result)
    return result;
  *graph = addHandle(all().graphs, std::move(captured));
  return success;
}

Result cuEventCreate(uintptr_t *event, unsigned) {
  if (Result result = needContext("cuEventCreate"))
    return result;
  *event = addHandle(all().events, Event());
  return success;
}

Result cuEventDestroy(uintptr_t event) {
  return release("cuEventDestroy", all().events, event);
}

Result cuEventRecord(uintptr_t handle, uintptr_t stream) {
  if (Result result = needContext("cuEventRecord"))
    return result;
  auto event = all().events.find(handle);
  if (event == all().events.end() || !all().streams.contains(stream))
    return bad("cuEventRecord", "no such event or stream");
  event->second.stream = stream;
  return success;
}

Result cuEventSynchronize(uintptr_t handle) {
  if (Result result = needContext("cuEventSynchronize"))
    return result;
  auto event = all().events.find(handle);
  if (event == all().events.end())
    return bad("cuEventSynchronize", "no such event");
  if (auto stream = all().streams.find(event->second.stream);
      stream != all().streams.end())
    drain(stream->second);
  return success;
}

/// A millisecond, whatever was between them.
Result cuEventElapsedTime(float *milliseconds, uintptr_t first,
                          uintptr_t second) {
  if (Result result = needContext("cuEventElapsedTime"))
    return result;
  if (!all().events.contains(first) || !all().events.contains(second))
    return bad("cuEventElapsedTime", "no such event");
  *milliseconds = 1;
  return success;
}

Result cuLaunchKernel(uintptr_t handle, unsigned gridX, unsigned gridY,
                      unsigned gridZ, unsigned blockX, unsigned blockY,
                      unsigned blockZ, unsigned sharedBytes, uintptr_t stream,
                      void **parameters, void **extra) {
  if (Result result = needContext("cuLaunchKernel"))
    return result;
  auto found = all().functions.find(handle);
  if (found == all().functions.end())
    return bad("cuLaunchKernel", "no such function");
  const Function &function = found->second;
  uint64_t threads = uint64_t{blockX} * blockY * blockZ;
  if (gridX == 0 || gridY == 0 || gridZ == 0 || gridY > 65535 ||
      gridZ > 65535 || threads == 0 || threads > 1024 || extra ||
      static_cast<int>(sharedBytes) > function.dynamicBytes)
    return bad("cuLaunchKernel", "sizes", invalidValue);
  // Values are taken now, whatever becomes of them until the launch.
  const FakeKernel &kernel = *function.kernel;
  std::vector<int64_t> values(kernel.buffers + kernel.scalars +
                              kernel.hasWorkspace);
  for (size_t i = 0; i < values.size(); ++i)
    std::memcpy(&values[i], parameters[i], sizeof values[i]);
  return add("cuLaunchKernel", stream,
             [=] { launch(function, values, gridX); });
}

Result cuGraphInstantiateWithFlags(uintptr_t *exec, uintptr_t graph,
                                   unsigned long long) {
  if (Result result = needContext("cuGraphInstantiateWithFlags"))
    return result;
  auto found = all().graphs.find(graph);
  if (found == all().graphs.end())
    return bad("cuGraphInstantiateWithFlags", "no such graph");
  *exec = addHandle(all().execs, found->second);
  return success;
}

Result cuGraphLaunch(uintptr_t exec, uintptr_t stream) {
  if (Result result = needContext("cuGraphLaunch"))
    return result;
  auto found = all().execs.find(exec);
  if (found == all().execs.end())
    return bad("cuGraphLaunch", "no such graph");
  for (const Work &work : found->second)
    if (Result result = add("cuGraphLaunch", stream, work))
      return result;
  return success;
}

Result cuGraphExecDestroy(uintptr_t exec) {
  return release("cuGraphExecDestroy", all().execs, exec);
}

Result cuGraphDestroy(uintptr_t graph) {
  return release("cuGraphDestroy", all().graphs, graph);
}

} // extern "C"
