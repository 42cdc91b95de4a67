//===- TokenizeTool.cpp - Tokenize many records, for comparison -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   nibble-tokenize MODEL describe|encode|decode|stream IN OUT
//
// MODEL is a SentencePiece model, or a tokenizer.json, which becomes its
// compiled form first.
// Files are records of a 32-bit count and that many items: bytes of a text, or
// 32-bit ids. `stream` writes one record per id and one for the end. `describe`
// writes one record: size, start, end and unknown id.
//
//===----------------------------------------------------------------------===//

#include "nibble/Import/ImportTokenizer.h"
#include "nibble/Tokenizer/Tokenizer.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

using namespace nibble;

static std::string readFile(const char *path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <typename Items>
static void appendRecord(const Items &items, std::string &output) {
  uint32_t count = static_cast<uint32_t>(items.size());
  output.append(reinterpret_cast<const char *>(&count), sizeof(count));
  output.append(reinterpret_cast<const char *>(items.data()),
                count * sizeof(items[0]));
}

/// Reads one record from the front of `input`; false at the end.
template <typename Items>
static bool takeRecord(std::string_view &input, Items &items) {
  uint32_t count;
  if (input.size() < sizeof(count))
    return false;
  std::memcpy(&count, input.data(), sizeof(count));
  input.remove_prefix(sizeof(count));
  size_t bytes = count * sizeof(items[0]);
  if (input.size() < bytes)
    return false;
  items.resize(count);
  std::memcpy(items.data(), input.data(), bytes);
  input.remove_prefix(bytes);
  return true;
}

static std::string convert(const Tokenizer &tokenizer, std::string_view mode,
                           std::string_view input) {
  std::string output, text;
  std::vector<int32_t> ids;
  if (mode == "describe")
    appendRecord(std::vector<int32_t>{static_cast<int32_t>(tokenizer.size()),
                                      tokenizer.startId(), tokenizer.endId(),
                                      tokenizer.unknownId()},
                 output);
  else if (mode == "encode")
    while (takeRecord(input, text))
      appendRecord(tokenizer.encode(text), output);
  else if (mode == "decode")
    while (takeRecord(input, ids))
      appendRecord(tokenizer.decode(ids), output);
  else
    while (takeRecord(input, ids)) {
      TextStream stream(tokenizer);
      for (int32_t id : ids)
        appendRecord(stream.push(id), output);
      appendRecord(stream.finish(), output);
    }
  return output;
}

static Expected<Tokenizer> load(const std::string &path) {
  if (!path.ends_with(".json")) {
    std::string model = readFile(path.c_str());
    return Tokenizer::fromBytes(std::as_bytes(std::span<const char>(model)));
  }
  Expected<BytePairModel> model = importTokenizer(path);
  if (!model)
    return model.status();
  return Tokenizer::fromBytes(model->encode());
}

int main(int count, char **arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: nibble-tokenize MODEL "
                         "describe|encode|decode|stream IN OUT\n");
    return 2;
  }
  Expected<Tokenizer> tokenizer = load(arguments[1]);
  if (!tokenizer) {
    std::fprintf(stderr, "error: %s: %s\n", arguments[1],
                 tokenizer.status().message().c_str());
    return 1;
  }
  std::string output =
      convert(*tokenizer, arguments[2], readFile(arguments[3]));
  std::ofstream file(arguments[4], std::ios::binary);
  file.write(output.data(), static_cast<std::streamsize>(output.size()));
  return file.flush() ? 0 : 1;
}
