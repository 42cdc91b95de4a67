//===- CheckModel.cpp - What ONNX's own library says ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The only file that calls ONNX's library, because the library throws. The
// checker sees a copy in which tensors without data are empty, operators
// without a schema are in a domain of their own and every value has a shape: it
// would refuse what is checked elsewhere or is to survive.
//
//===----------------------------------------------------------------------===//

#include "CheckModel.h"

#include "onnx/checker.h"
#include "onnx/defs/schema.h"
#include "onnx/inliner/inliner.h"
#include "onnx/shape_inference/implementation.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <set>

using namespace nibble;

namespace {

constexpr char unknownDomain[] = "nibble.unknown";

/// ONNX's messages have several lines, and quote whatever a damaged file holds;
/// ours are one line of text.
std::string oneLine(std::string_view text) {
  std::string result;
  for (unsigned char c : text) {
    if (c >= ' ' && c != 0x7f)
      result += static_cast<char>(c);
    else if (!result.empty() && result.back() != ' ')
      result += ' ';
  }
  while (!result.empty() && (result.back() == ' ' || result.back() == '.'))
    result.pop_back();
  return result;
}

bool hasData(const ::onnx::TensorProto &tensor) {
  return tensor.has_raw_data() || tensor.float_data_size() ||
         tensor.int32_data_size() || tensor.int64_data_size() ||
         tensor.double_data_size() || tensor.uint64_data_size() ||
         tensor.string_data_size();
}

/// Makes a model acceptable to the checker where we know better.
class CheckerCopy {
public:
  explicit CheckerCopy(const ::onnx::ModelProto &model) : copy(model) {
    for (const ::onnx::FunctionProto &function : model.functions())
      functions.insert({function.domain(), function.name()});
    visitGraph(*copy.mutable_graph());
    for (::onnx::FunctionProto &function : *copy.mutable_functions())
      for (::onnx::NodeProto &node : *function.mutable_node())
        visitAttributes(node);
    if (hasUnknown) {
      ::onnx::OperatorSetIdProto *opset = copy.add_opset_import();
      opset->set_domain(unknownDomain);
      opset->set_version(1);
    }
  }
  const ::onnx::ModelProto &model() const { return copy; }

private:
  void visitTensor(::onnx::TensorProto &tensor) {
    if (hasData(tensor))
      return;
    tensor.clear_dims();
    tensor.add_dims(0);
  }
  void visitAttributes(::onnx::NodeProto &node) {
    for (::onnx::AttributeProto &attribute : *node.mutable_attribute()) {
      if (attribute.has_t())
        visitTensor(*attribute.mutable_t());
      for (::onnx::TensorProto &tensor : *attribute.mutable_tensors())
        visitTensor(tensor);
      if (attribute.has_g())
        visitGraph(*attribute.mutable_g());
      for (::onnx::GraphProto &graph : *attribute.mutable_graphs())
        visitGraph(graph);
    }
  }
  void visitGraph(::onnx::GraphProto &graph) {
    for (::onnx::TensorProto &tensor : *graph.mutable_initializer())
      visitTensor(tensor);
    // Exporters leave out the shapes of outputs; they are derived anyway, and
    // inputs without one are refused elsewhere.
    for (auto *list : {graph.mutable_input(), graph.mutable_output()})
      for (::onnx::ValueInfoProto &value : *list)
        if (value.type().has_tensor_type())
          value.mutable_type()->mutable_tensor_type()->mutable_shape();
    for (::onnx::NodeProto &node : *graph.mutable_node()) {
      visitAttributes(node);
      if (functions.count({node.domain(), node.op_type()}) ||
          ::onnx::OpSchemaRegistry::Schema(
              node.op_type(),
              static_cast<int>(opsetVersion(copy, node.domain())),
              node.domain()))
        continue;
      // A domain that is not imported stays an error of the checker.
      if (node.domain().empty() || node.domain() == "ai.onnx") {
        node.set_domain(unknownDomain);
        hasUnknown = true;
      }
    }
  }

  ::onnx::ModelProto copy;
  std::set<std::pair<std::string, std::string>> functions;
  bool hasUnknown = false;
};

Status guarded(const std::function<void()> &body) {
  try {
    body();
    return Status::success();
  } catch (const std::exception &error) {
    return Status::error(oneLine(error.what()));
  } catch (...) {
    return Status::error("unknown failure in ONNX's library");
  }
}

} // namespace

std::optional<size_t> nibble::payloadIndex(const ::onnx::TensorProto &tensor) {
  std::optional<size_t> result;
  for (const ::onnx::StringStringEntryProto &entry : tensor.external_data()) {
    if (entry.key() != payloadKey)
      continue;
    const std::string &text = entry.value();
    size_t index = 0;
    auto [end, status] =
        std::from_chars(text.data(), text.data() + text.size(), index);
    if (status == std::errc() && end == text.data() + text.size())
      result = index;
  }
  return result;
}

int64_t nibble::opsetVersion(const ::onnx::ModelProto &model,
                             const std::string &domain) {
  auto normal = [](const std::string &name) {
    return name == "ai.onnx" ? std::string() : name;
  };
  for (const ::onnx::OperatorSetIdProto &opset : model.opset_import())
    if (normal(opset.domain()) == normal(domain))
      return std::clamp<int64_t>(opset.version(), 1, 1 << 20);
  return 1;
}

Expected<::onnx::ModelProto> nibble::checkModel(const StrippedModel &stripped) {
  ::onnx::ModelProto model;
  bool isParsed = false;
  Status status = guarded([&] {
    isParsed = model.ParseFromArray(stripped.bytes.data(),
                                    static_cast<int>(stripped.bytes.size()));
  });
  if (status.isOk() && !isParsed)
    status = Status::error("expects an ONNX model (a protobuf ModelProto)");
  if (status.isOk() && !model.has_graph())
    status = Status::error("expects an ONNX model with a graph, found none");
  if (status.isOk())
    status = guarded(
        [&] { ::onnx::checker::check_model(CheckerCopy(model).model()); });
  if (status.isOk() && model.functions_size())
    status = guarded([&] { ::onnx::inliner::InlineLocalFunctions(model); });
  // A failed inference leaves types open; what needs them says so by name.
  if (status.isOk())
    (void)guarded([&] {
      ::onnx::shape_inference::InferShapes(
          model, ::onnx::OpSchemaRegistry::Instance(),
          ::onnx::ShapeInferenceOptions(/*check_type=*/false,
                                        /*strict_mode=*/0,
                                        /*data_prop=*/true));
    }).isOk();
  if (!status.isOk())
    return status;
  return model;
}
