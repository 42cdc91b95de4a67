//===- CudaDevice.cpp - What sessions on a GPU share ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Scratch memory, workspace and states are as large as the dimensions' bounds
// make them: kernels find everything at planned places, and a device has no
// memory that is only there when it is touched.
//
//===----------------------------------------------------------------------===//

#include "CudaDevice.h"

#include "nibble/Runtime/Variant.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::session;

namespace {

struct CudaStates : StateMemory {
  std::vector<cuda::DeviceMemory> memory;
};

} // namespace

Status CudaDevice::reserve() {
  const BundleIndex &index = bundle->index();
  uint64_t arenaBytes = 0;
  for (const Program &program : index.cuda->programs)
    arenaBytes = std::max(arenaBytes, program.arenaBytes);
  Expected<uint64_t> workspaceBytes =
      bundle::maxWorkspaceBytes(*index.cuda, index.dims, target);
  if (!workspaceBytes)
    return workspaceBytes.status();
  cuda::Context::Current current(*context);
  if (!current.status.isOk())
    return current.status;
  struct Part {
    cuda::DeviceMemory &memory;
    uint64_t bytes;
    const char *what;
  };
  for (const Part &part :
       {Part{arenaMemory, arenaBytes, "scratch memory"},
        Part{workspace, *workspaceBytes, "the kernels' workspace"},
        Part{emptyMemory, bufferAlignment, "empty tensors"}}) {
    auto allocated =
        cuda::DeviceMemory::allocate(context, part.bytes, part.what);
    if (!allocated)
      return allocated.status();
    part.memory = allocated.take();
  }
  arena = arenaMemory.data();
  empty = emptyMemory.data();
  Expected<cuda::Stream> made = cuda::makeStream(context);
  if (!made)
    return made.status();
  stream = made.take();
  return Status::success();
}

Expected<std::shared_ptr<const StateMemory>> CudaDevice::makeStates() const {
  auto states = std::make_shared<CudaStates>();
  cuda::Context::Current current(*context);
  if (!current.status.isOk())
    return current.status;
  for (const StateEntry &state : bundle->index().states) {
    Expected<uint64_t> bytes =
        bundle::maxStateBytes(state, bundle->index().dims);
    if (!bytes)
      return bytes.status();
    auto memory = cuda::DeviceMemory::allocate(context, *bytes,
                                               "state " + quoted(state.name));
    if (!memory)
      return memory.status();
    states->memory.push_back(memory.take());
    states->pointers.push_back(states->memory.back().data());
    states->bytes.push_back(*bytes);
    if (*bytes == 0)
      continue;
    if (Status status = driver.memsetD8(cuda::address(states->pointers.back()),
                                        0, *bytes, stream.get());
        !status.isOk())
      return status;
  }
  if (Status status = driver.streamSynchronize(stream.get()); !status.isOk())
    return status;
  return std::shared_ptr<const StateMemory>(std::move(states));
}

Expected<std::shared_ptr<Device>>
session::makeCudaDevice(std::shared_ptr<const Bundle> bundle, uint32_t number) {
  SessionOptions options;
  options.device = "cuda:" + std::to_string(number);
  if (Status status = checkDevice(*bundle, options); !status.isOk())
    return status;
  Expected<std::shared_ptr<cuda::Context>> context =
      cuda::Context::open(number);
  if (!context)
    return context.status();
  Expected<std::shared_ptr<const cuda::Model>> model =
      cuda::Model::open(bundle, *context);
  if (!model)
    return model.status();
  auto device = std::make_shared<CudaDevice>(model.take(), std::move(bundle));
  if (Status status = device->reserve(); !status.isOk())
    return status;
  return std::shared_ptr<Device>(std::move(device));
}
