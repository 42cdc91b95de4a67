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

#include "Cases.h"
#include "Ceilings.h"

#include "nibble/Base/ThreadPool.h"
#include "nibble/Runtime/Variant.h"
#include "nibble/Target/KernelAbi.h"
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
#include <atomic>
#include <cstring>
#include <random>
#include <sys/mman.h>
#include <time.h>

using namespace mlir;
using namespace nibble;
using namespace nibble::bench;

namespace {

namespace cl = llvm::cl;

cl::list<int64_t> outputs("out", cl::CommaSeparated,
                          cl::desc("outputs (default: 4096)"));
cl::list<int64_t> inputs("in", cl::CommaSeparated,
                         cl::desc("inputs, as many numbers as outputs or one "
                                  "(default: 14336)"));
cl::list<int64_t> rowCounts("rows", cl::CommaSeparated,
                            cl::desc("rows of x (default: 1,64)"));
cl::list<unsigned> threadCounts("workers", cl::CommaSeparated,
                                cl::desc("threads (default: 1)"));
cl::opt<double> seconds("seconds", cl::init(1),
                        cl::desc("time for each line of the table"));
cl::opt<bool> asJson("json", cl::desc("print JSON"));
cl::opt<bool> asAssembly("asm", cl::desc("print the code, run nothing"));
cl::opt<int64_t> poolMib("pool", cl::init(1024),
                         cl::desc("MiB of weights to go through"));
cl::opt<std::string>
    targetName("target",
               cl::desc("instruction set (default: the processor's best)"));
cl::list<std::string> names(cl::Positional,
                            cl::desc("[case]... (see kernels/Cases.h)"));

[[noreturn]] void die(const llvm::Twine &message) {
  llvm::errs() << "error: " << message << "\n";
  std::exit(1);
}

struct Size {
  int64_t out, in;
};

/// Code that can be called, and its number of tasks.
struct CompiledKernel {
  CpuKernel function;
  DimExpr tasks;
};

CompiledKernel compile(MLIRContext &context, const Case &wanted, Size size,
                       llvm::StringRef helper) {
  auto module = parseSourceString<ModuleOp>(
      wanted.kernelText(size.out, size.in), &context);
  if (!module)
    die("cannot build the kernel");
  FailureOr<LoweredKernels> lowered =
      lowerKernels(*module, *findCpuTarget(targetName));
  if (failed(lowered))
    die("cannot lower the kernel");
  if (asAssembly) {
    FailureOr<std::string> text =
        makeCodeFile(*lowered, helper, CodeFile::Assembly);
    if (failed(text))
      die("cannot compile the kernel");
    llvm::outs() << *text;
    return {};
  }
  FailureOr<CodeImage> image = compileImage(*lowered, helper);
  if (failed(image))
    die("cannot compile the kernel");
  size_t bytes = image->bytes.size();
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    die("cannot map memory");
  std::memcpy(memory, image->bytes.data(), bytes);
  if (mprotect(memory, bytes, PROT_READ | PROT_EXEC))
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

/// Seconds that `work` takes: of this thread's processor if it is the only one,
/// so that time in which others run does not count.
double timeOf(unsigned threads, llvm::function_ref<void()> work) {
  auto now = [&] {
    timespec time;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC,
                  &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * time.tv_nsec;
  };
  double start = now();
  work();
  return now() - start;
}

/// What runs on a pool of threads take. Others disturb them, so the best
/// counts.
class Clock {
public:
  explicit Clock(unsigned threads) : pool(threads), threads(threads) {}

  /// `body(begin, end)` over [0, total) on all threads.
  double run(int64_t total, llvm::function_ref<void(int64_t, int64_t)> body) {
    double time = timeOf(threads, [&] { pool.parallelFor(total, body); });
    spent += time;
    return time;
  }
  /// `body` once for each thread, with its number.
  double runEach(llvm::function_ref<void(int64_t)> body) {
    return run(threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        body(i);
    });
  }

  ThreadPool pool;
  unsigned threads;
  double spent = 0;
};

struct Measurement {
  std::string name;
  Size size;
  int64_t rows;
  unsigned threads;
  double seconds = 1e9;             ///< of the best run
  double bytes = 0, operations = 0; ///< of a run
  // Measured in between, per second.
  double readBandwidth = 0, chain = 0, narrowChain = 0;

  double bandwidth() const { return bytes / seconds; }
  double rate() const { return operations / seconds; }
};

/// Chains that bound a kernel: the target's usual one, and what sums of
/// products that stay in 16 bits allow.
std::pair<Chain, Chain> chainsOf(const Case &wanted, const CpuTarget &target) {
  bool isWide = target.vectorBytes >= 64;
  if (!wanted.isInteger) {
    Chain chain = isWide ? Chain::Floats512 : Chain::Floats;
    return {chain, chain};
  }
  if (target.dot == DotProductKind::Avx2)
    return {Chain::Bytes, Chain::NarrowBytes};
  Chain chain = isWide ? Chain::DotBytes512 : Chain::DotBytes;
  return {chain, chain};
}

/// Measures the ceilings once, each with one of its variants in turn.
void measureCeilings(Clock &clock, const Pool &pool,
                     std::pair<Chain, Chain> chains, size_t turn,
                     Measurement &result) {
  constexpr size_t bytes = 32 << 20, rounds = 1 << 17;
  std::atomic<uint64_t> sink = 0;
  size_t all = bytes * clock.threads;
  size_t at = turn * all % (pool.size - all + 1) / 4096 * 4096;
  ReadPattern pattern = readPatterns[turn % std::size(readPatterns)];
  double time = clock.runEach([&](int64_t i) {
    sink ^= readAll(pool.data + at + i * bytes, bytes, pattern);
  });
  result.readBandwidth = std::max(result.readBandwidth, all / time);
  auto rateOf = [&](Chain chain) {
    double time =
        clock.runEach([&](int64_t) { sink ^= multiply(chain, rounds); });
    return rounds * operationsPerRound(chain) * clock.threads / time;
  };
  if (turn % 2 || chains.first == chains.second)
    result.chain = std::max(result.chain, rateOf(chains.first));
  else
    result.narrowChain = std::max(result.narrowChain, rateOf(chains.second));
}

Measurement measure(const Case &wanted, Size size, const CompiledKernel &kernel,
                    int64_t rows, Clock &clock, const Pool &pool) {
  RowInterleavedLayout layout = wanted.layout(size.out, size.in);
  // Scales of 0 would do, but for denormal numbers that random bits may be.
  Pool x(static_cast<size_t>(rows * layout.in * 4));
  std::vector<float> xScales(static_cast<size_t>(rows * layout.in), 0.01f);
  if (!wanted.isInteger)
    std::ranges::fill(std::span(reinterpret_cast<float *>(x.data), x.size / 4),
                      0.5f);
  std::vector<float> y(static_cast<size_t>(rows * layout.out));
  // What a layer reads lies together, and comes from memory each time.
  uint64_t weightBytes = llvm::alignTo(layout.weightBytes(), 256),
           scaleBytes = llvm::alignTo(layout.scaleBytes(), 256),
           zeroBytes =
               wanted.hasZeros ? llvm::alignTo(layout.zeroBytes(), 256) : 0;
  uint64_t layerBytes = weightBytes + scaleBytes + zeroBytes;
  size_t copies = pool.size / layerBytes, next = 0;
  if (copies == 0)
    die("expects --pool of at least " + llvm::Twine((layerBytes >> 20) + 1) +
        " MiB for these sizes");
  int64_t tasks =
      kernel.tasks
          .evaluate([&](const std::string &) -> std::optional<int64_t> {
            return rows;
          })
          .take();
  auto run = [&] {
    std::byte *layer = pool.data + next++ % copies * layerBytes;
    std::vector<void *> buffers = {x.data};
    if (wanted.isInteger)
      buffers.push_back(xScales.data());
    buffers.push_back(layer);
    if (layout.element.isInteger())
      buffers.push_back(layer + weightBytes);
    if (wanted.hasZeros)
      buffers.push_back(layer + weightBytes + scaleBytes);
    buffers.push_back(y.data());
    return clock.run(tasks, [&](int64_t begin, int64_t end) {
      kernel.function(buffers.data(), &rows, begin, end);
    });
  };

  Measurement result = {wanted.name, size, rows, clock.threads};
  result.bytes =
      static_cast<double>(layout.weightBytes() + layout.scaleBytes());
  if (wanted.hasZeros)
    result.bytes += static_cast<double>(layout.zeroBytes());
  result.operations = 2.0 * rows * layout.out * layout.in;
  auto chains = chainsOf(wanted, *findCpuTarget(targetName));
  run();
  double start = clock.spent;
  for (size_t turn = 0; turn < 8 || clock.spent - start < seconds; ++turn) {
    result.seconds = std::min(result.seconds, run());
    measureCeilings(clock, pool, chains, turn, result);
  }
  result.narrowChain = std::max(result.narrowChain, result.chain);
  return result;
}

void printHeader() {
  llvm::outs() << "target " << targetName << "\n"
               << llvm::format("%-18s %11s %4s %2s %9s %6s %5s %7s %5s %6s\n",
                               "case", "out x in", "rows", "t", "us", "GB/s",
                               "read", "GOP/s", "chain", "narrow");
}

void printLine(const Measurement &line) {
  std::string size =
      std::to_string(line.size.out) + "x" + std::to_string(line.size.in);
  llvm::outs() << llvm::format(
      "%-18s %11s %4lld %2u %9.0f %6.1f %5.2f %7.1f %5.2f %6.2f\n",
      line.name.c_str(), size.c_str(), static_cast<long long>(line.rows),
      line.threads, line.seconds * 1e6, line.bandwidth() / 1e9,
      line.bandwidth() / line.readBandwidth, line.rate() / 1e9,
      line.rate() / line.chain, line.rate() / line.narrowChain);
  llvm::outs().flush();
}

void printJson(llvm::ArrayRef<Measurement> lines) {
  llvm::json::OStream json(llvm::outs(), 2);
  json.array([&] {
    for (const Measurement &line : lines)
      json.object([&] {
        json.attribute("case", line.name);
        json.attribute("target", targetName.getValue());
        json.attribute("out", line.size.out);
        json.attribute("in", line.size.in);
        json.attribute("rows", line.rows);
        json.attribute("threads", line.threads);
        json.attribute("seconds", line.seconds);
        json.attribute("bytes", line.bytes);
        json.attribute("operations", line.operations);
        json.attribute("bytes_per_second", line.bandwidth());
        json.attribute("operations_per_second", line.rate());
        json.attribute("read_bytes_per_second", line.readBandwidth);
        json.attribute("chain_operations_per_second", line.chain);
        json.attribute("narrow_chain_operations_per_second", line.narrowChain);
      });
  });
  llvm::outs() << "\n";
}

//===----------------------------------------------------------------------===//
// The command line
//===----------------------------------------------------------------------===//

void chooseTarget() {
  if (targetName.empty())
    targetName = bestTarget();
  if (!findCpuTarget(targetName))
    die("expects a target of " + cpuTargetNames() + "; got '" + targetName +
        "'");
  VariantScore score = scoreVariant(targetName);
  if (!asAssembly && score.score == 0)
    die("expects a target that this processor runs, which " + score.reason +
        "; got '" + targetName + "'");
}

std::vector<Case> chosenCases() {
  std::vector<Case> cases;
  auto add = [&](const std::string &name) {
    std::optional<Case> parsed = parseCase(name);
    if (!parsed)
      die("expects a case as benchmarks/kernels/Cases.h names them, such as "
          "int4-g32; got '" +
          name + "'");
    cases.push_back(*parsed);
  };
  for (const std::string &name : names)
    add(name);
  if (names.empty())
    for (const char *name : usualCases())
      add(name);
  return cases;
}

std::vector<Size> chosenSizes() {
  if (outputs.empty())
    outputs.push_back(4096);
  if (inputs.empty())
    inputs.push_back(14336);
  if (inputs.size() != 1 && inputs.size() != outputs.size())
    die("expects one number of inputs, or as many as outputs, " +
        llvm::Twine(outputs.size()) + "; got " + llvm::Twine(inputs.size()));
  std::vector<Size> sizes;
  for (size_t i = 0; i < outputs.size(); ++i) {
    Size size = {outputs[i], inputs[inputs.size() == 1 ? 0 : i]};
    if (size.out < 1 || size.in < 1)
      die("expects sizes of at least 1");
    sizes.push_back(size);
  }
  return sizes;
}

} // namespace

int main(int argc, char **argv) {
  cl::ParseCommandLineOptions(argc, argv, "how fast linear kernels are\n");
  chooseTarget();
  std::vector<Case> cases = chosenCases();
  std::vector<Size> sizes = chosenSizes();
  if (rowCounts.empty()) {
    rowCounts.push_back(1);
    rowCounts.push_back(64);
  }
  if (threadCounts.empty())
    threadCounts.push_back(1);
  if (poolMib < 64 * *std::ranges::max_element(threadCounts))
    die("expects a pool of at least 64 MiB per thread");
  std::string self = llvm::sys::fs::getMainExecutable(argv[0], &outputs);
  llvm::SmallString<128> helper(llvm::sys::path::parent_path(self));
  llvm::sys::path::append(helper, "nibble-codegen");

  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<onnx::OnnxDialect, qmodel::QModelDialect,
                      qkernel::QKernelDialect>();
  if (asAssembly) {
    for (const Case &wanted : cases)
      for (Size size : sizes)
        compile(context, wanted, size, helper);
    return 0;
  }
  Pool pool(static_cast<size_t>(poolMib) << 20);
  if (!asJson)
    printHeader();
  std::vector<Measurement> lines;
  for (unsigned threads : threadCounts) {
    Clock clock(threads);
    for (const Case &wanted : cases)
      for (Size size : sizes) {
        CompiledKernel kernel = compile(context, wanted, size, helper);
        for (int64_t rows : rowCounts) {
          lines.push_back(measure(wanted, size, kernel, rows, clock, pool));
          if (!asJson)
            printLine(lines.back());
        }
      }
  }
  if (asJson)
    printJson(lines);
  return 0;
}
