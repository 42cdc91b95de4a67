//===- Check.cpp - Compare values with those of an earlier check ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Stage verification for pipelines of other drivers: the references live as
// long as the context, in a dialect without ops. Each check follows the layers
// from the one before, so that packing, which takes their ids, does not hide
// them.
//
//===----------------------------------------------------------------------===//

#include "nibble/Verify/Passes.h"

#include "CheckReference.h"
#include "CompareStages.h"
#include "Probes.h"

#include "mlir/IR/Dialect.h"
#include "llvm/Support/FileSystem.h"

#include <map>

namespace nibble {
#define GEN_PASS_DEF_CHECK
#include "nibble/Verify/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;

namespace {

/// Owns the references of a context. It has no ops, types or attributes.
class CheckDialect : public Dialect {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(CheckDialect)
  static constexpr StringLiteral getDialectNamespace() {
    return "nibble_check";
  }
  explicit CheckDialect(MLIRContext *context)
      : Dialect(getDialectNamespace(), context, TypeID::get<CheckDialect>()) {}

  /// By the file, or by the hash of the probes without one.
  std::map<std::string, CheckReference> references;
};

struct Check : nibble::impl::CheckBase<Check> {
  using CheckBase::CheckBase;

  void getDependentDialects(DialectRegistry &registry) const override {
    CheckBase::getDependentDialects(registry);
    registry.insert<CheckDialect>();
  }

  void runOnOperation() override {
    markAllAnalysesPreserved();
    if (failed(check()))
      signalPassFailure();
  }

private:
  InFlightDiagnostic error() {
    return emitError(getOperation().getLoc(), "nibble-check: ");
  }

  LogicalResult check() {
    if (probes.empty())
      return error() << "expects 'probes' to name a file of inputs";
    if (!(tolerance >= 0))
      return error() << "expects 'tolerance' to be 0 or more, got "
                     << std::to_string(tolerance);
    FailureOr<Probes> read = readProbes(getOperation(), probes, "nibble-check");
    if (failed(read))
      return failure();
    FailureOr<CheckReference *> reference = find(read->hash);
    if (failed(reference))
      return failure();
    return *reference ? compare(**reference, *read) : record(*read);
  }

  std::map<std::string, CheckReference> &references() {
    return getContext().getOrLoadDialect<CheckDialect>()->references;
  }
  std::string key(const std::string &hash) {
    return reference.empty() ? hash : reference.getValue();
  }

  /// Null if there is none yet.
  FailureOr<CheckReference *> find(const std::string &hash) {
    auto known = references().find(key(hash));
    if (known == references().end()) {
      if (reference.empty() || !llvm::sys::fs::exists(reference.getValue()))
        return nullptr;
      nibble::Expected<CheckReference> read = readReference(reference);
      if (!read)
        return error() << read.status().message();
      known = references().emplace(key(hash), read.take()).first;
    }
    if (known->second.probes != hash)
      return error() << "expects the probes that '" << reference
                     << "' was made on, got others; give these, or delete the "
                        "file to make it anew";
    return &known->second;
  }

  LogicalResult record(const Probes &inputs) {
    StageRecord none;
    LayerTrail start;
    StageRun run(none, none, start);
    FailureOr<StageRecord> stage = run.model(getOperation(), inputs.inputs);
    if (failed(stage))
      return failure();
    CheckReference made{std::move(*stage), run.takeTrail(), inputs.hash};
    if (!reference.empty())
      if (Status written = writeReference(reference, made); !written.isOk())
        return error() << written.message();
    references().emplace(key(inputs.hash), std::move(made));
    return success();
  }

  LogicalResult compare(CheckReference &known, const Probes &inputs) {
    StageComparison comparison;
    comparison.tolerance = tolerance;
    comparison.logits = inputs.logits;
    comparison.keepFirst(known.stage);
    StageRun run(known.stage, known.stage, known.trail);
    FailureOr<StageRecord> stage = run.model(getOperation(), inputs.inputs);
    if (failed(stage))
      return failure();
    known.trail = run.takeTrail();
    comparison.keepFirst(*stage);
    StageRecord before = known.stage;
    StageResult result = comparison.compare(*stage, before, getArgument(),
                                            /*preserving=*/true);
    if (std::string moved = comparison.violation(result); !moved.empty())
      return error() << "expects the values of the reference, but the passes "
                        "since then "
                     << moved;
    return success();
  }
};

} // namespace
