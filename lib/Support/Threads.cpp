//===- Threads.cpp - The threads of a compilation -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Kept by a dialect of its own, as the weight store is: it lives and dies with
// the context.
//
//===----------------------------------------------------------------------===//

#include "nibble/Support/Threads.h"

#include "mlir/IR/Dialect.h"
#include "mlir/IR/MLIRContext.h"

using namespace mlir;

namespace {

class ThreadsDialect : public Dialect {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ThreadsDialect)
  static constexpr StringLiteral getDialectNamespace() {
    return "nibble_threads";
  }
  explicit ThreadsDialect(MLIRContext *context)
      : Dialect(getDialectNamespace(), context, TypeID::get<ThreadsDialect>()),
        pool(std::make_unique<nibble::ThreadPool>(1)) {}

  std::unique_ptr<nibble::ThreadPool> pool;
};

} // namespace

nibble::ThreadPool &nibble::threadPool(MLIRContext *context) {
  return *context->getOrLoadDialect<ThreadsDialect>()->pool;
}

void nibble::setThreads(MLIRContext *context, unsigned threads) {
  context->getOrLoadDialect<ThreadsDialect>()->pool =
      std::make_unique<ThreadPool>(threads);
}
