//===- Explain.cpp - Which code runs, and why -----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RunTool.h"

#include "nibble/Runtime/Variant.h"

using namespace nibble;
using namespace nibble::tool;

namespace {

std::string explainCpu(const Bundle &bundle, const RunOptions &options) {
  std::string text;
  for (const CodeVariant &variant : bundle.index().variants) {
    VariantScore score = scoreVariant(variant.target);
    text += variant.target + ": " +
            (score.score > 0
                 ? "score " + std::to_string(score.score) + ", this processor "
                 : "not usable, this processor ") +
            score.reason + "\n";
  }
  Expected<uint32_t> chosen = selectVariant(bundle, options.session.variant);
  if (!chosen)
    return text + "used: none; " + chosen.status().message() + "\n";
  return text + "used: " + bundle.index().variants[*chosen].target +
         (options.session.variant.empty() ? ", the highest score\n"
                                          : ", as --cpu says\n");
}

std::string explainGpu(const Bundle &bundle, const RunOptions &options,
                       uint32_t gpu) {
  std::string text;
  VariantScore best;
  if (auto scores = scoreImages(bundle, gpu))
    for (const VariantScore &score : *scores) {
      text += score.target + ": " +
              (score.score > 0 ? "score " + std::to_string(score.score)
                               : std::string("not usable")) +
              ", " + score.reason + "\n";
      if (score.score > best.score)
        best = score;
    }
  if (Status status = checkDevice(bundle, options.session); !status.isOk())
    return text + "used: none; " + status.message() + "\n";
  return text + "used: " + best.target + ", the highest score\n";
}

} // namespace

std::string tool::explain(const Bundle &bundle, const RunOptions &options) {
  Expected<std::optional<uint32_t>> gpu =
      findGpu(bundle, options.session.device);
  if (!gpu)
    return "used: none; " + gpu.status().message() + "\n";
  std::string text =
      *gpu ? explainGpu(bundle, options, **gpu) : explainCpu(bundle, options);
  // Where there is a choice, who has made it.
  if (!bundle.index().cuda)
    return text;
  return text + "device: " +
         (options.session.device.empty()
              ? defaultDevice(bundle) + ", the default"
              : options.session.device + ", as --device says") +
         (*gpu ? "\n" : "; the bundle has code for GPUs (--device=cuda:0)\n");
}
