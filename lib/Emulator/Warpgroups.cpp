//===- Warpgroups.cpp - wgmma ---------------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A product of four warps, of which each has 16 rows, so that it can be run
// warp by warp. It is done at once, but counts as running until its group is
// waited for: till then nobody may read its result or write its operands.
//
//===----------------------------------------------------------------------===//

#include "TensorCores.h"
#include "Warp.h"

#include "nibble/dialects/Ptx/Ptx.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/TypeUtilities.h"

#include <cstring>

using namespace mlir;
using namespace nibble::emulator;

namespace {
/// A matrix descriptor of the PTX ISA, for matrices whose rows run along k.
struct Descriptor {
  Word start, leading, stride;
  unsigned offset, swizzle;

  explicit Descriptor(Word bits)
      : start((bits & 0x3fff) << 4), leading((bits >> 16 & 0x3fff) << 4),
        stride((bits >> 32 & 0x3fff) << 4), offset(bits >> 49 & 7),
        swizzle(bits >> 62) {}

  /// Bytes of a row in one piece: 16 without swizzle, else 128, 64 or 32.
  unsigned rowBytes() const { return swizzle ? 256 >> swizzle : 16; }

  /// Where 16 bytes begin that hold elements 8 c to 8 c + 7 of a row.
  Word address(unsigned row, unsigned c) const {
    Word at = start + row / 8 * stride + row % 8 * rowBytes();
    if (!swizzle)
      return at + c * leading;
    at += 16 * c;
    // Chunks of 16 bytes change places by the number of their row.
    Word chunks = (rowBytes() / 16 - 1) << 4;
    return at ^ (at >> 3 & chunks);
  }
};
} // namespace

/// Whether the four warps of a warpgroup run the same products in one order.
static bool sameForAll(Warp &warp, const Instr &instr) {
  std::vector<const Instr *> &all = warp.block.products[warp.index / 4];
  size_t number = warp.productCount++;
  if (number == all.size()) {
    all.push_back(&instr);
    return true;
  }
  if (all[number] == &instr)
    return true;
  InFlightDiagnostic error = emitError(instr.op->getLoc());
  error << "warp " << warp.index << " of " << warp.block.name()
        << ": runs another wgmma than the other warps of its warpgroup";
  error.attachNote(all[number]->op->getLoc()) << "they run this one";
  return false;
}

/// Reads `rows` rows of 16 elements, in pieces of 16 bytes.
static bool readRows(Warp &warp, const Instr &instr, Word bits, unsigned first,
                     unsigned rows, FloatKind kind,
                     SmallVectorImpl<double> &values) {
  Descriptor descriptor(bits);
  unsigned atom = descriptor.rowBytes();
  if (descriptor.swizzle &&
      (descriptor.start / atom % 8) != descriptor.offset) {
    warp.fail(instr, 0,
              "expects a matrix that begins at a multiple of " +
                  llvm::Twine(8 * atom) + " bytes for its swizzle, got " +
                  llvm::Twine(descriptor.start));
    return false;
  }
  for (unsigned row = first; row < first + rows; ++row)
    for (unsigned c = 0; c < 2; ++c) {
      Word address = descriptor.address(row, c);
      uint8_t *bytes =
          warp.access(instr, 0, address, 16, 16, AccessKind::AsyncRead);
      if (!bytes)
        return false;
      warp.products.open.push_back({&instr, address, 16, 0});
      for (unsigned i = 0; i < 8; ++i) {
        uint16_t element;
        std::memcpy(&element, bytes + 2 * i, 2);
        values.push_back(toDouble(element, kind));
      }
    }
  return true;
}

/// in: A or its descriptor, B's descriptor, accumulator. imm: kind of A and B,
/// of the sum, columns, whether A is a descriptor, scales of D, A and B.
static Outcome runWgmma(Warp &warp, const Instr &instr) {
  if (!wholeWarp(warp, instr) || !sameForAll(warp, instr))
    return Outcome::Failed;
  auto kind = static_cast<FloatKind>(instr.imm[0]);
  auto sumKind = static_cast<FloatKind>(instr.imm[1]);
  auto columns = static_cast<unsigned>(instr.imm[2]);
  SmallVector<double> a, b;
  if (instr.imm[3]) {
    if (!readRows(warp, instr, warp[instr.in[0]].lane[0], warp.index % 4 * 16,
                  16, kind, a))
      return Outcome::Failed;
  } else {
    a.resize(16 * 16);
    for (unsigned lane = 0; lane < warpSize; ++lane)
      for (unsigned i = 0; i < 8; ++i) {
        Place at = placeInA(lane, i, 2);
        a[at.row * 16 + at.column] =
            toDouble(warp[instr.in[0] + i].lane[lane], kind);
      }
  }
  if (!readRows(warp, instr, warp[instr.in[1]].lane[0], 0, columns, kind, b))
    return Outcome::Failed;
  bool adds = instr.imm[4] != 0;
  double sign = static_cast<double>(instr.imm[5] * instr.imm[6]);
  std::vector<unsigned> written;
  for (unsigned i = 0; i < columns / 2; ++i) {
    written.push_back(instr.out[0] + i);
    for (unsigned lane = 0; lane < warpSize; ++lane) {
      Place at = placeInC(lane, i % 4);
      unsigned column = i / 4 * 8 + at.column;
      double products = 0;
      for (unsigned k = 0; k < 16; ++k)
        products += a[at.row * 16 + k] * b[column * 16 + k];
      double sum =
          adds ? toDouble(warp[instr.in[2] + i].lane[lane], sumKind) : 0;
      warp[instr.out[0] + i].lane[lane] =
          fromDouble(sign * products + sum, sumKind);
    }
  }
  warp.pendingResults.push_back(std::move(written));
  ++warp.openProducts;
  return Outcome::Next;
}

static LogicalResult decodeWgmma(Decoder &decoder, Operation *op) {
  auto product = cast<nibble::ptx::WgmmaOp>(op);
  FailureOr<FloatKind> kind = floatKind(product.getA().getType(), op->getLoc());
  if (failed(kind) || failed(defineResults(decoder, op)))
    return failure();
  Instr &instr = decoder.emit(op, runWgmma);
  instr.imm = {static_cast<int64_t>(*kind),
               static_cast<int64_t>(FloatKind::Single),
               cast<VectorType>(product.getResult().getType()).getDimSize(0) *
                   8,
               false,
               1,
               1,
               1};
  instr.forwards = true;
  return success();
}

static LogicalResult decodeWgmmaAsync(Decoder &decoder, Operation *op) {
  auto product = cast<NVVM::WgmmaMmaAsyncOp>(op);
  bool half = product.getTypeA() == NVVM::WGMMATypes::f16;
  bool known = (half || product.getTypeA() == NVVM::WGMMATypes::bf16) &&
               product.getTypeB() == product.getTypeA() &&
               product.getTypeD() == NVVM::WGMMATypes::f32 &&
               product.getLayoutA() == NVVM::MMALayout::row &&
               product.getLayoutB() == NVVM::MMALayout::col;
  if (!known)
    return unsupported(op, "wgmma other than of f16 or bf16, row by col, into "
                           "f32");
  if (failed(defineResults(decoder, op)))
    return failure();
  auto sign = [](NVVM::WGMMAScaleIn scale) {
    return scale == NVVM::WGMMAScaleIn::neg ? -1 : 1;
  };
  Instr &instr = decoder.emit(op, runWgmma);
  instr.in = {decoder.reg(product.getDescriptorA()),
              decoder.reg(product.getDescriptorB()),
              decoder.reg(product.getInouts())};
  instr.imm = {static_cast<int64_t>(half ? FloatKind::Half : FloatKind::BFloat),
               static_cast<int64_t>(FloatKind::Single),
               product.getShape().getN(),
               true,
               product.getScaleD() != NVVM::WGMMAScaleOut::zero,
               sign(product.getScaleA()),
               sign(product.getScaleB())};
  instr.forwards = true;
  return success();
}

static Outcome runCommit(Warp &warp, const Instr &instr) {
  if (!warp.converged(instr))
    return Outcome::Failed;
  warp.products.commit();
  warp.committedProducts.push_back(warp.openProducts);
  warp.openProducts = 0;
  return Outcome::Next;
}

/// imm: groups that may still run.
static Outcome runWait(Warp &warp, const Instr &instr) {
  if (!warp.converged(instr))
    return Outcome::Failed;
  auto left = static_cast<size_t>(instr.imm[0]);
  while (warp.products.committed.size() > left) {
    unsigned thread = warp.thread(0);
    for (const AsyncRange &range : warp.products.committed.front())
      warp.complete(range, thread, warp.block.clocks.now(thread));
    warp.products.committed.pop_front();
    auto done = warp.pendingResults.begin();
    warp.pendingResults.erase(done, done + warp.committedProducts.front());
    warp.committedProducts.pop_front();
  }
  return Outcome::Next;
}

static LogicalResult decodeWait(Decoder &decoder, Operation *op) {
  decoder.emit(op, runWait).imm = {
      static_cast<int64_t>(cast<NVVM::WgmmaWaitGroupSyncOp>(op).getGroup())};
  return success();
}

static Outcome runFence(Warp &warp, const Instr &instr) {
  return warp.converged(instr) ? Outcome::Next : Outcome::Failed;
}

void nibble::emulator::addWarpgroups(DecodeTable &table) {
  table.add<nibble::ptx::WgmmaOp>(decodeWgmma);
  table.add<NVVM::WgmmaMmaAsyncOp>(decodeWgmmaAsync);
  table.add<NVVM::WgmmaFenceAlignedOp, runFence>();
  table.add<NVVM::WgmmaGroupSyncAlignedOp, runCommit>();
  table.add<NVVM::WgmmaWaitGroupSyncOp>(decodeWait);
}
