//===- CudaImages.cpp - Which code a GPU can run --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Code for one architecture runs on later ones of the same major number; with a
// letter, on its own architecture (a) or on later ones of its family (f) only.
// PTX runs on all later ones, after the driver has compiled it.
//
//===----------------------------------------------------------------------===//

#include "CudaImages.h"

#include "nibble/Bundle/Format.h"
#include "nibble/Runtime/Variant.h"
#include "nibble/Target/CudaTarget.h"

#include <algorithm>
#include <charconv>

using namespace nibble;
using namespace nibble::cuda;

namespace {

/// How well a GPU of this compute capability runs an image; 0: not at all.
int scoreImage(const CudaImage &image, unsigned capability) {
  // Bundle::open has checked the form of the target.
  auto [number, letter] = *bundle::architectureOf(image);
  CudaTarget target;
  target.capability = number;
  target.isArchSpecific = letter == 'a';
  bool isForFamily = letter == 'f' || !image.isPtx;
  if (!target.runsOn(capability / 10, capability % 10,
                     /*isPtx=*/!isForFamily))
    return 0;
  constexpr int ofCode = 100000; // behind it comes any PTX
  int score = static_cast<int>(number) * 4 + (letter == 'a'   ? 3
                                              : letter == 'f' ? 2
                                                              : 1);
  return image.isPtx ? score : score + ofCode;
}

std::string capabilityText(const DeviceInfo &device) {
  return "compute capability " + std::to_string(device.capability / 10) + "." +
         std::to_string(device.capability % 10);
}

} // namespace

std::string cuda::imageText(const CudaImage &image) {
  return image.isPtx ? "PTX for " + image.target : image.target;
}

Expected<std::vector<uint32_t>> cuda::usableImages(const Bundle &bundle,
                                                   const DeviceInfo &device) {
  const std::vector<CudaImage> &images = bundle.index().cuda->images;
  std::vector<uint32_t> usable;
  std::string names;
  for (uint32_t i = 0; i < images.size(); ++i) {
    names += (i ? ", " : "") + imageText(images[i]);
    if (scoreImage(images[i], device.capability) > 0)
      usable.push_back(i);
  }
  std::ranges::stable_sort(usable, std::greater<>(), [&](uint32_t i) {
    return scoreImage(images[i], device.capability);
  });
  if (usable.empty())
    return Status::error("expected code for " + device.description() + " of " +
                         capabilityText(device) + ", the bundle has: " + names +
                         "; compile it with --target=sm_" +
                         std::to_string(device.capability));
  return usable;
}

std::string nibble::defaultDevice(const Bundle &bundle) {
  const BundleIndex &index = bundle.index();
  return index.variants.empty() && index.cuda ? "cuda:0" : "cpu";
}

Expected<std::optional<uint32_t>> nibble::findGpu(const Bundle &bundle,
                                                  const std::string &device) {
  std::string name = device.empty() ? defaultDevice(bundle) : device;
  if (name == "cpu")
    return std::optional<uint32_t>();
  constexpr std::string_view prefix = "cuda:";
  uint32_t number = 0;
  const char *end = name.data() + name.size();
  if (name.size() > prefix.size() && name.starts_with(prefix)) {
    auto [last, error] =
        std::from_chars(name.data() + prefix.size(), end, number);
    if (error == std::errc() && last == end)
      return std::optional(number);
  }
  return Status::error("expected the device 'cpu' or one such as 'cuda:0', "
                       "got '" +
                       name + "'");
}

/// The GPU for a bundle with code for GPUs.
static Expected<DeviceInfo> findGpuOf(const Bundle &bundle, uint32_t gpu) {
  if (!bundle.index().cuda)
    return Status::error("the bundle has no code for GPUs; compile it with a "
                         "target such as --target=sm_90a, or use --device=cpu");
  Expected<std::shared_ptr<const Driver>> driver = Driver::load();
  if (!driver)
    return driver.status();
  return findDevice(**driver, gpu);
}

Expected<std::vector<VariantScore>> nibble::scoreImages(const Bundle &bundle,
                                                        uint32_t gpu) {
  Expected<DeviceInfo> device = findGpuOf(bundle, gpu);
  if (!device)
    return device.status();
  std::vector<VariantScore> scores;
  for (const CudaImage &image : bundle.index().cuda->images)
    scores.push_back(
        {imageText(image), scoreImage(image, device->capability),
         device->description() + " has " + capabilityText(*device)});
  return scores;
}

Status nibble::checkDevice(const Bundle &bundle,
                           const SessionOptions &options) {
  Expected<std::optional<uint32_t>> gpu = findGpu(bundle, options.device);
  if (!gpu)
    return gpu.status();
  if (!*gpu)
    return selectVariant(bundle, options.variant).status();
  Expected<DeviceInfo> device = findGpuOf(bundle, **gpu);
  if (!device)
    return device.status();
  return usableImages(bundle, *device).status();
}
