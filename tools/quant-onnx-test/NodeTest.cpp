//===- NodeTest.cpp - One of ONNX's tests of an operator ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Import, interpret, compile and run; and which failures are refusals by name.
// Whatever is not shown to be such a refusal is a failure.
//
//===----------------------------------------------------------------------===//

#include "NodeTest.h"
#include "TensorFile.h"

#include "nibble/Compiler/Pipelines.h"
#include "nibble/Compiler/Session.h"
#include "nibble/Emulator/Emulator.h"
#include "nibble/Reference/Interpreter.h"
#include "nibble/Runtime/Session.h"
#include "nibble/Support/Dims.h"
#include "nibble/Target/CudaTarget.h"
#include "nibble/codegen/CPU/Kernels.h"
#include "nibble/codegen/Emit/EmitBundle.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/Onnx/ShapeInputs.h"
#include "nibble/dialects/QKernel/QKernel.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>

using namespace mlir;
using namespace nibble;

namespace fs = std::filesystem;

namespace {

Outcome fail(std::string reason) {
  return {Verdict::Fail, std::move(reason), {}};
}
Outcome unsupported(std::string reason) {
  return {Verdict::Unsupported, std::move(reason), {}};
}

/// "Add 'name'" where the importer left both.
std::string nodeName(Location location) {
  auto name = dyn_cast<NameLoc>(location);
  if (!name)
    return "";
  std::string text = "'" + name.getName().str() + "'";
  if (auto type = dyn_cast<NameLoc>(name.getChildLoc()))
    text = type.getName().str() + " " + text;
  return text + ": ";
}

/// Keeps the first error instead of printing it.
class FirstError {
public:
  explicit FirstError(MLIRContext *context)
      : handler(context, [this](Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() == DiagnosticSeverity::Error &&
              text.empty())
            text = nodeName(diagnostic.getLocation()) + diagnostic.str();
          return success();
        }) {}

  /// The refusals that only code generation and the interpreter can name, for
  /// instance because an attribute has a value without an implementation, begin
  /// with the same words everywhere.
  Outcome outcome() const {
    for (const char *refusal :
         {"no CPU code for", "no CUDA code for", "has no reference",
          "no reference for", "result depends on data"})
      if (text.find(refusal) != std::string::npos)
        return unsupported(text);
    return fail(text.empty() ? "failed without an error" : text);
  }

private:
  std::string text;
  ScopedDiagnosticHandler handler;
};

struct DataSet {
  std::vector<Tensor> inputs, expected;
};

/// PREFIX_0.pb, PREFIX_1.pb, ... as far as they exist.
Expected<std::vector<Tensor>> readTensors(const fs::path &folder,
                                          const std::string &prefix) {
  std::vector<Tensor> tensors;
  while (true) {
    fs::path path =
        folder / (prefix + "_" + std::to_string(tensors.size()) + ".pb");
    if (!fs::exists(path))
      return tensors;
    Expected<Tensor> tensor = readTensorFile(path.string());
    if (!tensor)
      return tensor.status();
    tensors.push_back(tensor.take());
  }
}

Expected<std::vector<DataSet>> readDataSets(const std::string &folder) {
  std::vector<DataSet> sets;
  while (true) {
    fs::path path =
        fs::path(folder) / ("test_data_set_" + std::to_string(sets.size()));
    if (!fs::is_directory(path))
      break;
    auto inputs = readTensors(path, "input");
    if (!inputs)
      return inputs.status();
    auto expected = readTensors(path, "output");
    if (!expected)
      return expected.status();
    sets.push_back({inputs.take(), expected.take()});
  }
  if (sets.empty())
    return Status::error("expects test_data_set_0 in '" + folder + "'");
  return sets;
}

/// The inputs under the names by which `interpret` takes them.
Expected<NamedTensors> nameInputs(func::FuncOp main, const DataSet &set) {
  if (main.getNumArguments() != set.inputs.size())
    return Status::error("expects files for " +
                         std::to_string(main.getNumArguments()) +
                         " inputs, got " + std::to_string(set.inputs.size()));
  NamedTensors inputs;
  for (auto [index, tensor] : llvm::enumerate(set.inputs)) {
    auto name = main.getArgAttrOfType<StringAttr>(index, onnx::nameAttrName);
    inputs.emplace_back(name ? name.getValue().str() : std::to_string(index),
                        tensor);
  }
  return inputs;
}

Outcome compareAll(ArrayRef<Tensor> expected, ArrayRef<Tensor> actual) {
  if (expected.size() != actual.size())
    return fail("expects " + std::to_string(expected.size()) +
                " outputs, got " + std::to_string(actual.size()));
  for (size_t i = 0; i < expected.size(); ++i)
    if (Status status = compareTensors(expected[i], actual[i]); !status.isOk())
      return fail("output " + std::to_string(i) + ": " + status.message());
  return {};
}

/// A module and what it is run on. `outcome` is no pass if there is none.
struct Loaded {
  CompilerSession session;
  OwningOpRef<ModuleOp> module; // ends before its context does
  func::FuncOp main;
  std::vector<DataSet> sets;
  std::vector<std::string> operators; ///< with domain, unless ai.onnx
};

/// Operators of all nodes, also of those that are unsupported.
std::vector<std::string> operatorsOf(ModuleOp module) {
  std::set<std::string> names;
  module.walk([&](onnx::NodeOp node) {
    std::string domain = node.getDomain().str();
    bool isStandard = domain.empty() || domain == "ai.onnx";
    names.insert((isStandard ? "" : domain + ".") + node.getOpType().str());
  });
  return {names.begin(), names.end()};
}

Outcome load(const std::string &folder, Loaded &loaded) {
  FirstError error(loaded.session.context());
  ImportOptions options;
  std::vector<ImportProblem> problems;
  options.problems = &problems;
  std::string path = folder + "/model.onnx";
  loaded.module = loaded.session.load(path, options);
  if (!loaded.module)
    return error.outcome();
  loaded.operators = operatorsOf(*loaded.module);
  if (!problems.empty()) {
    const ImportProblem &first = problems.front();
    return unsupported(first.opType + " '" + first.node + "': " + first.reason);
  }
  // Without a list of problems the importer verifies what it made.
  options.problems = nullptr;
  loaded.module = loaded.session.load(path, options);
  if (!loaded.module)
    return error.outcome();
  loaded.main = loaded.module->lookupSymbol<func::FuncOp>("main");
  if (!loaded.main)
    return fail("expects an entry point @main, got none");
  Expected<std::vector<DataSet>> sets = readDataSets(folder);
  if (!sets)
    return fail(sets.status().message());
  loaded.sets = sets.take();
  return {};
}

/// The first node whose operator nothing in Nibble knows.
Outcome findUnknown(ModuleOp module) {
  Outcome outcome;
  module.walk([&](onnx::NodeOp node) {
    if (isInterpretable(node))
      return WalkResult::advance();
    outcome = unsupported(nodeName(node.getLoc()) +
                          "the operator is not implemented");
    return WalkResult::interrupt();
  });
  return outcome;
}

/// The first op of a kernel that has no CPU code.
Outcome findUnlowered(ModuleOp module) {
  Outcome outcome;
  module.walk([&](qkernel::KernelOp kernel) {
    for (Operation &op : kernel.getBody().front().without_terminator())
      if (outcome.verdict == Verdict::Pass && !hasCpuLowering(&op))
        outcome = unsupported(nodeName(op.getLoc()) + "no CPU code for the "
                                                      "operator or its types");
  });
  return outcome;
}

/// Whether a loop or a branch is left, which programs cannot hold.
bool hasControlFlow(ModuleOp module) {
  WalkResult result = module.walk([](onnx::NodeOp node) {
    bool hasBody = llvm::any_of(node->getRegions(),
                                [](Region &region) { return !region.empty(); });
    return hasBody ? WalkResult::interrupt() : WalkResult::advance();
  });
  return result.wasInterrupted();
}

/// Bounds every symbol that is an input's dimension to the input's size.
void bindDims(ModuleOp module, func::FuncOp main, const DataSet &set) {
  Builder builder(module.getContext());
  NamedAttrList bounds;
  for (auto [index, tensor] : llvm::enumerate(set.inputs)) {
    auto dims = main.getArgAttrOfType<ArrayAttr>(index, dimsAttrName);
    if (!dims || dims.size() != tensor.shape().size())
      continue;
    for (auto [dim, size] : llvm::zip(dims, tensor.shape())) {
      StringRef name = cast<StringAttr>(dim).getValue();
      bool isSymbol = !name.empty() &&
                      !std::isdigit(static_cast<unsigned char>(name[0])) &&
                      name.find_first_of(" +-*/(") == StringRef::npos;
      if (isSymbol)
        bounds.set(name, builder.getI64ArrayAttr({size, size}));
    }
  }
  if (!bounds.empty())
    module->setAttr(boundsAttrName, bounds.getDictionary(module.getContext()));
}

Outcome runBundle(const std::string &path, const NamedTensors &inputs,
                  ArrayRef<Tensor> expected) {
  auto bundle = Bundle::open(path);
  if (!bundle)
    return fail(bundle.status().message());
  SessionOptions options;
  options.threads = 1;
  auto session = nibble::Session::create(*bundle, options);
  if (!session)
    return fail(session.status().message());
  for (const auto &[name, tensor] : inputs)
    if (Status status = (*session)->setInput(name, tensor); !status.isOk())
      return fail(status.message());
  if (Status status = (*session)->run(); !status.isOk())
    return fail(status.message());
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < (*session)->entry().outputs.size(); ++i)
    outputs.push_back((*session)->output(i));
  return compareAll(expected, outputs);
}

/// Runs GPU kernels in the emulator.
Outcome runEmulated(ModuleOp module, const NamedTensors &inputs,
                    ArrayRef<Tensor> expected, FirstError &error) {
  FailureOr<NamedTensors> results = emulateGpu(module, "main", inputs);
  if (failed(results))
    return error.outcome();
  std::vector<Tensor> outputs;
  for (auto &[name, tensor] : *results)
    outputs.push_back(tensor);
  return compareAll(expected, outputs);
}

/// Makes the inputs that say shapes, axes or a branch constants, as a user
/// would with --fix. Takes them out of `inputs` and returns their names.
FailureOr<std::vector<std::string>> fixShapeInputs(func::FuncOp main,
                                                   NamedTensors &inputs) {
  DimsAnalysis dims;
  if (failed(dims.run(main)))
    return failure();
  std::vector<std::string> fixed;
  for (unsigned index : onnx::shapeInputs(main, dims))
    fixed.push_back(inputs[index].first);
  for (const std::string &name : fixed) {
    auto input = llvm::find_if(
        inputs, [&](const auto &entry) { return entry.first == name; });
    if (failed(frontend::fixInput(main, name, input->second)))
      return failure();
    inputs.erase(input);
  }
  return fixed;
}

Outcome compileAndRun(Loaded &loaded, const DataSet &set,
                      const BundleOptions &options,
                      std::vector<std::string> &fixed) {
  Expected<NamedTensors> inputs = nameInputs(loaded.main, set);
  if (!inputs)
    return fail(inputs.status().message());
  Recipe recipe;
  bool isCuda = findCudaTarget(options.target) != nullptr;
  recipe.family = isCuda ? "cuda" : "cpu";
  Expected<std::string> pipeline = recipePipeline(recipe);
  if (!pipeline)
    return fail(pipeline.status().message());
  OwningOpRef<ModuleOp> module = loaded.module->clone();
  auto main = module->lookupSymbol<func::FuncOp>("main");
  bindDims(*module, main, set);
  FirstError error(loaded.session.context());
  FailureOr<std::vector<std::string>> names = fixShapeInputs(main, *inputs);
  if (failed(names))
    return error.outcome();
  fixed = *names;
  if (failed(loaded.session.run(*module, *pipeline))) {
    Outcome outcome = error.outcome();
    if (hasControlFlow(*module))
      outcome.verdict = Verdict::Unsupported;
    return outcome;
  }
  if (isCuda)
    return runEmulated(*module, *inputs, set.expected, error);
  if (Outcome found = findUnlowered(*module); found.verdict != Verdict::Pass)
    return found;
  EmitOptions emit;
  emit.output = options.path;
  emit.targets = {options.target};
  emit.helper = options.helper;
  if (failed(emitBundle({*module, {}}, emit)))
    return error.outcome();
  return runBundle(options.path, *inputs, set.expected);
}

} // namespace

Outcome nibble::testImport(const std::string &folder) {
  Loaded loaded;
  Outcome outcome = load(folder, loaded);
  outcome.names = std::move(loaded.operators);
  return outcome;
}

Outcome nibble::testInterpret(const std::string &folder) {
  Loaded loaded;
  if (Outcome outcome = load(folder, loaded); outcome.verdict != Verdict::Pass)
    return outcome;
  if (Outcome found = findUnknown(*loaded.module);
      found.verdict != Verdict::Pass)
    return found;
  FirstError error(loaded.session.context());
  for (const DataSet &set : loaded.sets) {
    Expected<NamedTensors> inputs = nameInputs(loaded.main, set);
    if (!inputs)
      return fail(inputs.status().message());
    FailureOr<NamedTensors> results =
        interpret(*loaded.module, "main", *inputs);
    if (failed(results))
      return error.outcome();
    std::vector<Tensor> outputs;
    for (auto &[name, tensor] : *results)
      outputs.push_back(tensor);
    if (Outcome outcome = compareAll(set.expected, outputs);
        outcome.verdict != Verdict::Pass)
      return outcome;
  }
  return {};
}

Outcome nibble::testCompile(const std::string &folder,
                            const BundleOptions &options) {
  Loaded loaded;
  if (Outcome outcome = load(folder, loaded); outcome.verdict != Verdict::Pass)
    return outcome;
  if (Outcome found = findUnknown(*loaded.module);
      found.verdict != Verdict::Pass)
    return found;
  Outcome outcome;
  for (const DataSet &set : loaded.sets) {
    std::vector<std::string> fixed;
    outcome = compileAndRun(loaded, set, options, fixed);
    outcome.names = std::move(fixed);
    if (outcome.verdict != Verdict::Pass)
      break;
  }
  return outcome;
}
