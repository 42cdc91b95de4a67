//===- CheckpointFiles.h - What lies in a checkpoint folder -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_CHECKPOINTFILES_H
#define NIBBLE_PASSES_CALIBRATE_CHECKPOINTFILES_H

#include "nibble/Base/Status.h"

#include "llvm/Support/JSON.h"

#include <vector>

namespace nibble {

/// Takes the folder's lock, which the returned descriptor holds until it is
/// closed or the process ends. Error if another process has it.
Expected<int> lockFolder(const std::string &folder);

/// An object with a line behind it that has its hash; written whole or not at
/// all.
Status writeSealed(const std::string &path, llvm::json::Object object);
/// Error if the file is not what was written.
Expected<llvm::json::Object> readSealed(const std::string &path);

/// Whether `text` is a SHA-256 in hexadecimal.
bool isHash(llvm::StringRef text);
/// The number in `layer-3.json`, `layer-3.mlir` or `activations-3`.
std::optional<size_t> layerOf(llvm::StringRef name);
/// Files that were never renamed to what they should have been.
bool isTemporary(llvm::StringRef name);

/// Names in `folder` and its folder `weights` (with "weights/" in front): those
/// that a checkpoint gives, but for `lock` and `key`, and all others.
Expected<std::vector<std::string>> ownFiles(const std::string &folder);
Expected<std::vector<std::string>> foreignFiles(const std::string &folder);

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_CHECKPOINTFILES_H
