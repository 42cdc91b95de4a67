//===- CApi.cpp - The C interface of the runtime ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Implements include/nibble-c/runtime.h. Nothing is thrown across it: the only
// exceptions that the code below can meet are those of the standard library,
// and `guarded` turns them into a status.
//
//===----------------------------------------------------------------------===//

#define NIBBLE_BUILDING_RUNTIME
#include "nibble-c/runtime.h"

#include "nibble/Runtime/Generator.h"
#include "nibble/Runtime/Variant.h"

#include <new>

using namespace nibble;

namespace {

thread_local std::string errorText;
/// Set instead of `errorText` when there is no memory for a text.
thread_local const char *fixedErrorText = nullptr;

nibble_status fail(nibble_status status, std::string text) {
  fixedErrorText = nullptr;
  errorText = std::move(text);
  return status;
}

nibble_status fail(nibble_status kind, const Status &status) {
  return fail(kind, status.message());
}

template <typename Body> nibble_status guarded(Body &&body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    fixedErrorText = "out of memory";
  } catch (...) {
    fixedErrorText = "an unexpected failure in the standard library";
  }
  return NIBBLE_ERROR_RESOURCE;
}

nibble_status nullArgument(const char *name) {
  return fail(NIBBLE_ERROR_USAGE,
              std::string("expected '") + name + "', got a null pointer");
}

nibble_element_type elementType(ElementType type) {
  switch (type.kind) {
  case ElementType::Kind::Float:
    return type.bits == 16   ? NIBBLE_FLOAT16
           : type.bits == 64 ? NIBBLE_FLOAT64
                             : NIBBLE_FLOAT32;
  case ElementType::Kind::BFloat:
    return NIBBLE_BFLOAT16;
  case ElementType::Kind::Bool:
    return NIBBLE_BOOL;
  case ElementType::Kind::Signed:
    return type.bits == 2    ? NIBBLE_INT2
           : type.bits == 4  ? NIBBLE_INT4
           : type.bits == 8  ? NIBBLE_INT8
           : type.bits == 16 ? NIBBLE_INT16
           : type.bits == 32 ? NIBBLE_INT32
                             : NIBBLE_INT64;
  case ElementType::Kind::Unsigned:
    return type.bits == 2    ? NIBBLE_UINT2
           : type.bits == 4  ? NIBBLE_UINT4
           : type.bits == 8  ? NIBBLE_UINT8
           : type.bits == 16 ? NIBBLE_UINT16
           : type.bits == 32 ? NIBBLE_UINT32
                             : NIBBLE_UINT64;
  case ElementType::Kind::Float8E4M3FN:
    return NIBBLE_FLOAT8_E4M3FN;
  case ElementType::Kind::Float8E5M2:
    return NIBBLE_FLOAT8_E5M2;
  case ElementType::Kind::Float8E4M3FNUZ:
    return NIBBLE_FLOAT8_E4M3FNUZ;
  case ElementType::Kind::Float8E5M2FNUZ:
    return NIBBLE_FLOAT8_E5M2FNUZ;
  case ElementType::Kind::Float8E8M0FNU:
    return NIBBLE_FLOAT8_E8M0FNU;
  case ElementType::Kind::Float4E2M1FN:
    return NIBBLE_FLOAT4_E2M1FN;
  }
  return NIBBLE_FLOAT32;
}

/// The dimensions of each port as text.
using PortTexts = std::vector<std::vector<std::string>>;

PortTexts spell(const std::vector<Port> &ports) {
  PortTexts texts(ports.size());
  for (size_t i = 0; i < ports.size(); ++i)
    for (const DimExpr &dim : ports[i].shape)
      texts[i].push_back(dim.str());
  return texts;
}

struct EntryTexts {
  PortTexts inputs, outputs;
};

} // namespace

struct nibble_bundle {
  std::shared_ptr<const Bundle> bundle;
  /// By entry point. Here and not in the session, because names live as long as
  /// the bundle.
  std::map<std::string, EntryTexts> texts;
  std::map<std::string, DimExpr::Bound> bounds;
};

struct nibble_session {
  const nibble_bundle *bundle = nullptr;
  std::unique_ptr<Session> session;
  std::optional<Generator> generator;
};

struct nibble_decoder {
  LanguageModel model;
  std::vector<std::span<const int32_t>> added; ///< by sequence
  bool hasLogits = false;
};

namespace {

/// The inputs or the outputs of a session's entry point.
struct PortList {
  const char *what;
  const std::vector<Port> &ports;
  const PortTexts &texts;
};

PortList inputsOf(const nibble_session &session) {
  const EntryPoint &entry = session.session->entry();
  return {"input", entry.inputs, session.bundle->texts.at(entry.name).inputs};
}

PortList outputsOf(const nibble_session &session) {
  const EntryPoint &entry = session.session->entry();
  return {"output", entry.outputs,
          session.bundle->texts.at(entry.name).outputs};
}

/// nibble_session_input_port and nibble_session_output_port.
nibble_status describePort(const nibble_session *session,
                           PortList (*listOf)(const nibble_session &),
                           size_t index, nibble_port *port) {
  return guarded([&]() -> nibble_status {
    if (!session)
      return nullArgument("session");
    if (!port)
      return nullArgument("port");
    PortList list = listOf(*session);
    if (index >= list.ports.size())
      return fail(NIBBLE_ERROR_USAGE,
                  std::string("expected the number of an ") + list.what +
                      " below " + std::to_string(list.ports.size()) + ", got " +
                      std::to_string(index));
    const Port &from = list.ports[index];
    nibble_port found = {};
    found.name = from.name.c_str();
    found.type = elementType(from.type);
    found.rank = from.shape.size();
    for (size_t d = 0; d < from.shape.size(); ++d) {
      Expected<DimExpr::Bound> bound =
          from.shape[d].bound(session->bundle->bounds);
      if (!bound)
        return fail(NIBBLE_ERROR_INPUT, bound.status());
      found.dims[d] = list.texts[index][d].c_str();
      found.min[d] = bound->min;
      found.max[d] = bound->max;
    }
    *port = found;
    return NIBBLE_OK;
  });
}

/// The number of the port `name`. Sets the error text if there is none.
std::optional<uint32_t> findPort(const PortList &list, const char *name) {
  std::string names;
  for (uint32_t i = 0; i < list.ports.size(); ++i) {
    if (list.ports[i].name == name)
      return i;
    names += (i ? ", " : "") + list.ports[i].name;
  }
  fail(NIBBLE_ERROR_INPUT, std::string("there is no ") + list.what + " '" +
                               name + "'; the entry point has: " + names);
  return std::nullopt;
}

} // namespace

extern "C" {

const char *nibble_error_text(void) {
  return fixedErrorText ? fixedErrorText : errorText.c_str();
}

const char *nibble_version(void) { return NIBBLE_VERSION; }

nibble_status nibble_bundle_open(const char *path, nibble_bundle **bundle) {
  return guarded([&]() -> nibble_status {
    if (!path)
      return nullArgument("path");
    if (!bundle)
      return nullArgument("bundle");
    *bundle = nullptr;
    Expected<std::shared_ptr<const Bundle>> opened = Bundle::open(path);
    if (!opened)
      return fail(NIBBLE_ERROR_INPUT, opened.status());
    auto handle = std::make_unique<nibble_bundle>();
    handle->bundle = opened.take();
    for (const EntryPoint &entry : handle->bundle->index().entries)
      handle->texts[entry.name] = {spell(entry.inputs), spell(entry.outputs)};
    for (const DimSymbol &dim : handle->bundle->index().dims)
      handle->bounds[dim.name] = {dim.min, dim.max};
    *bundle = handle.release();
    return NIBBLE_OK;
  });
}

void nibble_bundle_close(nibble_bundle *bundle) { delete bundle; }

nibble_status nibble_bundle_verify(const nibble_bundle *bundle) {
  return guarded([&]() -> nibble_status {
    if (!bundle)
      return nullArgument("bundle");
    Status status = bundle->bundle->verifyWeights();
    return status.isOk() ? NIBBLE_OK : fail(NIBBLE_ERROR_INPUT, status);
  });
}

nibble_status nibble_session_create(const nibble_bundle *bundle,
                                    const nibble_session_options *options,
                                    nibble_session **session) {
  return guarded([&]() -> nibble_status {
    if (!bundle)
      return nullArgument("bundle");
    if (!session)
      return nullArgument("session");
    *session = nullptr;
    SessionOptions chosen;
    if (options) {
      chosen.entry = options->entry ? options->entry : "";
      chosen.threads = options->threads;
      chosen.variant = options->variant ? options->variant : "";
      chosen.device = options->device ? options->device : "";
      if (options->core_count != 0 && !options->cores)
        return nullArgument("cores");
      chosen.cores.assign(options->cores, options->cores + options->core_count);
    }
    if (Status status = checkDevice(*bundle->bundle, chosen); !status.isOk())
      return fail(NIBBLE_ERROR_RESOURCE, status);
    Expected<std::unique_ptr<Session>> created =
        Session::create(bundle->bundle, chosen);
    if (!created)
      return fail(NIBBLE_ERROR_INPUT, created.status());
    auto handle = std::make_unique<nibble_session>();
    handle->bundle = bundle;
    handle->session = created.take();
    *session = handle.release();
    return NIBBLE_OK;
  });
}

void nibble_session_destroy(nibble_session *session) { delete session; }

size_t nibble_session_input_count(const nibble_session *session) {
  return session ? session->session->entry().inputs.size() : 0;
}

size_t nibble_session_output_count(const nibble_session *session) {
  return session ? session->session->entry().outputs.size() : 0;
}

nibble_status nibble_session_input_port(const nibble_session *session,
                                        size_t index, nibble_port *port) {
  return describePort(session, inputsOf, index, port);
}

nibble_status nibble_session_output_port(const nibble_session *session,
                                         size_t index, nibble_port *port) {
  return describePort(session, outputsOf, index, port);
}

nibble_status nibble_session_set_input(nibble_session *session,
                                       const char *name, const void *data,
                                       const int64_t *shape, size_t rank) {
  return guarded([&]() -> nibble_status {
    if (!session)
      return nullArgument("session");
    if (!name)
      return nullArgument("name");
    if (!shape && rank != 0)
      return nullArgument("shape");
    std::optional<uint32_t> number = findPort(inputsOf(*session), name);
    if (!number)
      return NIBBLE_ERROR_INPUT;
    Status status = session->session->setInput(*number, data, {shape, rank});
    return status.isOk() ? NIBBLE_OK : fail(NIBBLE_ERROR_INPUT, status);
  });
}

nibble_status nibble_session_run(nibble_session *session) {
  return guarded([&]() -> nibble_status {
    if (!session)
      return nullArgument("session");
    if (std::string name = session->session->missingInput(); !name.empty())
      return fail(NIBBLE_ERROR_USAGE,
                  "input '" + name +
                      "' is not set; call nibble_session_set_input for every "
                      "input before nibble_session_run");
    Status status = session->session->run();
    return status.isOk() ? NIBBLE_OK : fail(NIBBLE_ERROR_INPUT, status);
  });
}

nibble_status nibble_session_output(const nibble_session *session,
                                    const char *name, nibble_tensor *tensor) {
  return guarded([&]() -> nibble_status {
    if (!session)
      return nullArgument("session");
    if (!name)
      return nullArgument("name");
    if (!tensor)
      return nullArgument("tensor");
    if (!session->session->hasRun())
      return fail(NIBBLE_ERROR_USAGE,
                  "expected a successful nibble_session_run before its "
                  "outputs are read");
    std::optional<uint32_t> number = findPort(outputsOf(*session), name);
    if (!number)
      return NIBBLE_ERROR_INPUT;
    Tensor output = session->session->output(*number);
    nibble_tensor view = {};
    view.data = output.bytes().data();
    view.type = elementType(output.type());
    view.rank = output.shape().size();
    std::copy(output.shape().begin(), output.shape().end(), view.shape);
    view.bytes = output.bytes().size();
    *tensor = view;
    return NIBBLE_OK;
  });
}

nibble_status nibble_generate(nibble_session *session, const char *prompt,
                              const nibble_generate_options *options,
                              nibble_text_callback callback, void *context,
                              nibble_generate_result *result) {
  return guarded([&]() -> nibble_status {
    if (!session)
      return nullArgument("session");
    if (!callback)
      return nullArgument("callback");
    if (!session->generator) {
      Expected<Generator> generator = Generator::create(*session->session);
      if (!generator)
        return fail(NIBBLE_ERROR_INPUT, generator.status());
      session->generator = generator.take();
    }
    GenerateOptions chosen;
    if (options) {
      chosen.maxTokens = options->max_tokens;
      chosen.sampling.temperature = options->temperature;
      chosen.sampling.topP = options->top_p;
      chosen.sampling.topK = options->top_k;
      chosen.sampling.seed = options->seed;
      chosen.ignoreEnd = options->ignore_end != 0;
      if (options->stop_count != 0 && !options->stops)
        return nullArgument("stops");
      for (size_t i = 0; i < options->stop_count; ++i)
        chosen.stops.emplace_back(options->stops[i] ? options->stops[i] : "");
    }
    Expected<GenerateResult> generated = session->generator->generate(
        prompt ? prompt : "", chosen, [&](std::string_view text) {
          return callback(text.data(), text.size(), context) == 0;
        });
    if (!generated)
      return fail(NIBBLE_ERROR_INPUT, generated.status());
    if (result) {
      result->prompt_tokens = generated->promptTokens;
      result->generated_tokens = generated->generatedTokens;
      result->prompt_seconds = generated->promptSeconds;
      result->generate_seconds = generated->generateSeconds;
      result->reason = static_cast<nibble_stop_reason>(generated->reason);
    }
    return NIBBLE_OK;
  });
}

nibble_status nibble_decoder_create(nibble_session *session, size_t sequences,
                                    nibble_decoder **decoder) {
  return guarded([&]() -> nibble_status {
    if (!session)
      return nullArgument("session");
    if (!decoder)
      return nullArgument("decoder");
    *decoder = nullptr;
    Expected<LanguageModel> model =
        LanguageModel::create(*session->session, {.sequences = sequences});
    if (!model)
      return fail(NIBBLE_ERROR_INPUT, model.status());
    *decoder = new nibble_decoder{model.take(), {}, false};
    (*decoder)->added.resize(sequences);
    return NIBBLE_OK;
  });
}

void nibble_decoder_destroy(nibble_decoder *decoder) { delete decoder; }

size_t nibble_decoder_capacity(const nibble_decoder *decoder) {
  return decoder ? decoder->model.capacity() : 0;
}

size_t nibble_decoder_vocabulary(const nibble_decoder *decoder) {
  return decoder ? static_cast<size_t>(decoder->model.vocabulary()) : 0;
}

size_t nibble_decoder_length(const nibble_decoder *decoder, size_t sequence) {
  return decoder && sequence < decoder->added.size()
             ? decoder->model.length(sequence)
             : 0;
}

nibble_status nibble_decoder_append(nibble_decoder *decoder,
                                    const int32_t *const *tokens,
                                    const size_t *counts) {
  return guarded([&]() -> nibble_status {
    if (!decoder)
      return nullArgument("decoder");
    if (!tokens)
      return nullArgument("tokens");
    if (!counts)
      return nullArgument("counts");
    decoder->hasLogits = false;
    for (size_t i = 0; i < decoder->added.size(); ++i) {
      if (!tokens[i] && counts[i] != 0)
        return nullArgument("tokens[i]");
      decoder->added[i] = {tokens[i], counts[i]};
    }
    if (Status status = decoder->model.append(decoder->added); !status.isOk())
      return fail(NIBBLE_ERROR_INPUT, status);
    decoder->hasLogits = true;
    return NIBBLE_OK;
  });
}

nibble_status nibble_decoder_logits(const nibble_decoder *decoder,
                                    size_t sequence, const float **logits) {
  return guarded([&]() -> nibble_status {
    if (!decoder)
      return nullArgument("decoder");
    if (!logits)
      return nullArgument("logits");
    if (sequence >= decoder->added.size())
      return fail(NIBBLE_ERROR_USAGE,
                  "expected the number of a sequence below " +
                      std::to_string(decoder->added.size()) + ", got " +
                      std::to_string(sequence));
    if (!decoder->hasLogits || decoder->added[sequence].empty())
      return fail(NIBBLE_ERROR_USAGE,
                  "expected a sequence to which the last "
                  "nibble_decoder_append has added tokens, got " +
                      std::to_string(sequence));
    *logits = decoder->model.logits(sequence).data();
    return NIBBLE_OK;
  });
}

nibble_status nibble_decoder_reset(nibble_decoder *decoder) {
  return guarded([&]() -> nibble_status {
    if (!decoder)
      return nullArgument("decoder");
    decoder->model.reset();
    decoder->hasLogits = false;
    return NIBBLE_OK;
  });
}

} // extern "C"
