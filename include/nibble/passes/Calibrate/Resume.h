//===- Resume.h - Drivers that can go on where they ended -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   auto resume = std::make_shared<ResumeFolder>("model.nbl.resume", print);
//   ResumeFolder::use(context, resume);
//   run(pipeline, module);   // nibble-for-each-layer keeps layers there
//   write(module);
//   resume->remove();        // nothing is needed any more
//
// Without this, the pass removes the folder of its option `checkpoint` when it
// is done, and what comes after it has no part in resuming.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_RESUME_H
#define NIBBLE_PASSES_CALIBRATE_RESUME_H

#include "nibble/Base/Status.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mlir {
class DialectRegistry;
class MLIRContext;
} // namespace mlir

namespace nibble {

class Checkpoint;

/// The folder of a run of a tool: its nibble-for-each-layer passes keep their
/// layers in folders 0, 1, ... in it.
class ResumeFolder {
public:
  /// `say` gets lines for the user: what was taken from the folder.
  ResumeFolder(std::string folder,
               std::function<void(const std::string &)> say);
  ~ResumeFolder();

  /// Makes passes in `context` use `folder`.
  static void use(mlir::MLIRContext *context,
                  std::shared_ptr<ResumeFolder> folder);
  /// What was set, or null.
  static ResumeFolder *of(mlir::MLIRContext *context);
  static void registerWith(mlir::DialectRegistry &registry);

  /// The folder of the next pass.
  std::string next();
  /// Keeps the checkpoint of a pass that is done locked, and in place.
  void hold(std::shared_ptr<Checkpoint> checkpoint);
  void say(const std::string &line) const { sayLine(line); }
  /// Deletes what was kept.
  Status remove();

private:
  std::string folder;
  std::function<void(const std::string &)> sayLine;
  size_t passes = 0;
  std::vector<std::shared_ptr<Checkpoint>> done;
};

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_RESUME_H
