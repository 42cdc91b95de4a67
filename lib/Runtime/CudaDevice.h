//===- CudaDevice.h - What sessions on a GPU share --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_RUNTIME_CUDADEVICE_H
#define NIBBLE_LIB_RUNTIME_CUDADEVICE_H

#include "CudaModel.h"
#include "SessionState.h"

namespace nibble::session {

/// A stream, and the memory that the runs on it share.
struct CudaDevice : Device {
  CudaDevice(std::shared_ptr<const cuda::Model> loaded,
             std::shared_ptr<const Bundle> bundle)
      : Device(std::move(bundle)), model(std::move(loaded)),
        context(model->context()), driver(context->driver()) {
    name = context->info().name;
    target = model->image().target;
  }
  Status reserve();

  const Program &program(size_t entry) const override {
    return bundle->index().cuda->programs[entry];
  }
  Expected<std::shared_ptr<const StateMemory>> makeStates() const override;
  std::unique_ptr<State> makeState(std::shared_ptr<Device> self,
                                   std::shared_ptr<const StateMemory> states,
                                   size_t entry) const override;
  const std::byte *weight(uint32_t number) const override {
    return model->weight(number);
  }

  std::shared_ptr<const cuda::Model> model;
  std::shared_ptr<cuda::Context> context;
  const cuda::Driver &driver;
  cuda::Stream stream;
  cuda::DeviceMemory arenaMemory, emptyMemory, workspace;
};

} // namespace nibble::session

#endif // NIBBLE_LIB_RUNTIME_CUDADEVICE_H
