//===- OutlineLayers.cpp - Make a function of every repeated layer --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A transformer is a chain: between two layers one value, the residual stream,
// carries everything that is still needed. So:
//
//  1. The stream is what depends on the first embedding or linear, or on a size
//     that its data decide.
//  2. It can be cut where exactly one of its values is used later (results of
//     the function do not count: they leave anyway). Cuts make segments.
//  3. Two segments are alike if they have the same ops, attributes, types and
//     wiring; ids, plans and the names of weights may differ.
//  4. The repetition of segments that covers most ops gives the layers, with
//     the shortest period among equals.
//
// A layer's arguments are the stream, then what it uses from outside in order
// of use. Constants, dimension tensors and loads are cloned into it.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/Support/Decline.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_OUTLINELAYERS
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

/// Consecutive ops of the stream.
using Segment = SmallVector<Operation *>;

/// A run of `count` layers of `period` segments each, from segment `first`.
struct Repetition {
  size_t first = 0, period = 0, count = 0, ops = 0;
};

/// Ops that a layer has its own copy of, with their operands: constants,
/// weights, and weights that are made of several.
bool isCloned(Operation *op) {
  if (!op)
    return false;
  if (isa<qmodel::DequantizeOp, qmodel::Decompress24Op>(op))
    return llvm::all_of(op->getOperands(), [](Value operand) {
      return isCloned(operand.getDefiningOp());
    });
  return isa<onnx::ConstantOp, onnx::NoneOp, qmodel::DimTensorOp,
             qmodel::LoadOp>(op);
}

/// Sizes that data decide, by name.
class DecidedSizes {
public:
  void add(Operation *op) {
    if (auto names = op->getAttrOfType<ArrayAttr>(sizesAttrName))
      for (StringRef name : names.getAsValueRange<StringAttr>())
        known.insert(name);
  }
  /// Whether `op` says what follows from one of them.
  bool isUsedBy(Operation *op) const {
    auto tensor = dyn_cast<qmodel::DimTensorOp>(op);
    if (!tensor || known.empty())
      return false;
    auto uses = [&](StringRef text) {
      Expected<DimExpr> expression = DimExpr::parse(text.str());
      return expression && llvm::any_of(expression->symbols(),
                                        [&](const std::string &symbol) {
                                          return known.contains(symbol);
                                        });
    };
    return llvm::any_of(tensor.getValues().getAsValueRange<StringAttr>(), uses);
  }

private:
  llvm::StringSet<> known;
};

/// Ops that depend on the first embedding or linear, in order.
Segment streamOf(Block &block) {
  Segment stream;
  llvm::DenseSet<Operation *> members;
  DecidedSizes sizes;
  for (Operation &op : block.without_terminator()) {
    bool starts = stream.empty() && isa<QuantizableOpInterface>(op);
    bool depends = sizes.isUsedBy(&op);
    depends |= llvm::any_of(op.getOperands(), [&](Value operand) {
      return members.contains(operand.getDefiningOp());
    });
    // Values that a region captures count too.
    op.walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        depends |= members.contains(operand.getDefiningOp());
    });
    if (!starts && !depends)
      continue;
    stream.push_back(&op);
    members.insert(&op);
    sizes.add(&op);
  }
  return stream;
}

/// Cuts the stream where one value is live.
SmallVector<Segment> segmentsOf(const Segment &stream) {
  llvm::DenseMap<Operation *, size_t> position;
  for (auto [i, op] : llvm::enumerate(stream))
    position[op] = i;
  Block *block = stream.front()->getBlock();
  // Values whose life starts and ends at each op.
  SmallVector<int64_t> opened(stream.size() + 1), closed(stream.size() + 1);
  for (auto [i, op] : llvm::enumerate(stream))
    for (Value result : op->getResults()) {
      size_t last = i;
      for (Operation *user : result.getUsers()) {
        Operation *ancestor = block->findAncestorOpInBlock(*user);
        if (auto it = position.find(ancestor); it != position.end())
          last = std::max(last, it->second);
      }
      if (last > i) {
        ++opened[i];
        ++closed[last];
      }
    }
  SmallVector<Segment> segments(1);
  int64_t live = 0;
  for (auto [i, op] : llvm::enumerate(stream)) {
    segments.back().push_back(op);
    live += opened[i] - closed[i];
    if (live == 1 && i + 1 < stream.size())
      segments.emplace_back();
  }
  return segments;
}

/// Weights that are small enough to be constants (biases, gains) differ among
/// layers as others do; integers say how a layer is built.
bool isParameter(Operation *op) {
  auto constant = dyn_cast<onnx::ConstantOp>(op);
  auto type = constant ? cast<RankedTensorType>(constant.getResult().getType())
                       : RankedTensorType();
  return type && isa<FloatType>(type.getElementType()) && type.getRank() > 0 &&
         type.getNumElements() > 1;
}

/// What a segment is, apart from names: equal texts, alike segments.
class SegmentShape {
public:
  explicit SegmentShape(const Segment &segment) : os(text) {
    for (Operation *op : segment)
      describe(op);
  }
  std::string take() { return std::move(text); }

private:
  void describe(Operation *op) {
    os << op->getName().getStringRef() << '(';
    for (Value operand : op->getOperands())
      describeOperand(operand);
    os << ") ";
    describeAttributes(op);
    os << " -> " << op->getResultTypes();
    for (Value result : op->getResults())
      numbers[result] = numbers.size();
    for (Region &region : op->getRegions())
      for (Block &block : region) {
        os << '{';
        for (Value argument : block.getArguments()) {
          numbers[argument] = numbers.size();
          os << argument.getType() << ',';
        }
        for (Operation &inner : block)
          describe(&inner);
        os << '}';
      }
    os << '\n';
  }

  void describeOperand(Value operand) {
    auto [it, isNew] = numbers.try_emplace(operand, numbers.size());
    size_t number = it->second;
    Operation *definition = operand.getDefiningOp();
    if (isNew && isCloned(definition)) {
      os << '[' << definition->getName().getStringRef() << ' ';
      describeAttributes(definition);
      for (Value inner : definition->getOperands())
        describeOperand(inner);
      os << ']';
    }
    os << number << ':' << operand.getType() << ',';
  }

  void describeAttributes(Operation *op) {
    for (NamedAttribute attribute : op->getAttrDictionary()) {
      StringRef name = attribute.getName();
      if (name == "plan" || (name == "id" && isa<QuantizableOpInterface>(op)) ||
          (name == "weight" && isa<qmodel::LoadOp>(op)) || isParameter(op))
        continue;
      auto texts = dyn_cast<ArrayAttr>(attribute.getValue());
      bool areNames = name == sizesAttrName;
      os << name << '=';
      if (texts && (areNames || isa<qmodel::DimTensorOp>(op)))
        describeDims(texts, areNames);
      else
        os << attribute.getValue();
      os << ' ';
    }
  }

  /// Expressions, with numbers for the sizes that the data of the segment
  /// decide: their names differ from layer to layer.
  void describeDims(ArrayAttr texts, bool areNames) {
    for (Attribute element : texts) {
      auto text = dyn_cast<StringAttr>(element);
      if (!text)
        continue; // refused by the verifier
      if (areNames)
        sizes.try_emplace(
            text.str(),
            DimExpr::symbol("size." + std::to_string(sizes.size())));
      Expected<DimExpr> expression = DimExpr::parse(text.str());
      os << (expression ? expression->substitute(sizes).str() : text.str())
         << ',';
    }
  }

  std::string text;
  llvm::raw_string_ostream os;
  llvm::DenseMap<Value, size_t> numbers;
  std::map<std::string, DimExpr> sizes;
};

/// The repetition that covers most ops.
Repetition findRepetition(ArrayRef<Segment> segments) {
  SmallVector<size_t> kinds;
  llvm::StringMap<size_t> known;
  for (const Segment &segment : segments)
    kinds.push_back(
        known.try_emplace(SegmentShape(segment).take(), known.size())
            .first->second);
  Repetition best;
  for (size_t period = 1; period * 2 <= kinds.size(); ++period) {
    size_t run = 0; // segments that equal the one a period later
    for (size_t i = 0; i + period <= kinds.size(); ++i) {
      bool equal = i + period < kinds.size() && kinds[i] == kinds[i + period];
      if (equal) {
        ++run;
        continue;
      }
      size_t first = i - run, count = run / period + 1, ops = 0;
      run = 0;
      if (count < 2)
        continue;
      for (size_t j = first; j < first + count * period; ++j)
        ops += segments[j].size();
      if (ops > best.ops)
        best = {first, period, count, ops};
    }
  }
  return best;
}

/// One layer as it will be outlined.
class Layer {
public:
  Layer(ArrayRef<Segment> segments, Value stream) {
    arguments.insert(stream);
    for (const Segment &segment : segments)
      ops.append(segment.begin(), segment.end());
    members.insert(ops.begin(), ops.end());
    for (Operation *op : ops)
      op->walk([&](Operation *inner) {
        for (Value operand : inner->getOperands())
          addOperand(operand);
      });
    for (Operation *op : ops)
      for (Value result : op->getResults())
        if (llvm::any_of(result.getUsers(),
                         [&](Operation *user) { return !isInside(user); }))
          results.push_back(result);
  }

  /// Makes the function and calls it instead. `next` (the stream after the
  /// layer; null at the end) is the first result.
  void outline(StringRef name, Value next, func::FuncOp main,
               const DimsAnalysis &dims) {
    if (next)
      std::stable_partition(results.begin(), results.end(),
                            [&](Value result) { return result == next; });
    func::FuncOp function = makeFunction(name, main, dims);
    OpBuilder builder(ops.back());
    builder.setInsertionPointAfter(ops.back());
    auto call = func::CallOp::create(builder, ops.back()->getLoc(), function,
                                     arguments.getArrayRef());
    for (auto [old, result] : llvm::zip(results, call.getResults()))
      old.replaceUsesWithIf(
          result, [&](OpOperand &use) { return !isInside(use.getOwner()); });
    for (Operation *op : llvm::reverse(ops))
      op->erase();
  }

private:
  bool isInside(Operation *op) const {
    for (; op; op = op->getParentOp())
      if (members.contains(op))
        return true;
    return false;
  }

  void addOperand(Value operand) {
    Operation *definition = operand.getDefiningOp();
    if (definition ? isInside(definition)
                   : isInside(operand.getParentBlock()->getParentOp()))
      return;
    if (!isCloned(definition)) {
      arguments.insert(operand);
      return;
    }
    for (Value inner : definition->getOperands())
      addOperand(inner);
    cloned.insert(definition);
  }

  func::FuncOp makeFunction(StringRef name, func::FuncOp main,
                            const DimsAnalysis &dims) {
    OpBuilder builder(main);
    // Made from the last on, so this puts them in order.
    builder.setInsertionPointAfter(main);
    auto type = builder.getFunctionType(TypeRange(arguments.getArrayRef()),
                                        TypeRange(ValueRange(results)));
    auto function =
        func::FuncOp::create(builder, ops.front()->getLoc(), name, type);
    function.setPrivate();
    Block *body = function.addEntryBlock();
    IRMapping mapping;
    for (auto [i, argument] : llvm::enumerate(arguments)) {
      mapping.map(argument, body->getArgument(i));
      if (const auto &shape = dims.of(argument).shape) {
        SmallVector<Attribute> names;
        for (const DimExpr &dim : *shape)
          names.push_back(builder.getStringAttr(dim.str()));
        function.setArgAttr(i, dimsAttrName, builder.getArrayAttr(names));
      }
    }
    builder.setInsertionPointToStart(body);
    for (Operation *op : cloned)
      builder.clone(*op, mapping);
    for (Operation *op : ops)
      builder.clone(*op, mapping);
    SmallVector<Value> returned;
    for (Value result : results)
      returned.push_back(mapping.lookup(result));
    func::ReturnOp::create(builder, main.getLoc(), returned);
    return function;
  }

  Segment ops;
  llvm::DenseSet<Operation *> members;
  llvm::SetVector<Value> arguments;
  llvm::SetVector<Operation *> cloned;
  SmallVector<Value> results;
};

/// The one value of `stream` that crosses from `before` to what follows.
Value streamAfter(const Segment &before, ArrayRef<Segment> following) {
  for (const Segment &segment : following)
    for (Operation *op : segment)
      for (Value operand : op->getOperands())
        if (llvm::is_contained(before, operand.getDefiningOp()))
          return operand;
  return nullptr;
}

/// The stream value that the segments from `first` on start with.
Value streamBefore(ArrayRef<Segment> segments, size_t first) {
  for (size_t i = first; i-- > 0;)
    if (Value value = streamAfter(segments[i], segments.drop_front(first)))
      return value;
  return nullptr;
}

struct OutlineLayers : impl::OutlineLayersBase<OutlineLayers> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    // Layers are there already.
    if (module.lookupSymbol("layer_0"))
      return;
    auto main = module.lookupSymbol<func::FuncOp>("main");
    if (!main || !main.getBody().hasOneBlock())
      return;
    Segment stream = streamOf(main.getBody().front());
    if (stream.empty())
      return;
    SmallVector<Segment> segments = segmentsOf(stream);
    Repetition found = findRepetition(segments);
    // Layers start with the value that the part before them hands over.
    if (found.count > 0 && found.first == 0) {
      ++found.first;
      found.count = (found.count * found.period - 1) / found.period;
    }
    if (found.count < 2) {
      (void)decline(main, "qmodel-outline-layers",
                    "no repeated layers: the whole model is one layer");
      return;
    }
    DimsAnalysis dims;
    if (failed(dims.run(main)))
      return signalPassFailure();
    outline(main, segments, found, dims);
    eraseDead(main);
  }

  void outline(func::FuncOp main, ArrayRef<Segment> segments,
               const Repetition &found, const DimsAnalysis &dims) {
    // Last layer first: what is erased is then not looked at any more, and the
    // values of the layers before are still the ones that were analysed.
    SmallVector<std::pair<Layer, Value>> layers;
    for (size_t i = 0; i < found.count; ++i) {
      size_t first = found.first + i * found.period;
      layers.emplace_back(Layer(segments.slice(first, found.period),
                                streamBefore(segments, first)),
                          streamBefore(segments, first + found.period));
    }
    for (size_t i = found.count; i-- > 0;)
      layers[i].first.outline("layer_" + std::to_string(i), layers[i].second,
                              main, dims);
  }
};

} // namespace
} // namespace nibble::frontend
