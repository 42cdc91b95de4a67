//===- WeightStore.h - Where weights live -----------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   WeightStore &store = WeightStore::get(context);
//   FailureOr<Tensor> w = store.readStored(op, stored, type, /*verify=*/false);
//   FailureOr<StoredWeight> ref = store.writeStored(loc, codes);
//
// Weights are module symbols whose value is a dense literal (tests, small
// tensors) or `#qmodel.stored<file, offset, bytes, sha256>`. Files are mapped
// lazily and shared; nothing large is ever inside module text or bytecode.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_SUPPORT_WEIGHTSTORE_H
#define NIBBLE_SUPPORT_WEIGHTSTORE_H

#include "nibble/Base/MappedFile.h"
#include "nibble/Base/SpillFile.h"
#include "nibble/Base/Tensor.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Location.h"
#include "llvm/ADT/StringMap.h"

#include <mutex>

namespace nibble {

/// The fields of `#qmodel.stored`.
struct StoredWeight {
  std::string file;
  uint64_t offset = 0, bytes = 0;
  std::string sha256;
};

/// Reads and writes weight bytes for one MLIR context. Ops go through
/// `qmodel::readWeight`, `qmodel::writeWeight` and `qmodel::loadTensor`.
class WeightStore {
public:
  /// The store of a context; made on first use.
  static WeightStore &get(mlir::MLIRContext *context);

  /// Folder that relative paths of stored weights resolve against (the folder
  /// of the module file); NIBBLE_WEIGHTS in the environment is tried next.
  void setRoot(llvm::StringRef directory);
  /// Folder that new tensors are written to, as `<sha256>` files, made when the
  /// first one is; it stands beside the module that will refer to it. Without
  /// one they stay in memory under the file name `memory:<sha256>`.
  void setOutputDirectory(llvm::StringRef directory);
  /// Keeps tensors that would stay in memory in an unnamed temporary file of
  /// this folder, so that a compilation needs memory for a few of them only.
  Status spillTo(llvm::StringRef directory);

  /// The tensor behind stored bytes of `type`: mapped, not copied, and no
  /// longer resident when the last reader is done. Errors go to `where`.
  /// `verify` hashes the bytes first.
  mlir::FailureOr<Tensor> readStored(mlir::Operation *where,
                                     const StoredWeight &stored,
                                     mlir::RankedTensorType type, bool verify);
  /// Keeps a new tensor, named by the hash of its bytes.
  mlir::FailureOr<StoredWeight> writeStored(mlir::Location where,
                                            const Tensor &tensor);

private:
  mlir::FailureOr<std::shared_ptr<const MappedFile>> map(mlir::Operation *where,
                                                         llvm::StringRef file);
  std::mutex mutex;
  std::string root, outputDirectory;
  llvm::StringMap<std::shared_ptr<const MappedFile>> files;
  struct Kept {
    Tensor tensor;
    bool isSpilled = false; ///< mapped from `spill`
  };
  llvm::StringMap<Kept> memory;
  std::optional<SpillFile> spill;
};

/// Element types: iN is signed, uiN unsigned, i1 boolean. Null / nullopt for
/// types without a counterpart.
mlir::Type toMlirType(mlir::MLIRContext *context, ElementType type);
std::optional<ElementType> fromMlirType(mlir::Type type);
mlir::RankedTensorType tensorTypeOf(mlir::MLIRContext *context,
                                    const Tensor &tensor);
/// Dense literal to tensor and back (splats are expanded). Fails for other
/// attributes, and with an error without the memory.
mlir::FailureOr<Tensor> tensorFromLiteral(mlir::Attribute literal);
mlir::DenseElementsAttr literalFromTensor(mlir::MLIRContext *context,
                                          const Tensor &tensor);

} // namespace nibble

#endif // NIBBLE_SUPPORT_WEIGHTSTORE_H
