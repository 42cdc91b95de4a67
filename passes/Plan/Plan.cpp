//===- Plan.cpp - Decide the scheme of every layer ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One list of rules, first match wins: those of the file, then those that the
// options stand for. Nothing else in the compiler chooses a scheme. It does not
// touch weights.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Plan/Passes.h"

#include "nibble/Base/MappedFile.h"
#include "nibble/Base/OutputFile.h"
#include "nibble/dialects/QModel/QModel.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Regex.h"

namespace nibble {
#define GEN_PASS_DEF_PLAN
#include "nibble/passes/Plan/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

namespace {

/// What a rule says to a layer that it matches.
struct Rule {
  std::string id;   ///< regular expression; empty: every id
  std::string kind; ///< "linear", "embedding" or empty
  std::optional<std::string> keep;
  IntegerScheme scheme;
  int64_t group = 0;

  bool matches(StringRef layerId, StringRef layerKind) const {
    return (kind.empty() || kind == layerKind) &&
           (id.empty() || llvm::Regex(id).match(layerId));
  }
};

StringRef kindOf(Operation *op) { return op->getName().stripDialect(); }

struct Plan : nibble::impl::PlanBase<Plan> {
  using PlanBase::PlanBase;

  void runOnOperation() override {
    SmallVector<Rule> ruleList;
    Rule byDefault;
    if (failed(readDefault(byDefault)) ||
        failed(readRules(byDefault, ruleList)) ||
        failed(checkRegex("include", include)) ||
        failed(checkRegex("exclude", exclude)))
      return signalPassFailure();

    SmallVector<QuantizableOpInterface> layers;
    getOperation().walk(
        [&](QuantizableOpInterface layer) { layers.push_back(layer); });
    llvm::DenseSet<int64_t> vocabularies;
    for (QuantizableOpInterface layer : layers)
      if (isa<EmbeddingOp>(layer))
        vocabularies.insert(weightRows(layer));

    for (QuantizableOpInterface layer : layers)
      layer.setPlanAttribute(decide(
          layer, ruleList, byDefault,
          isa<LinearOp>(layer) && vocabularies.contains(weightRows(layer))));
    if (!save.empty() && failed(writeRules(layers)))
      signalPassFailure();
  }

private:
  static int64_t weightRows(QuantizableOpInterface layer) {
    return cast<RankedTensorType>(layer.getWeightOperand().get().getType())
        .getDimSize(0);
  }

  LogicalResult error(const Twine &message) {
    return getOperation()->emitError("qmodel-plan: ") << message;
  }

  LogicalResult checkRegex(StringRef option, StringRef text) {
    std::string problem;
    if (!text.empty() && !llvm::Regex(text).isValid(problem))
      return error("expects a regular expression for '" + option + "', got '" +
                   text + "': " + problem);
    return success();
  }

  LogicalResult readDefault(Rule &rule) {
    // With 0, which means floating point, the scheme of `bits` is checked
    // twice.
    for (unsigned other : {headBits.getValue(), embeddingBits.getValue()})
      if (failed(readScheme(rule, other ? other : bits, group, symmetric, grid,
                            rounding)))
        return failure();
    return readScheme(rule, bits, group, symmetric, grid, rounding);
  }

  /// A misspelled rule must not silently mean something else.
  LogicalResult checkKeys(const llvm::json::Object &object) {
    for (const auto &[key, value] : object) {
      StringRef name(key), expected;
      bool matches = false;
      if (llvm::is_contained({"id", "kind", "keep", "grid", "rounding"},
                             name)) {
        matches = value.getAsString().has_value();
        expected = "a string";
      } else if (name == "bits" || name == "group") {
        matches = value.getAsInteger().has_value();
        expected = "an integer";
      } else if (name == "symmetric") {
        matches = value.getAsBoolean().has_value();
        expected = "true or false";
      } else {
        return error(rules +
                     ": expects the keys id, kind, keep, bits, group, "
                     "symmetric, grid and rounding, got \"" +
                     name + "\"");
      }
      if (!matches)
        return error(llvm::formatv("{0}: expects \"{1}\" to be {2}, got {3}",
                                   rules, name, expected, value)
                         .str());
    }
    return success();
  }

  LogicalResult readScheme(Rule &rule, uint64_t ruleBits, int64_t ruleGroup,
                           bool isSymmetric, const std::string &gridName,
                           const std::string &roundingName) {
    std::optional<Grid> parsedGrid = parseGrid(gridName);
    std::optional<Rounding> parsedRounding = parseRounding(roundingName);
    if (!parsedGrid)
      return error("expects a grid of gptq, awq, minmax, full_range or narrow, "
                   "got '" +
                   gridName + "'");
    if (!parsedRounding)
      return error("expects a rounding of half_even or half_away, got '" +
                   roundingName + "'");
    if (ruleGroup < 0)
      return error("expects a group of 0 (per channel) or more, got " +
                   Twine(ruleGroup));
    rule.scheme = {static_cast<unsigned>(ruleBits), isSymmetric, *parsedGrid,
                   *parsedRounding};
    rule.group = ruleGroup;
    Status status = rule.scheme.validate();
    return status.isOk() ? success() : error(status.message());
  }

  LogicalResult readRules(const Rule &byDefault, SmallVectorImpl<Rule> &list) {
    if (rules.empty())
      return success();
    auto file = MappedFile::open(rules);
    if (!file)
      return error(file.status().message());
    StringRef text(reinterpret_cast<const char *>((*file)->bytes().data()),
                   (*file)->bytes().size());
    llvm::Expected<llvm::json::Value> json = llvm::json::parse(text);
    if (!json)
      return error(rules + ": " + llvm::toString(json.takeError()));
    const llvm::json::Array *array = json->getAsArray();
    if (!array)
      return error(rules + ": expects a list of rules");
    for (const llvm::json::Value &value : *array) {
      const llvm::json::Object *object = value.getAsObject();
      if (!object)
        return error(rules + ": expects every rule to be an object");
      if (failed(checkKeys(*object)))
        return failure();
      Rule rule = byDefault;
      rule.id = object->getString("id").value_or("").str();
      rule.kind = object->getString("kind").value_or("").str();
      if (failed(checkRegex("id", rule.id)))
        return failure();
      if (object->get("kind") && rule.kind != "linear" &&
          rule.kind != "embedding")
        return error(rules +
                     ": expects \"kind\" to be \"linear\" or \"embedding\", "
                     "got \"" +
                     rule.kind + "\"");
      if (std::optional<StringRef> why = object->getString("keep"))
        rule.keep = why->str();
      else if (failed(readScheme(
                   rule, object->getInteger("bits").value_or(bits),
                   object->getInteger("group").value_or(group),
                   object->getBoolean("symmetric").value_or(symmetric),
                   object->getString("grid").value_or(grid).str(),
                   object->getString("rounding").value_or(rounding).str())))
        return failure();
      list.push_back(rule);
    }
    return success();
  }

  Attribute decide(QuantizableOpInterface layer, ArrayRef<Rule> list,
                   const Rule &byDefault, bool isHead) {
    StringRef id = layer.getLayerId();
    for (const Rule &rule : list)
      if (rule.matches(id, kindOf(layer)))
        return rule.keep ? keep(*rule.keep) : planned(rule);
    if (!exclude.empty() && llvm::Regex(exclude).match(id))
      return keep("excluded by '" + exclude + "'");
    if (!include.empty() && !llvm::Regex(include).match(id))
      return keep("not included by '" + include + "'");
    Rule rule = byDefault;
    if (isa<EmbeddingOp>(layer)) {
      if (embeddingBits == 0)
        return keep("embedding; ask with embedding-bits");
      rule.scheme.bits = embeddingBits;
    } else if (isHead) {
      if (headBits == 0)
        return keep("output head; ask with head-bits");
      rule.scheme.bits = headBits;
    }
    return planned(rule);
  }

  Attribute keep(const Twine &why) {
    return KeepAttr::get(&getContext(), why.str());
  }

  Attribute planned(const Rule &rule) {
    auto scheme = SchemeAttr::get(
        &getContext(), rule.scheme.bits, rule.group, rule.scheme.symmetric,
        static_cast<GridKind>(rule.scheme.grid),
        static_cast<RoundingKind>(rule.scheme.rounding), /*rows=*/1,
        Type(Float32Type::get(&getContext())), /*scale_scheme=*/SchemeAttr());
    return PlanAttr::get(&getContext(), scheme, /*input=*/SchemeAttr());
  }

  LogicalResult writeRules(ArrayRef<QuantizableOpInterface> layers) {
    llvm::json::Array array;
    for (QuantizableOpInterface layer : layers) {
      llvm::json::Object object;
      object["id"] = "^" + llvm::Regex::escape(layer.getLayerId()) + "$";
      object["kind"] = kindOf(layer);
      Attribute decided = layer.getPlanAttribute();
      if (auto kept = dyn_cast<KeepAttr>(decided)) {
        object["keep"] = kept.getReason();
      } else {
        SchemeAttr scheme = cast<PlanAttr>(decided).getWeight();
        IntegerScheme plain = integerScheme(scheme);
        object["bits"] = plain.bits;
        object["group"] = scheme.getGroup();
        object["symmetric"] = plain.symmetric;
        object["grid"] = name(plain.grid);
        object["rounding"] = name(plain.rounding);
      }
      array.push_back(std::move(object));
    }
    std::string text =
        llvm::formatv("{0:2}\n", llvm::json::Value(std::move(array)));
    Expected<OutputFile> out = OutputFile::create(save);
    Status status = out ? out->write(text) : out.status();
    if (status.isOk())
      status = out->commit();
    return status.isOk() ? success() : error(status.message());
  }
};

} // namespace
