//===- KernelBench.cpp - How fast linear kernels are ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// See benchmarks/README.md. Each case is a kernel of one packed op, compiled as
// quant-compile does it; codes, scales and activations are random.
//
//===----------------------------------------------------------------------===//

#include "Ceilings.h"

#include "nibble/Target/KernelAbi.h"
#include "nibble/Target/PackedLayout.h"
#include "nibble/codegen/CPU/Kernels.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <sys/mman.h>
#include <time.h>

using namespace mlir;
using namespace nibble;

namespace {

namespace cl = llvm::cl;

cl::opt<int64_t> outputs("out", cl::init(4096), cl::desc("outputs"));
cl::opt<int64_t> inputs("in", cl::init(14336), cl::desc("inputs"));
cl::list<int64_t> rowCounts("rows", cl::CommaSeparated,
                            cl::desc("rows of x (default: 1,64)"));
cl::opt<double> seconds("seconds", cl::init(1),
                        cl::desc("time for each line of the table"));
cl::opt<bool> asJson("json", cl::desc("print JSON"));
cl::opt<bool> asAssembly("asm", cl::desc("print the code, run nothing"));
cl::opt<int64_t> poolMib("pool", cl::init(1024),
                         cl::desc("MiB of weights to go through"));
cl::list<std::string> names(cl::Positional, cl::desc("[case]..."));

[[noreturn]] void die(const llvm::Twine &message) {
  llvm::errs() << "error: " << message << "\n";
  std::exit(1);
}

/// A way to quantize a layer.
struct Case {
  const char *name;
  ElementType element;
  int64_t group; ///< 0: all inputs
  ElementType scales;
  bool isInteger; ///< activations of 8 bits, not float32
  int64_t xGroup; ///< 0: all inputs
  bool sparse24 = false;
};

constexpr ElementType si4 = ElementType::signedInt(4),
                      si8 = ElementType::signedInt(8),
                      f16 = ElementType::float16(),
                      f32 = ElementType::float32();
constexpr Case cases[] = {
    {"int4-g32", si4, 32, f16, true, 0},
    {"int4-g32-xg32", si4, 32, f16, true, 32},
    {"int4-g128", si4, 128, f16, true, 0},
    {"int8-channel", si8, 0, f32, true, 0},
    {"int8-g32", si8, 32, f16, true, 0},
    {"int3-g128", ElementType::signedInt(3), 128, f16, true, 0},
    {"int2-g64", ElementType::signedInt(2), 64, f16, true, 0},
    {"float4-g32", si4, 32, f16, false, 0},
    {"float4-g32-24", si4, 32, f16, false, 0, true},
    {"float4-channel", si4, 0, f32, false, 0},
    {"float4-channel-24", si4, 0, f32, false, 0, true},
    {"float8-channel", si8, 0, f32, false, 0},
    {"float8-channel-24", si8, 0, f32, false, 0, true},
    {"float16", f16, 0, f32, false, 0},
    {"float16-24", f16, 0, f32, false, 0, true},
    {"float32", f32, 0, f32, false, 0},
    {"float32-24", f32, 0, f32, false, 0, true},
};

RowInterleavedLayout layoutOf(const Case &wanted) {
  RowInterleavedLayout layout;
  layout.element = wanted.element;
  layout.out = outputs;
  layout.in = inputs;
  layout.group = wanted.group ? wanted.group : inputs;
  layout.scales = wanted.scales;
  layout.sparse24 = wanted.sparse24;
  return layout;
}

std::string mlirName(ElementType type) {
  std::string name = type.str();
  return type.kind == ElementType::Kind::Signed ? name.substr(1) : name;
}

/// The kernel as text, for any number of rows m.
std::string kernelText(const Case &wanted) {
  RowInterleavedLayout layout = layoutOf(wanted);
  std::string in = std::to_string(layout.in), out = std::to_string(layout.out);
  int64_t xGroup = wanted.xGroup ? wanted.xGroup : layout.in;
  std::string xGroups = std::to_string((layout.in + xGroup - 1) / xGroup);
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
  if (wanted.isInteger) {
    add("%x", "\"m\", \"" + in + "\"", "tensor<?x" + in + "xi8>");
    add("%xs", "\"m\", \"" + xGroups + "\"", "tensor<?x" + xGroups + "xf32>");
    text = "qkernel.packed_integer_linear %x scales %xs group " +
           std::to_string(xGroup) + ", %w scales %s";
  } else {
    add("%x", "\"m\", \"" + in + "\"", "tensor<?x" + in + "xf32>");
    text = "qkernel.packed_linear %x, %w";
    if (layout.element.isInteger())
      text += " scales %s";
  }
  addFlat("%w", layout.weightBytes(), "ui8");
  if (layout.element.isInteger())
    addFlat("%s", layout.zeroBytes(), mlirName(layout.scales));
  std::string result = "tensor<?x" + out + "xf32>";
  return "qkernel.kernel @k scalars [\"m\"] args [" + dims + "] {\n^bb0(" +
         operands + "):\n  %r = " + text +
         " layout <element = " + mlirName(layout.element) + ", out = " + out +
         ", in = " + in + ", group = " + std::to_string(layout.group) +
         ", scales = " + mlirName(layout.scales) +
         (layout.sparse24 ? ", sparse24 = true" : "") + "> : (" + types +
         ") -> " + result + "\n  qkernel.yield %r : " + result + "\n}\n";
}

/// Code that can be called, and its number of tasks.
struct CompiledKernel {
  CpuKernel function;
  DimExpr tasks;
};

CompiledKernel compile(MLIRContext &context, const Case &wanted,
                       llvm::StringRef helper) {
  auto module = parseSourceString<ModuleOp>(kernelText(wanted), &context);
  if (!module)
    die("cannot build the kernel");
  FailureOr<LoweredKernels> lowered = lowerKernels(*module);
  if (failed(lowered))
    die("cannot lower the kernel");
  FailureOr<CodeImage> image =
      compileImage(*lowered, cpuTargets().front(), helper, asAssembly);
  if (failed(image))
    die("cannot compile the kernel");
  size_t size = image->bytes.size();
  if (asAssembly) {
    llvm::outs() << llvm::StringRef(
        reinterpret_cast<const char *>(image->bytes.data()), size);
    return {};
  }
  void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    die("cannot map memory");
  std::memcpy(memory, image->bytes.data(), size);
  if (mprotect(memory, size, PROT_READ | PROT_EXEC))
    die("cannot make code executable");
  return {reinterpret_cast<CpuKernel>(static_cast<char *>(memory) +
                                      image->offsets["k"]),
          lowered->kernels.front().tasks};
}

/// Random bytes, aligned to pages.
class Pool {
public:
  explicit Pool(size_t bytes) : size(bytes) {
    void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
      die("cannot map " + llvm::Twine(size) +
          " bytes; choose a smaller --pool");
    madvise(memory, size, MADV_HUGEPAGE);
    data = static_cast<std::byte *>(memory);
    std::mt19937_64 random(1);
    constexpr size_t pattern = 1 << 16;
    for (size_t i = 0; i < std::min(size, pattern); i += 8) {
      // As floats of 16 or 32 bits, of usual size: others may be slow.
      uint64_t value = (random() & ~0x4000400040004000) | 0x2000200020002000;
      std::memcpy(data + i, &value, std::min<size_t>(8, size - i));
    }
    for (size_t i = pattern; i < size; i += pattern)
      std::memcpy(data + i, data, std::min(pattern, size - i));
  }
  ~Pool() { munmap(data, size); }
  Pool(const Pool &) = delete;

  std::byte *data;
  size_t size;
};

/// Seconds of this thread's processor: time in which others run does not count.
double timeOf(llvm::function_ref<void()> work) {
  auto now = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * time.tv_nsec;
  };
  double start = now();
  work();
  return now() - start;
}

/// The run that others disturbed least.
double best(const std::vector<double> &times) {
  return *std::ranges::min_element(times);
}

struct Measurement {
  std::string name;
  int64_t rows;
  double seconds;                ///< of the best run
  double bandwidth, operations;  ///< per second
  double readBandwidth, ceiling; ///< measured in between
};

Measurement measure(const Case &wanted, const CompiledKernel &kernel,
                    int64_t rows, const Pool &pool) {
  RowInterleavedLayout layout = layoutOf(wanted);
  // Scales of 0 would do, but for denormal numbers that random bits may be.
  Pool x(static_cast<size_t>(rows * layout.in * 4));
  std::vector<float> xScales(static_cast<size_t>(rows * layout.in), 0.01f);
  if (!wanted.isInteger)
    std::ranges::fill(std::span(reinterpret_cast<float *>(x.data), x.size / 4),
                      0.5f);
  std::vector<uint16_t> scales(layout.scaleBytes() / 2, 0x2020);
  std::vector<float> y(static_cast<size_t>(rows * layout.out));
  size_t weightBytes = llvm::alignTo(layout.weightBytes(), 256);
  size_t copies = std::max<size_t>(1, pool.size / weightBytes), next = 0;
  if (pool.size < weightBytes)
    die("expects --pool of at least " + llvm::Twine(weightBytes >> 20) +
        " MiB for these sizes");

  int64_t tasks =
      kernel.tasks
          .evaluate([&](const std::string &) -> std::optional<int64_t> {
            return rows;
          })
          .take();
  auto run = [&] {
    std::byte *weights = pool.data + next++ % copies * weightBytes;
    std::vector<void *> buffers = {x.data};
    if (wanted.isInteger)
      buffers.push_back(xScales.data());
    buffers.push_back(weights);
    if (layout.element.isInteger())
      buffers.push_back(scales.data());
    buffers.push_back(y.data());
    kernel.function(buffers.data(), &rows, 0, tasks);
  };
  volatile uint64_t sink = 0;
  std::vector<double> runs, reads, chains;
  constexpr size_t chainRounds = 1 << 18, readBytes = 64 << 20;
  double spent = 0;
  run();
  while (spent < seconds || runs.size() < 3) {
    runs.push_back(timeOf(run));
    size_t at = runs.size() * readBytes % (pool.size - readBytes + 1);
    reads.push_back(timeOf([&] {
      sink = bench::readAll(pool.data + at / 4096 * 4096, readBytes);
    }));
    chains.push_back(timeOf([&] { sink = bench::multiplyBytes(chainRounds); }));
    spent += runs.back() + reads.back() + chains.back();
  }
  double time = best(runs);
  double bytes =
      static_cast<double>(layout.weightBytes() + layout.scaleBytes());
  return {wanted.name,
          rows,
          time,
          bytes / time,
          2.0 * rows * layout.out * layout.in / time,
          readBytes / best(reads),
          chainRounds * bench::operationsPerRound / best(chains)};
}

void printLine(const Measurement &line) {
  llvm::outs() << llvm::format(
      "%-18s %4lld %10.0f %7.1f %6.2f %8.1f %6.2f\n", line.name.c_str(),
      static_cast<long long>(line.rows), line.seconds * 1e6,
      line.bandwidth / 1e9, line.bandwidth / line.readBandwidth,
      line.operations / 1e9, line.operations / line.ceiling);
}

void printJson(llvm::ArrayRef<Measurement> lines) {
  llvm::json::OStream json(llvm::outs(), 2);
  json.array([&] {
    for (const Measurement &line : lines)
      json.object([&] {
        json.attribute("case", line.name);
        json.attribute("out", static_cast<int64_t>(outputs));
        json.attribute("in", static_cast<int64_t>(inputs));
        json.attribute("rows", line.rows);
        json.attribute("seconds", line.seconds);
        json.attribute("bytes_per_second", line.bandwidth);
        json.attribute("operations_per_second", line.operations);
        json.attribute("read_bytes_per_second", line.readBandwidth);
        json.attribute("chain_operations_per_second", line.ceiling);
      });
  });
  llvm::outs() << "\n";
}

} // namespace

int main(int argc, char **argv) {
  cl::ParseCommandLineOptions(argc, argv, "how fast linear kernels are\n");
  if (outputs < 1 || inputs < 1 || poolMib < 65)
    die("expects sizes of at least 1 and a pool of at least 65 MiB");
  std::string self = llvm::sys::fs::getMainExecutable(argv[0], &outputs);
  llvm::SmallString<128> helper(llvm::sys::path::parent_path(self));
  llvm::sys::path::append(helper, "nibble-codegen");
  std::vector<int64_t> rows(rowCounts.begin(), rowCounts.end());
  if (rows.empty())
    rows = {1, 64};

  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<onnx::OnnxDialect, qmodel::QModelDialect,
                      qkernel::QKernelDialect>();
  for (const std::string &name : names)
    if (llvm::none_of(cases, [&](const Case &c) { return name == c.name; }))
      die("expects a case of benchmarks/kernels/KernelBench.cpp, got '" + name +
          "'");
  Pool pool(static_cast<size_t>(poolMib) << 20);
  if (!asJson && !asAssembly)
    llvm::outs() << llvm::format("%-18s %4s %10s %7s %6s %8s %6s\n", "case",
                                 "rows", "us", "GB/s", "read", "GOP/s",
                                 "chain");
  std::vector<Measurement> lines;
  for (const Case &wanted : cases) {
    if (!names.empty() && llvm::none_of(names, [&](const std::string &name) {
          return name == wanted.name;
        }))
      continue;
    CompiledKernel kernel = compile(context, wanted, helper);
    for (int64_t count : rows) {
      if (asAssembly)
        continue;
      lines.push_back(measure(wanted, kernel, count, pool));
      if (!asJson)
        printLine(lines.back());
    }
  }
  if (asJson)
    printJson(lines);
  return 0;
}
