//===- NodeTest.h - One of ONNX's tests of an operator ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A folder with model.onnx and test_data_set_*/{input,output}_N.pb, run three
// ways. Each function is meant for a process of its own (see Isolated.h).
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_QUANTONNXTEST_NODETEST_H
#define NIBBLE_TOOLS_QUANTONNXTEST_NODETEST_H

#include "Isolated.h"

#include "nibble/Base/Status.h"

namespace nibble {

/// How bundles are made.
struct BundleOptions {
  std::string target; ///< one of cpuTargets(), or of cudaTargets()
  std::string helper; ///< path of nibble-codegen
  std::string path;   ///< where to write them
};

/// Whether the model becomes a module. Unsupported: what ImportProblem lists.
/// `names` are the operators of the model, with domain unless it is ai.onnx.
Outcome testImport(const std::string &folder);

/// Whether the interpreter gives the expected outputs for every data set.
/// Unsupported: an operator, or a feature of one, without a reference.
Outcome testInterpret(const std::string &folder);

/// The same for the compiled model, with all dimensions as in the data set.
/// Inputs that say shapes, axes or a branch (onnx::shapeInputs) are constants
/// of the bundle, because nothing can be compiled without them; `names` are
/// theirs. Unsupported: no CPU code for an operator or its types, or a result
/// whose shape depends on data. For a GPU no bundle is made: the emulator runs
/// the kernels.
Outcome testCompile(const std::string &folder, const BundleOptions &options);

} // namespace nibble

#endif // NIBBLE_TOOLS_QUANTONNXTEST_NODETEST_H
