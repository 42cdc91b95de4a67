//===- Resume.cpp - Drivers that can go on where they ended ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/Resume.h"

#include "Checkpoint.h"

#include "mlir/IR/Dialect.h"
#include "mlir/IR/MLIRContext.h"

#include <unistd.h>

using namespace mlir;
using namespace nibble;

namespace {

/// Holds the folder of a context, as the weight store is held.
class ResumeDialect : public Dialect {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ResumeDialect)
  static constexpr StringLiteral getDialectNamespace() {
    return "nibble_resume";
  }
  explicit ResumeDialect(MLIRContext *context)
      : Dialect(getDialectNamespace(), context, TypeID::get<ResumeDialect>()) {}

  std::shared_ptr<ResumeFolder> folder;
};

} // namespace

ResumeFolder::ResumeFolder(std::string folder,
                           std::function<void(const std::string &)> say)
    : folder(std::move(folder)), sayLine(std::move(say)) {}

ResumeFolder::~ResumeFolder() = default;

void ResumeFolder::use(MLIRContext *context,
                       std::shared_ptr<ResumeFolder> folder) {
  context->getOrLoadDialect<ResumeDialect>()->folder = std::move(folder);
}

ResumeFolder *ResumeFolder::of(MLIRContext *context) {
  return context->getOrLoadDialect<ResumeDialect>()->folder.get();
}

void ResumeFolder::registerWith(DialectRegistry &registry) {
  registry.insert<ResumeDialect>();
}

std::string ResumeFolder::next() {
  return folder + "/" + std::to_string(passes++);
}

void ResumeFolder::hold(std::shared_ptr<Checkpoint> checkpoint) {
  done.push_back(std::move(checkpoint));
}

Status ResumeFolder::remove() {
  for (const std::shared_ptr<Checkpoint> &checkpoint : done)
    if (Status status = checkpoint->remove(); !status.isOk())
      return status;
  done.clear();
  // Stays if others put files there, or if it is no folder.
  ::rmdir(folder.c_str());
  return Status::success();
}
