//===- Rules.cpp - What a plan may say, in options and in files -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   [{"id": "down_proj", "bits": 8, "group": 0,
//     "scale_scheme": {"bits": 8, "group": 16}, "input": null}]
//
// A misspelled rule must not silently mean something else, so that every key,
// type and value is checked, also of schemes that no layer will get.
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

#include "nibble/Base/MappedFile.h"
#include "nibble/Base/OutputFile.h"
#include "nibble/Support/WeightStore.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Regex.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

bool Rule::matches(StringRef layerId, StringRef layerKind) const {
  return (kind.empty() || kind == layerKind) &&
         (id.empty() || llvm::Regex(id).match(layerId));
}

LogicalResult nibble::checkRegex(StringRef what, StringRef text,
                                 EmitError emitError) {
  std::string problem;
  if (!text.empty() && !llvm::Regex(text).isValid(problem))
    return emitError() << "expects a regular expression for '" << what
                       << "', got '" << text << "': " << problem;
  return success();
}

/// The attribute that `text` spells.
static FailureOr<SchemeAttr> schemeOf(MLIRContext *context,
                                      const SchemeText &text,
                                      SchemeAttr ofScales,
                                      EmitError emitError) {
  std::optional<Grid> grid = parseGrid(text.grid);
  if (!grid)
    return emitError() << "expects a grid of " << gridNames() << "; got '"
                       << text.grid << "'";
  std::optional<Rounding> rounding = parseRounding(text.rounding);
  if (!rounding)
    return emitError() << "expects a rounding of half_even or half_away, got '"
                       << text.rounding << "'";
  if (text.group < 0)
    return emitError() << "expects a group of 0 (per channel) or more, got "
                       << text.group;
  if (text.rows < 0)
    return emitError() << "expects 0 (all) or more rows per block, got "
                       << text.rows;
  Expected<ElementType> scales = ElementType::parse(text.scales);
  if (text.bits < 2 || text.bits > 8)
    return emitError() << "expects codes of 2 to 8 bits, got " << text.bits;
  BlockScheme plain;
  plain.codes = {static_cast<unsigned>(text.bits), text.symmetric, *grid,
                 *rounding};
  if (scales)
    plain.scales = *scales;
  if (Status status = plain.validate(); !scales || !status.isOk())
    return emitError() << (scales
                               ? status.message()
                               : "expects scales of f32, f16 or bf16, got '" +
                                     text.scales + "'");
  return SchemeAttr::getChecked(
      emitError, context, plain.codes.bits, text.group, text.symmetric,
      static_cast<GridKind>(*grid), static_cast<RoundingKind>(*rounding),
      text.rows, toMlirType(context, plain.scales), ofScales);
}

FailureOr<PlanAttr> nibble::planOf(MLIRContext *context, const Rule &rule,
                                   EmitError emitError) {
  SchemeAttr ofScales, input;
  if (rule.ofScales) {
    auto found = schemeOf(context, *rule.ofScales, {},
                          [&] { return emitError() << "scale_scheme: "; });
    if (failed(found))
      return failure();
    ofScales = *found;
  }
  if (rule.input) {
    auto inputError = [&] { return emitError() << "input: "; };
    auto found = schemeOf(context, *rule.input, {}, inputError);
    if (failed(found))
      return failure();
    input = *found;
    if (input.getRows() == 0 && input.getGroup() != 0)
      return inputError() << "expects group 0 for a static scheme (rows 0): "
                             "one scale for all of the input, got "
                          << input.getGroup();
  }
  FailureOr<SchemeAttr> weight =
      schemeOf(context, rule.weight, ofScales, emitError);
  if (failed(weight))
    return failure();
  auto plan = PlanAttr::getChecked(emitError, context, *weight, input);
  if (!plan)
    return failure();
  return plan;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

namespace {

using Object = llvm::json::Object;

/// Reads one file; what it reports begins with the file's name.
class RuleReader {
public:
  RuleReader(MLIRContext *context, const RuleDefaults &defaults,
             EmitError emitError)
      : context(context), defaults(defaults), emitError(emitError) {}

  FailureOr<Rule> read(const Object &object) {
    if (failed(checkKeys(object, /*isRule=*/true)))
      return failure();
    Rule rule = defaults.rule;
    rule.id = object.getString("id").value_or("").str();
    rule.kind = object.getString("kind").value_or("").str();
    if (failed(checkRegex("id", rule.id, emitError)))
      return failure();
    if (object.get("kind") && rule.kind != "linear" && rule.kind != "embedding")
      return emitError()
             << "expects \"kind\" to be \"linear\" or \"embedding\", got \""
             << rule.kind << "\"";
    if (std::optional<StringRef> why = object.getString("keep")) {
      rule.keep = why->str();
      return rule;
    }
    complete(object, rule.weight);
    if (failed(readLevel(object, "scale_scheme", defaults.ofScales,
                         rule.ofScales)) ||
        failed(readLevel(object, "input", defaults.input, rule.input)) ||
        failed(planOf(context, rule, emitError)))
      return failure();
    return rule;
  }

private:
  LogicalResult checkKeys(const Object &object, bool isRule) {
    for (const auto &[key, value] : object) {
      StringRef name(key), expected;
      bool matches = false;
      if (llvm::is_contained({"grid", "rounding", "scales"}, name) ||
          (isRule && llvm::is_contained({"id", "kind", "keep"}, name))) {
        matches = value.getAsString().has_value();
        expected = "a string";
      } else if (llvm::is_contained({"bits", "group", "rows"}, name)) {
        matches = value.getAsInteger().has_value();
        expected = "an integer";
      } else if (name == "symmetric") {
        matches = value.getAsBoolean().has_value();
        expected = "true or false";
      } else if (isRule &&
                 llvm::is_contained({"scale_scheme", "input"}, name)) {
        matches = value.getAsObject() || value.getAsNull();
        expected = "a scheme or null";
      } else {
        return emitError() << "expects the keys "
                           << (isRule ? "id, kind, keep, scale_scheme, input, "
                                      : "")
                           << "bits, group, rows, symmetric, grid, rounding "
                              "and scales, got \""
                           << name << "\"";
      }
      if (!matches)
        return emitError() << llvm::formatv(
                                  "expects \"{0}\" to be {1}, got {2}", name,
                                  expected, value)
                                  .str();
    }
    return success();
  }

  /// Overwrites what the object has.
  static void complete(const Object &object, SchemeText &scheme) {
    scheme.bits = object.getInteger("bits").value_or(scheme.bits);
    scheme.group = object.getInteger("group").value_or(scheme.group);
    scheme.rows = object.getInteger("rows").value_or(scheme.rows);
    scheme.symmetric =
        object.getBoolean("symmetric").value_or(scheme.symmetric);
    scheme.grid = object.getString("grid").value_or(scheme.grid).str();
    scheme.rounding =
        object.getString("rounding").value_or(scheme.rounding).str();
    scheme.scales = object.getString("scales").value_or(scheme.scales).str();
  }

  LogicalResult readLevel(const Object &object, StringRef key,
                          const SchemeText &start,
                          std::optional<SchemeText> &scheme) {
    const llvm::json::Value *value = object.get(key);
    if (!value)
      return success();
    const Object *level = value->getAsObject();
    if (!level) {
      scheme.reset();
      return success();
    }
    if (failed(checkKeys(*level, /*isRule=*/false)))
      return failure();
    if (!scheme)
      scheme = start;
    complete(*level, *scheme);
    return success();
  }

  MLIRContext *context;
  const RuleDefaults &defaults;
  EmitError emitError;
};

} // namespace

FailureOr<std::vector<Rule>> nibble::readRules(MLIRContext *context,
                                               const std::string &file,
                                               const RuleDefaults &defaults,
                                               EmitError emitError) {
  Expected<std::shared_ptr<const MappedFile>> mapped = MappedFile::open(file);
  if (!mapped)
    return emitError() << mapped.status().message();
  auto fileError = [&] { return emitError() << file << ": "; };
  StringRef text(reinterpret_cast<const char *>((*mapped)->bytes().data()),
                 (*mapped)->bytes().size());
  llvm::Expected<llvm::json::Value> json = llvm::json::parse(text);
  if (!json)
    return fileError() << llvm::toString(json.takeError());
  const llvm::json::Array *array = json->getAsArray();
  if (!array)
    return fileError() << "expects a list of rules";
  std::vector<Rule> rules;
  RuleReader reader(context, defaults, fileError);
  for (const llvm::json::Value &value : *array) {
    const Object *object = value.getAsObject();
    if (!object)
      return fileError() << "expects every rule to be an object";
    FailureOr<Rule> rule = reader.read(*object);
    if (failed(rule))
      return failure();
    rules.push_back(*rule);
  }
  return rules;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

static Object objectOf(SchemeAttr scheme) {
  BlockScheme plain = blockScheme(scheme);
  return Object{{"bits", plain.codes.bits},
                {"group", plain.group},
                {"rows", plain.rows},
                {"symmetric", plain.codes.symmetric},
                {"grid", name(plain.codes.grid)},
                {"rounding", name(plain.codes.rounding)},
                {"scales", plain.scales.str()}};
}

static llvm::json::Value valueOf(SchemeAttr scheme) {
  return scheme ? llvm::json::Value(objectOf(scheme)) : nullptr;
}

Status nibble::writeRules(const std::string &file,
                          ArrayRef<QuantizableOpInterface> layers) {
  llvm::json::Array array;
  for (QuantizableOpInterface layer : layers) {
    Object object;
    Attribute decided = layer.getPlanAttribute();
    if (auto kept = dyn_cast<KeepAttr>(decided)) {
      object["keep"] = kept.getReason();
    } else {
      auto plan = cast<PlanAttr>(decided);
      object = objectOf(plan.getWeight());
      object["scale_scheme"] = valueOf(plan.getWeight().getScaleScheme());
      object["input"] = valueOf(plan.getInput());
    }
    object["id"] = "^" + llvm::Regex::escape(layer.getLayerId()) + "$";
    object["kind"] = kindOf(layer);
    array.push_back(std::move(object));
  }
  std::string text =
      llvm::formatv("{0:2}\n", llvm::json::Value(std::move(array)));
  Expected<OutputFile> out = OutputFile::create(file);
  if (!out)
    return out.status();
  if (Status status = out->write(text); !status.isOk())
    return status;
  return out->commit();
}
