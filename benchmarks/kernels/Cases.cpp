//===- Cases.cpp - Linear layers by name ----------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Cases.h"

#include "llvm/ADT/StringRef.h"

namespace nibble::bench {

std::optional<Case> parseCase(const std::string &name) {
  Case result;
  result.name = name;
  llvm::StringRef rest = name;
  if (rest.consume_front("float16"))
    result.element = ElementType::float16();
  else if (rest.consume_front("float32"))
    result.element = ElementType::float32();
  else {
    result.isInteger = rest.consume_front("int");
    unsigned bits = 0;
    if ((!result.isInteger && !rest.consume_front("float")) ||
        rest.consumeInteger(10, bits) || bits < 2 || bits > 8)
      return std::nullopt;
    result.element = ElementType::signedInt(static_cast<uint8_t>(bits));
    if (!rest.consume_front("-channel") &&
        (!rest.consume_front("-g") || rest.consumeInteger(10, result.group)))
      return std::nullopt;
    if (result.isInteger && rest.consume_front("-xg") &&
        rest.consumeInteger(10, result.xGroup))
      return std::nullopt;
    result.hasZeros = rest.consume_front("-zero");
  }
  result.sparse24 = !result.isInteger && rest.consume_front("-24");
  return rest.empty() ? std::optional<Case>(result) : std::nullopt;
}

std::span<const char *const> usualCases() {
  static constexpr const char *names[] = {
      "int4-g32",          "int4-g32-zero",     "int4-g32-xg32",
      "int4-g64",          "int4-g128",         "int4-channel",
      "int8-g32",          "int8-channel",      "int3-g128",
      "int2-g64",          "float4-g32",        "float4-g32-24",
      "float4-channel",    "float4-channel-24", "float8-channel",
      "float8-channel-24", "float16",           "float16-24",
      "float32",           "float32-24",
  };
  return names;
}

RowInterleavedLayout Case::layout(int64_t out, int64_t in) const {
  RowInterleavedLayout layout;
  layout.element = element;
  layout.out = out;
  layout.in = in;
  layout.group = group ? group : in;
  layout.scales = group ? ElementType::float16() : ElementType::float32();
  layout.sparse24 = sparse24;
  return layout;
}

static std::string mlirName(ElementType type) {
  std::string name = type.str();
  return type.kind == ElementType::Kind::Signed ? name.substr(1) : name;
}

std::string Case::kernelText(int64_t out, int64_t in) const {
  RowInterleavedLayout layout = this->layout(out, in);
  std::string ins = std::to_string(in), outs = std::to_string(out);
  int64_t groupOfX = xGroup ? xGroup : in;
  std::string xGroups = std::to_string((in + groupOfX - 1) / groupOfX);
  std::string dims, types, operands;
  auto add = [&](const char *name, const std::string &sizes,
                 const std::string &type) {
    dims += (dims.empty() ? "[" : ", [") + sizes + "]";
    types += (types.empty() ? "" : ", ") + type;
    operands += std::string(operands.empty() ? "" : ", ") + name + ": " + type;
  };
  auto addFlat = [&](const char *name, uint64_t size, const std::string &type) {
    std::string count = std::to_string(size);
    add(name, "\"" + count + "\"", "tensor<" + count + "x" + type + ">");
  };
  std::string text;
  if (isInteger) {
    add("%x", "\"m\", \"" + ins + "\"", "tensor<?x" + ins + "xi8>");
    add("%xs", "\"m\", \"" + xGroups + "\"", "tensor<?x" + xGroups + "xf32>");
    text = "qkernel.packed_integer_linear %x scales %xs group " +
           std::to_string(groupOfX) + ", %w";
  } else {
    add("%x", "\"m\", \"" + ins + "\"", "tensor<?x" + ins + "xf32>");
    text = "qkernel.packed_linear %x, %w";
  }
  addFlat("%w", layout.weightBytes(), "ui8");
  if (element.isInteger()) {
    text += " scales %s";
    addFlat("%s", layout.zeroBytes(), mlirName(layout.scales));
  }
  if (hasZeros) {
    text += " zeros %z";
    addFlat("%z", layout.zeroBytes(), "ui8");
  }
  std::string result = "tensor<?x" + outs + "xf32>";
  return "qkernel.kernel @k scalars [\"m\"] args [" + dims + "] {\n^bb0(" +
         operands + "):\n  %r = " + text +
         " layout <element = " + mlirName(element) + ", out = " + outs +
         ", in = " + ins + ", group = " + std::to_string(layout.group) +
         ", scales = " + mlirName(layout.scales) +
         (sparse24 ? ", sparse24 = true" : "") + "> : (" + types + ") -> " +
         result + "\n  qkernel.yield %r : " + result + "\n}\n";
}

} // namespace nibble::bench
