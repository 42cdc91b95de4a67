//===- BundleModel.cpp - Logits of a bundle -------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Runs through the C interface, as a program that embeds Nibble would. Only the
// parts of the ports come from the index: the interface has no call for them.
//
//===----------------------------------------------------------------------===//

#include "LogitsModel.h"

#include "nibble-c/runtime.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::eval;

namespace {

struct CloseBundle {
  void operator()(nibble_bundle *bundle) { nibble_bundle_close(bundle); }
};
struct DestroySession {
  void operator()(nibble_session *session) { nibble_session_destroy(session); }
};
using BundlePointer = std::unique_ptr<nibble_bundle, CloseBundle>;
using SessionPointer = std::unique_ptr<nibble_session, DestroySession>;

class BundleModel : public LogitsModel {
public:
  BundleModel(EntryPoint entry, GenerationInfo roles, Bounds bounds,
              BundlePointer bundle, SessionPointer session)
      : LogitsModel(std::move(entry), std::move(roles), std::move(bounds)),
        bundle(std::move(bundle)), session(std::move(session)) {}

private:
  std::optional<Tensor> run(const NamedTensors &inputs) override {
    for (const auto &[name, tensor] : inputs)
      if (nibble_session_set_input(session.get(), name.c_str(),
                                   tensor.bytes().data(), tensor.shape().data(),
                                   tensor.shape().size()) != NIBBLE_OK)
        return failed();
    nibble_tensor output;
    if (nibble_session_run(session.get()) != NIBBLE_OK ||
        nibble_session_output(session.get(),
                              entry.outputs[roles.logits].name.c_str(),
                              &output) != NIBBLE_OK)
      return failed();
    return Tensor::borrow(
        entry.outputs[roles.logits].type,
        {output.shape, output.shape + output.rank},
        {static_cast<const std::byte *>(output.data), output.bytes}, nullptr);
  }

  std::optional<Tensor> failed() {
    printError(nibble_error_text());
    return std::nullopt;
  }

  BundlePointer bundle;
  SessionPointer session; // ends before the bundle does
};

} // namespace

std::unique_ptr<LogitsModel> eval::openBundle(const std::string &path,
                                              const ModelOptions &options) {
  Expected<std::shared_ptr<const Bundle>> opened = Bundle::open(path);
  if (!opened) {
    printError(opened.status().message());
    return nullptr;
  }
  const BundleIndex &index = (*opened)->index();
  if (!index.generation) {
    printError("'" + path +
               "' has no input of tokens and output of logits "
               "that perplexity could be measured with");
    return nullptr;
  }
  const EntryPoint &entry = *std::find_if(
      index.entries.begin(), index.entries.end(),
      [&](const EntryPoint &e) { return e.name == index.generation->entry; });
  Bounds bounds;
  for (const DimSymbol &dim : index.dims)
    bounds[dim.name] = {dim.min, dim.max};

  nibble_bundle *bundle = nullptr;
  nibble_session *session = nullptr;
  nibble_session_options sessionOptions = {};
  sessionOptions.entry = entry.name.c_str();
  sessionOptions.threads = options.threads;
  nibble_status status = nibble_bundle_open(path.c_str(), &bundle);
  BundlePointer bundleOwner(bundle);
  if (status == NIBBLE_OK)
    status = nibble_session_create(bundle, &sessionOptions, &session);
  SessionPointer sessionOwner(session);
  if (status != NIBBLE_OK) {
    printError(nibble_error_text());
    return nullptr;
  }
  return std::make_unique<BundleModel>(
      entry, *index.generation, std::move(bounds), std::move(bundleOwner),
      std::move(sessionOwner));
}
