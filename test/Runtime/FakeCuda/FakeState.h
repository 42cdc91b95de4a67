//===- FakeState.h - What the fake driver keeps -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_RUNTIME_FAKECUDA_FAKESTATE_H
#define NIBBLE_TEST_RUNTIME_FAKECUDA_FAKESTATE_H

#include "FakeCuda.h"
#include "Kernels.h"

#include <cstdlib>
#include <functional>
#include <map>
#include <memory>

namespace nibble::test {

using Result = int;
constexpr Result success = 0, invalidValue = 1, outOfMemory = 2,
                 notInitialized = 3, invalidDevice = 101, invalidImage = 200,
                 invalidContext = 201, invalidPtx = 218, invalidHandle = 400,
                 notFound = 500;

/// Set in addresses of the device: no address of the host has it.
constexpr uintptr_t deviceBit = uintptr_t{1} << 62;
constexpr size_t alignment = 256;

struct Free {
  void operator()(std::byte *pointer) const { std::free(pointer); }
};
struct Block {
  std::unique_ptr<std::byte, Free> bytes;
  size_t size = 0;
};

using Work = std::function<void()>;
struct Stream {
  std::vector<Work> queue;
  bool isCapturing = false;
};
struct Event {
  uintptr_t stream = 0; ///< whose work it waits for
};
struct Module {
  std::map<std::string, uintptr_t> functions;
};
struct Function {
  const FakeKernel *kernel = nullptr;
  int dynamicBytes = 48 * 1024;
};
using Graph = std::vector<Work>;

struct Everything {
  FakeCuda control;
  bool isInitialized = false, isLost = false;
  bool hasNoContext = false; ///< the last cuCtxPushCurrent was made to fail
  int contexts = 0;          ///< references to the primary context
  std::vector<uintptr_t> current;
  std::map<uintptr_t, Block> device, host; ///< by address
  uintptr_t lastHandle = 0x1000;
  std::map<uintptr_t, Stream> streams;
  std::map<uintptr_t, Event> events;
  std::map<uintptr_t, Module> modules;
  std::map<uintptr_t, Function> functions;
  std::map<uintptr_t, Graph> graphs, execs;
};

/// Of this process.
Everything &all();

constexpr uintptr_t contextHandle = 0xc0;

inline void complain(const std::string &text) {
  all().control.misuse.push_back(text);
}

inline Result bad(const char *function, const std::string &what,
                  Result result = invalidHandle) {
  complain(std::string(function) + ": " + what);
  return result;
}

/// Counts a call; what it gives unless it is `success`. Calls that give
/// something back do so all the same.
inline Result enter(const char *function) {
  FakeCuda &control = all().control;
  control.calls.push_back(function);
  bool fails = ++control.callCount == control.failCall;
  all().isLost |= fails && control.staysLost;
  return fails ? control.failResult : success;
}

inline Result needContext(const char *function) {
  Result result = enter(function);
  if (!all().isInitialized)
    return bad(function, "before cuInit", notInitialized);
  if (all().current.empty())
    return bad(function, "without a current context", invalidContext);
  return all().isLost ? all().control.failResult : result;
}

template <typename Map>
uintptr_t addHandle(Map &map, typename Map::mapped_type value) {
  uintptr_t handle = all().lastHandle += 16;
  map.emplace(handle, std::move(value));
  return handle;
}

/// The block that holds [address, address + size), or null.
inline std::byte *find(std::map<uintptr_t, Block> &blocks, uintptr_t address,
                       size_t size) {
  auto next = blocks.upper_bound(address);
  if (next == blocks.begin())
    return nullptr;
  auto &[begin, block] = *std::prev(next);
  size_t offset = address - begin;
  return offset <= block.size && size <= block.size - offset
             ? block.bytes.get() + offset
             : nullptr;
}

/// Removes a handle.
template <typename Map>
Result release(const char *function, Map &map, uintptr_t handle) {
  Result result = all().hasNoContext ? enter(function) : needContext(function);
  if (map.erase(handle) == 0)
    return bad(function, "no such handle");
  return result;
}

/// Puts work on a stream.
Result add(const char *function, uintptr_t stream, Work work);

} // namespace nibble::test

// Streams.cpp.
extern "C" {
using nibble::test::Result;
Result cuStreamCreate(uintptr_t *stream, unsigned);
Result cuStreamDestroy(uintptr_t stream);
Result cuStreamSynchronize(uintptr_t handle);
Result cuStreamBeginCapture(uintptr_t handle, int);
Result cuStreamEndCapture(uintptr_t handle, uintptr_t *graph);
Result cuEventCreate(uintptr_t *event, unsigned);
Result cuEventDestroy(uintptr_t event);
Result cuEventRecord(uintptr_t handle, uintptr_t stream);
Result cuEventSynchronize(uintptr_t handle);
Result cuEventElapsedTime(float *milliseconds, uintptr_t first,
                          uintptr_t second);
Result cuLaunchKernel(uintptr_t handle, unsigned gridX, unsigned gridY,
                      unsigned gridZ, unsigned blockX, unsigned blockY,
                      unsigned blockZ, unsigned sharedBytes, uintptr_t stream,
                      void **parameters, void **extra);
Result cuGraphInstantiateWithFlags(uintptr_t *exec, uintptr_t graph,
                                   unsigned long long);
Result cuGraphLaunch(uintptr_t exec, uintptr_t stream);
Result cuGraphExecDestroy(uintptr_t exec);
Result cuGraphDestroy(uintptr_t graph);
}

#endif // NIBBLE_TEST_RUNTIME_FAKECUDA_FAKESTATE_H
