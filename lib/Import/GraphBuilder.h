//===- GraphBuilder.h - ONNX graphs to onnx.node ops ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What one import builds, and what it knows while it does: names, types,
// dimensions and problems. The methods are in one file for each concept:
// BuildGraph.cpp, BuildSubgraph.cpp, BuildNode.cpp, BuildConstant.cpp and
// InferTypes.cpp.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_IMPORT_GRAPHBUILDER_H
#define NIBBLE_LIB_IMPORT_GRAPHBUILDER_H

#include "BuildGraph.h"
#include "CheckModel.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringMap.h"

namespace nibble {

/// Starts the symbols that stand for dimensions that depend on data.
inline constexpr char anonymousPrefix[] = "__anonymous";

/// Integer tensors up to this size are constants, not weights.
inline constexpr uint64_t maxConstantIntegers = 1024;

/// Values and types by name; subgraphs see what encloses them.
struct Scope {
  const Scope *parent = nullptr;
  llvm::StringMap<mlir::Value> values;
  llvm::StringMap<const ::onnx::TypeProto *> types;

  mlir::Value find(const std::string &name) const {
    for (const Scope *scope = this; scope; scope = scope->parent)
      if (mlir::Value value = scope->values.lookup(name))
        return value;
    return {};
  }

  void addTypes(const ::onnx::GraphProto &graph) {
    for (const auto *list :
         {&graph.value_info(), &graph.output(), &graph.input()})
      for (const ::onnx::ValueInfoProto &value : *list)
        if (value.has_type())
          types[value.name()] = &value.type();
  }
};

/// Type of result `index` of a node with subgraphs as these yield it; null if
/// they do not tell.
mlir::Type yieldedType(const ::onnx::NodeProto &node,
                       llvm::ArrayRef<std::unique_ptr<mlir::Region>> regions,
                       unsigned index);

class GraphBuilder {
public:
  GraphBuilder(mlir::MLIRContext *context, const ::onnx::ModelProto &model,
               TensorReader &reader, const DimSubstitutions &substitutions)
      : context(context), builder(context), model(model), reader(reader),
        names(model.graph(), substitutions) {
    symbols.insert("main");
  }

  mlir::FailureOr<BuiltGraph> run();

private:
  // Graphs.
  mlir::LogicalResult buildBody(const ::onnx::GraphProto &graph, Scope &scope);
  mlir::LogicalResult addArguments(mlir::func::FuncOp function, Scope &scope);
  mlir::LogicalResult addOutputs(mlir::func::FuncOp function,
                                 const Scope &scope);
  mlir::FailureOr<std::unique_ptr<mlir::Region>>
  buildSubgraph(const ::onnx::GraphProto &graph, const Scope &outer,
                mlir::Location location, llvm::ArrayRef<mlir::Value> carried);
  void collectUses(const ::onnx::GraphProto &graph);

  // Nodes.
  mlir::LogicalResult buildNode(const ::onnx::NodeProto &node, Scope &scope);
  mlir::LogicalResult buildConstantNode(const ::onnx::NodeProto &node,
                                        Scope &scope);
  mlir::FailureOr<mlir::Value>
  resolve(const std::string &name, const ::onnx::NodeProto &node, Scope &scope);
  mlir::Attribute convertAttribute(const ::onnx::NodeProto &node,
                                   const ::onnx::AttributeProto &attribute);
  mlir::Attribute convertTensorAttribute(const ::onnx::NodeProto &node,
                                         const ::onnx::TensorProto &tensor);

  // Types.
  /// Runs the dimension rules and makes result types as precise as they allow.
  /// `isReported`: what is unknown here follows from a problem listed before.
  void inferTypes(const ::onnx::NodeProto &node, nibble::onnx::NodeOp op,
                  bool isReported);
  std::optional<int64_t> rankByData(nibble::onnx::NodeOp op);
  std::vector<DimExpr> anonymousDims(mlir::RankedTensorType type);
  mlir::Type fallbackElementType(const ::onnx::NodeProto &node,
                                 mlir::ValueRange operands, size_t result);
  mlir::Type convertType(const ::onnx::TypeProto *type, mlir::Type fallback,
                         std::string &reason);

  // Constants.
  mlir::FailureOr<mlir::Value> makeTensor(mlir::Location location,
                                          const std::string &name,
                                          const ::onnx::TensorProto &proto);
  mlir::FailureOr<mlir::Value> makeConstant(mlir::Location location,
                                            const std::string &name,
                                            const SourcedTensor &source);
  mlir::FailureOr<mlir::Attribute> weightValue(mlir::Location location,
                                               const SourcedTensor &source);

  // Bookkeeping.
  mlir::Location locationOf(const std::string &name, const std::string &kind) {
    return mlir::NameLoc::get(builder.getStringAttr(name),
                              mlir::NameLoc::get(builder.getStringAttr(kind)));
  }
  static std::string nodeName(const ::onnx::NodeProto &node) {
    if (!node.name().empty())
      return node.name();
    for (const std::string &output : node.output())
      if (!output.empty())
        return output;
    return node.op_type();
  }
  mlir::Location locationOf(const ::onnx::NodeProto &node) {
    return locationOf(nodeName(node), node.op_type());
  }
  int64_t versionOf(const ::onnx::NodeProto &node) {
    return opsetVersion(model, node.domain());
  }
  void report(const ::onnx::NodeProto &node, const std::string &reason) {
    result.problems.push_back({nodeName(node), node.op_type(), node.domain(),
                               versionOf(node), reason});
  }
  void report(const std::string &name, const std::string &kind,
              const std::string &reason) {
    result.problems.push_back({name, kind, "", 0, reason});
  }
  /// Stands for a value that cannot be represented; what uses it is not
  /// reported again.
  mlir::Value unknownValue(mlir::Location location) {
    mlir::Value value =
        nibble::onnx::NoneOp::create(builder, location, builder.getNoneType());
    unknown.insert(value);
    return value;
  }

  mlir::MLIRContext *context;
  mlir::OpBuilder builder;
  const ::onnx::ModelProto &model;
  TensorReader &reader;
  DimNames names;
  BuiltGraph result;
  std::set<std::string> uses;
  UniqueNames symbols;
  llvm::DenseMap<mlir::Value, ValueDims> dims;
  llvm::DenseSet<mlir::Value> unknown;
  unsigned anonymous = 0;
};

} // namespace nibble

#endif // NIBBLE_LIB_IMPORT_GRAPHBUILDER_H
