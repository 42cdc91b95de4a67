//===- KernelTest.cpp - Run kernels of a .mlir file on .npz arrays --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   nibble-kernel-test kernels.mlir in.npz out.npz nibble-codegen
//   nibble-kernel-test kernels.mlir llvm|asm [nibble-codegen]
//
// NIBBLE_TARGET names another target than x86-64-v3; `portable` is x86-64-v3
// with dot products as plain arithmetic, as on processors that have none.
// `in.npz` holds, for each kernel K, its arguments "K.0", "K.1", ... and its
// scalars "K.scalars" (int64); `out.npz` receives the results "K.0", ... Tasks
// run in pieces of uneven size, in no particular order. Every buffer ends at a
// page that cannot be accessed, so that one byte too many ends the test.
//
//===----------------------------------------------------------------------===//

#include "nibble/Formats/Npy.h"
#include "nibble/Support/Dims.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/Target/KernelAbi.h"
#include "nibble/codegen/CPU/Kernels.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace nibble;

namespace {

[[noreturn]] void die(const llvm::Twine &message) {
  llvm::errs() << "error: " << message << "\n";
  std::exit(1);
}

/// Bytes that end where accessible memory ends.
class GuardedBytes {
public:
  explicit GuardedBytes(size_t size) {
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    length = (size + page - 1) / page * page + page;
    base = mmap(nullptr, length, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
      die("cannot map memory");
    char *guard = static_cast<char *>(base) + length - page;
    mprotect(guard, page, PROT_NONE);
    data = guard - size;
  }
  ~GuardedBytes() { munmap(base, length); }
  GuardedBytes(const GuardedBytes &) = delete;

  void *base = nullptr;
  char *data = nullptr;
  size_t length = 0;
};

/// The image in memory that can be executed.
class LoadedImage {
public:
  explicit LoadedImage(const CodeImage &image) : length(image.bytes.size()) {
    base = mmap(nullptr, length, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
      die("cannot map memory");
    std::memcpy(base, image.bytes.data(), length);
    if (mprotect(base, length, PROT_READ | PROT_EXEC))
      die("cannot make code executable");
  }
  ~LoadedImage() { munmap(base, length); }
  LoadedImage(const LoadedImage &) = delete;

  CpuKernel kernel(uint64_t offset) const {
    return reinterpret_cast<CpuKernel>(static_cast<char *>(base) + offset);
  }

private:
  void *base = nullptr;
  size_t length;
};

class KernelRun {
public:
  KernelRun(qkernel::KernelOp op, const KernelSignature &signature,
            const NamedTensors &inputs)
      : op(op), signature(signature), inputs(inputs) {}

  void run(CpuKernel kernel, NamedTensors &outputs);

private:
  void readScalars();
  int64_t evaluate(const DimExpr &expression);
  void runTasks(CpuKernel kernel);
  const Tensor &input(const llvm::Twine &suffix);

  qkernel::KernelOp op;
  const KernelSignature &signature;
  const NamedTensors &inputs;
  std::vector<int64_t> scalars;
  std::vector<void *> buffers;
};

const Tensor &KernelRun::input(const llvm::Twine &suffix) {
  std::string name = signature.name + "." + suffix.str();
  const Tensor *tensor = find(inputs, name);
  if (!tensor)
    die("expects an array '" + name + "'");
  return *tensor;
}

void KernelRun::readScalars() {
  if (signature.scalars.empty())
    return;
  const Tensor &values = input("scalars");
  for (uint64_t i = 0; i < values.size(); ++i)
    scalars.push_back(values.integerAt(i));
  if (scalars.size() != signature.scalars.size())
    die("expects one scalar per symbol");
}

int64_t KernelRun::evaluate(const DimExpr &expression) {
  Expected<int64_t> value = expression.evaluate(
      [&](const std::string &name) -> std::optional<int64_t> {
        for (size_t i = 0; i < scalars.size(); ++i)
          if (signature.scalars[i] == name)
            return scalars[i];
        return std::nullopt;
      });
  if (!value)
    die(value.status().message());
  return *value;
}

/// Uneven pieces, every second one first; NIBBLE_BENCH=N times one whole run.
void KernelRun::runTasks(CpuKernel kernel) {
  int64_t tasks = evaluate(signature.tasks);
  std::vector<std::pair<int64_t, int64_t>> pieces;
  uint64_t random = 12345;
  for (int64_t begin = 0; begin < tasks;) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    int64_t end = std::min<int64_t>(tasks, begin + 1 + (random >> 33) % 7);
    pieces.push_back({begin, end});
    begin = end;
  }
  for (size_t parity : {1, 0})
    for (size_t i = parity; i < pieces.size(); i += 2)
      kernel(buffers.data(), scalars.data(), pieces[i].first, pieces[i].second);
  const char *rounds = std::getenv("NIBBLE_BENCH");
  if (!rounds)
    return;
  double best = 1e9;
  for (int i = 0; i < std::atoi(rounds); ++i) {
    auto start = std::chrono::steady_clock::now();
    kernel(buffers.data(), scalars.data(), 0, tasks);
    std::chrono::duration<double> time =
        std::chrono::steady_clock::now() - start;
    best = std::min(best, time.count());
  }
  llvm::outs() << signature.name << ": " << llvm::format("%.1f", best * 1e6)
               << " us\n";
}

void KernelRun::run(CpuKernel kernel, NamedTensors &outputs) {
  readScalars();
  DimsAnalysis dims;
  if (failed(dims.run(op)))
    std::exit(1);
  Block &body = op.getBody().front();
  std::vector<std::unique_ptr<GuardedBytes>> memory;
  for (unsigned i = 0; i < body.getNumArguments(); ++i) {
    const Tensor &tensor = input(llvm::Twine(i));
    memory.push_back(std::make_unique<GuardedBytes>(tensor.bytes().size()));
    std::memcpy(memory.back()->data, tensor.bytes().data(),
                tensor.bytes().size());
    buffers.push_back(memory.back()->data);
  }
  std::vector<Tensor> results;
  for (Value value : body.getTerminator()->getOperands()) {
    std::vector<int64_t> shape;
    for (const DimExpr &size : *dims.of(value).shape)
      shape.push_back(evaluate(size));
    std::optional<ElementType> type =
        fromMlirType(cast<ShapedType>(value.getType()).getElementType());
    if (!type)
      die("a result of an unknown type");
    results.push_back(Tensor::allocate(*type, shape));
    size_t size = results.back().bytes().size();
    memory.push_back(std::make_unique<GuardedBytes>(size));
    std::memset(memory.back()->data, 0xa5, size);
    buffers.push_back(memory.back()->data);
  }
  runTasks(kernel);
  for (size_t i = 0; i < results.size(); ++i) {
    std::span<std::byte> bytes = results[i].mutableBytes();
    std::memcpy(bytes.data(), buffers[body.getNumArguments() + i],
                bytes.size());
    outputs.push_back({signature.name + "." + std::to_string(i), results[i]});
  }
}

CpuTarget chosenTarget() {
  const char *variable = std::getenv("NIBBLE_TARGET");
  std::string name = variable ? variable : "x86-64-v3";
  bool isPortable = name == "portable";
  const CpuTarget *target = findCpuTarget(isPortable ? "x86-64-v3" : name);
  if (!target)
    die("expects a target of " + cpuTargetNames() + ", or portable; got '" +
        name + "'");
  CpuTarget result = *target;
  if (isPortable)
    result.dot = DotProductKind::Portable;
  return result;
}

int print(const LoweredKernels &lowered, llvm::StringRef what,
          llvm::StringRef helper) {
  FailureOr<std::string> text =
      what == "llvm" ? printLlvm(lowered)
                     : makeCodeFile(lowered, helper, CodeFile::Assembly);
  if (failed(text))
    return 1;
  llvm::outs() << *text;
  return 0;
}

int runAll(ModuleOp module, const LoweredKernels &lowered, char **argv) {
  FailureOr<CodeImage> image = compileImage(lowered, argv[4]);
  if (failed(image))
    return 1;
  LoadedImage loaded(*image);
  Expected<NamedTensors> inputs = readNpz(argv[2]);
  if (!inputs)
    die(inputs.status().message());
  NamedTensors outputs;
  size_t next = 0;
  for (auto op : module.getOps<qkernel::KernelOp>()) {
    const KernelSignature &signature = lowered.kernels[next++];
    KernelRun(op, signature, *inputs)
        .run(loaded.kernel(image->offsets[signature.name]), outputs);
  }
  if (Status status = writeNpz(argv[3], outputs); !status.isOk())
    die(status.message());
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 3) {
    llvm::errs() << "usage: nibble-kernel-test kernels.mlir in.npz out.npz "
                    "nibble-codegen\n"
                    "       nibble-kernel-test kernels.mlir llvm|asm "
                    "[nibble-codegen]\n";
    return 2;
  }
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<onnx::OnnxDialect, qmodel::QModelDialect,
                      qkernel::QKernelDialect>();
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(argv[1], &context);
  if (!module)
    return 1;
  FailureOr<LoweredKernels> lowered = lowerKernels(*module, chosenTarget());
  if (failed(lowered))
    return 1;
  llvm::StringRef what = argv[2];
  if (what == "llvm" || what == "asm")
    return print(*lowered, what, argc > 3 ? argv[3] : "");
  if (argc != 5)
    die("expects four arguments");
  return runAll(*module, *lowered, argv);
}
