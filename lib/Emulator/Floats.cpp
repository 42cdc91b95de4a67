//===- Floats.cpp - arith and math on floats ------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Floats.h"

#include "Warp.h"

#include "nibble/Base/Tensor.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/TypeUtilities.h"

#include <bit>
#include <cmath>

using namespace mlir;
using namespace nibble;
using namespace nibble::emulator;

FailureOr<FloatKind> nibble::emulator::floatKind(Type type, Location loc) {
  Type element = getElementTypeOrSelf(type);
  if (element.isF16())
    return FloatKind::Half;
  if (element.isBF16())
    return FloatKind::BFloat;
  if (element.isF32())
    return FloatKind::Single;
  if (element.isF64())
    return FloatKind::Double;
  return emitError(loc, "the emulator has no arithmetic on ") << element;
}

double nibble::emulator::toDouble(Word bits, FloatKind kind) {
  switch (kind) {
  case FloatKind::Half:
    return halfToFloat(static_cast<uint16_t>(bits));
  case FloatKind::BFloat:
    return bfloatToFloat(static_cast<uint16_t>(bits));
  case FloatKind::Single:
    return std::bit_cast<float>(static_cast<uint32_t>(bits));
  case FloatKind::Double:
    return std::bit_cast<double>(bits);
  }
  llvm_unreachable("unknown kind of float");
}

/// Rounds to `digits` binary digits, fewer where numbers are multiples of
/// 2^`smallest` anyway. The result is exact in float32 for the types below.
static double roundTo(double value, int digits, int smallest) {
  if (value == 0 || !std::isfinite(value))
    return value;
  int step = std::max(std::ilogb(value) + 1 - digits, smallest);
  return std::ldexp(std::nearbyint(std::ldexp(value, -step)), step);
}

Word nibble::emulator::fromDouble(double value, FloatKind kind) {
  switch (kind) {
  case FloatKind::Half:
    return floatToHalf(static_cast<float>(roundTo(value, 11, -24)));
  case FloatKind::BFloat:
    return floatToBfloat(static_cast<float>(roundTo(value, 8, -133)));
  case FloatKind::Single:
    return std::bit_cast<uint32_t>(static_cast<float>(value));
  case FloatKind::Double:
    return std::bit_cast<uint64_t>(value);
  }
  llvm_unreachable("unknown kind of float");
}

double nibble::emulator::addRoundedToOdd(double a, double b) {
  double sum = a + b;
  double part = sum - a, error = (a - (sum - part)) + (b - part);
  uint64_t bits = std::bit_cast<uint64_t>(sum);
  if (error == 0 || !std::isfinite(sum) || (bits & 1))
    return sum;
  // Towards the exact sum, which lies beside an even number.
  bool grows = (error > 0) == (sum > 0);
  return std::bit_cast<double>(grows ? bits + 1 : bits - 1);
}

static double fused(double a, double b, double c, FloatKind kind) {
  if (kind == FloatKind::Double)
    return std::fma(a, b, c);
  // The product of two narrower floats is exact.
  return addRoundedToOdd(a * b, c);
}

//===----------------------------------------------------------------------===//
// Operands of one type
//===----------------------------------------------------------------------===//

static double add(double a, double b) { return a + b; }
static double sub(double a, double b) { return a - b; }
static double mul(double a, double b) { return a * b; }
static double div(double a, double b) { return a / b; }
static double rem(double a, double b) { return std::fmod(a, b); }
/// -0 is less than +0; NaN wins.
static double maximum(double a, double b) {
  if (std::isnan(a) || std::isnan(b))
    return std::nan("");
  return a == b ? (std::signbit(a) ? b : a) : std::max(a, b);
}
static double minimum(double a, double b) {
  if (std::isnan(a) || std::isnan(b))
    return std::nan("");
  return a == b ? (std::signbit(a) ? a : b) : std::min(a, b);
}
static double maxNumber(double a, double b) { return std::fmax(a, b); }
static double minNumber(double a, double b) { return std::fmin(a, b); }
static double power(double a, double b) { return std::pow(a, b); }

/// imm: the kind.
template <double (*fn)(double, double)>
static Outcome runBinary(Warp &warp, const Instr &instr) {
  auto kind = static_cast<FloatKind>(instr.imm[0]);
  for (unsigned i = 0; i < instr.count; ++i) {
    const Register &a = warp[instr.in[0] + i], &b = warp[instr.in[1] + i];
    Register &out = warp[instr.out[0] + i];
    forLanes(warp.active, [&](unsigned lane) {
      out.lane[lane] = fromDouble(
          fn(toDouble(a.lane[lane], kind), toDouble(b.lane[lane], kind)), kind);
    });
  }
  return Outcome::Next;
}

static double negative(double a) { return -a; }
static double inverseSqrt(double a) { return 1 / std::sqrt(a); }

template <double (*fn)(double)>
static Outcome runUnary(Warp &warp, const Instr &instr) {
  auto kind = static_cast<FloatKind>(instr.imm[0]);
  for (unsigned i = 0; i < instr.count; ++i) {
    const Register &a = warp[instr.in[0] + i];
    Register &out = warp[instr.out[0] + i];
    forLanes(warp.active, [&](unsigned lane) {
      out.lane[lane] = fromDouble(fn(toDouble(a.lane[lane], kind)), kind);
    });
  }
  return Outcome::Next;
}

static Outcome runFma(Warp &warp, const Instr &instr) {
  auto kind = static_cast<FloatKind>(instr.imm[0]);
  for (unsigned i = 0; i < instr.count; ++i)
    forLanes(warp.active, [&](unsigned lane) {
      auto value = [&](unsigned operand) {
        return toDouble(warp[instr.in[operand] + i].lane[lane], kind);
      };
      warp[instr.out[0] + i].lane[lane] =
          fromDouble(fused(value(0), value(1), value(2), kind), kind);
    });
  return Outcome::Next;
}

/// One instruction, with the kind of the first operand.
template <RunInstr run>
static LogicalResult decodeWithKind(Decoder &decoder, Operation *op) {
  FailureOr<FloatKind> kind =
      floatKind(op->getOperand(0).getType(), op->getLoc());
  if (failed(kind) || failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, run).imm = {static_cast<int64_t>(*kind)};
  return success();
}

template <typename Op, double (*fn)(double, double)>
static void addBinary(DecodeTable &table) {
  table.add<Op>(decodeWithKind<runBinary<fn>>);
}

template <typename Op, double (*fn)(double)>
static void addUnary(DecodeTable &table) {
  table.add<Op>(decodeWithKind<runUnary<fn>>);
}

//===----------------------------------------------------------------------===//
// Comparisons and conversions
//===----------------------------------------------------------------------===//

static bool compare(arith::CmpFPredicate predicate, double a, double b) {
  using P = arith::CmpFPredicate;
  bool unordered = std::isnan(a) || std::isnan(b);
  switch (predicate) {
  case P::AlwaysFalse:
    return false;
  case P::AlwaysTrue:
    return true;
  case P::ORD:
    return !unordered;
  case P::UNO:
    return unordered;
  case P::OEQ:
    return a == b;
  case P::UEQ:
    return unordered || a == b;
  case P::ONE:
    return !unordered && a != b;
  case P::UNE:
    return a != b;
  case P::OGT:
    return a > b;
  case P::UGT:
    return unordered || a > b;
  case P::OGE:
    return a >= b;
  case P::UGE:
    return unordered || a >= b;
  case P::OLT:
    return a < b;
  case P::ULT:
    return unordered || a < b;
  case P::OLE:
    return a <= b;
  case P::ULE:
    return unordered || a <= b;
  }
  llvm_unreachable("unknown comparison");
}

/// imm: the kind, the predicate.
static Outcome runCompare(Warp &warp, const Instr &instr) {
  auto kind = static_cast<FloatKind>(instr.imm[0]);
  auto predicate = static_cast<arith::CmpFPredicate>(instr.imm[1]);
  for (unsigned i = 0; i < instr.count; ++i)
    forLanes(warp.active, [&](unsigned lane) {
      warp[instr.out[0] + i].lane[lane] =
          compare(predicate, toDouble(warp[instr.in[0] + i].lane[lane], kind),
                  toDouble(warp[instr.in[1] + i].lane[lane], kind));
    });
  return Outcome::Next;
}

static LogicalResult decodeCompare(Decoder &decoder, Operation *op) {
  auto compare = cast<arith::CmpFOp>(op);
  FailureOr<FloatKind> kind =
      floatKind(compare.getLhs().getType(), op->getLoc());
  if (failed(kind) || failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runCompare).imm = {
      static_cast<int64_t>(*kind),
      static_cast<int64_t>(compare.getPredicate())};
  return success();
}

/// imm: from kind, to kind.
static Outcome runConvert(Warp &warp, const Instr &instr) {
  auto from = static_cast<FloatKind>(instr.imm[0]);
  auto to = static_cast<FloatKind>(instr.imm[1]);
  for (unsigned i = 0; i < instr.count; ++i)
    forLanes(warp.active, [&](unsigned lane) {
      warp[instr.out[0] + i].lane[lane] =
          fromDouble(toDouble(warp[instr.in[0] + i].lane[lane], from), to);
    });
  return Outcome::Next;
}

static LogicalResult decodeConvert(Decoder &decoder, Operation *op) {
  FailureOr<FloatKind> from =
      floatKind(op->getOperand(0).getType(), op->getLoc());
  FailureOr<FloatKind> to = floatKind(op->getResult(0).getType(), op->getLoc());
  if (failed(from) || failed(to) || failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runConvert).imm = {static_cast<int64_t>(*from),
                                      static_cast<int64_t>(*to)};
  return success();
}

static unsigned widthOf(Type type) {
  return getElementTypeOrSelf(type).getIntOrFloatBitWidth();
}

/// imm: kind, width of the integer, whether it has a sign. 64-bit integers are
/// rounded twice, which no kernel here does.
static Outcome runFromInteger(Warp &warp, const Instr &instr) {
  auto kind = static_cast<FloatKind>(instr.imm[0]);
  unsigned shift = 64 - instr.imm[1];
  for (unsigned i = 0; i < instr.count; ++i)
    forLanes(warp.active, [&](unsigned lane) {
      Word word = warp[instr.in[0] + i].lane[lane];
      double value = instr.imm[2]
                         ? static_cast<double>(
                               static_cast<int64_t>(word << shift) >> shift)
                         : static_cast<double>(word);
      warp[instr.out[0] + i].lane[lane] = fromDouble(value, kind);
    });
  return Outcome::Next;
}

template <bool isSigned>
static LogicalResult decodeFromInteger(Decoder &decoder, Operation *op) {
  FailureOr<FloatKind> to = floatKind(op->getResult(0).getType(), op->getLoc());
  if (failed(to) || failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runFromInteger).imm = {static_cast<int64_t>(*to),
                                          widthOf(op->getOperand(0).getType()),
                                          isSigned};
  return success();
}

/// imm: kind, width of the integer, whether it has a sign.
static Outcome runToInteger(Warp &warp, const Instr &instr) {
  auto kind = static_cast<FloatKind>(instr.imm[0]);
  int width = static_cast<int>(instr.imm[1]);
  bool isSigned = instr.imm[2];
  double low = isSigned ? -std::ldexp(1, width - 1) : 0;
  double high = std::ldexp(1, isSigned ? width - 1 : width);
  for (unsigned i = 0; i < instr.count; ++i) {
    bool inside = allLanes(warp.active, [&](unsigned lane) {
      double value =
          std::trunc(toDouble(warp[instr.in[0] + i].lane[lane], kind));
      if (!(value >= low && value < high)) {
        warp.fail(instr, lane,
                  "converts " + llvm::Twine(std::to_string(value)) +
                      ", which an integer of " + llvm::Twine(width) +
                      " bits cannot hold");
        return false;
      }
      Word word = value < 0 ? static_cast<Word>(static_cast<int64_t>(value))
                            : static_cast<Word>(value);
      warp[instr.out[0] + i].lane[lane] = word & (~Word(0) >> (64 - width));
      return true;
    });
    if (!inside)
      return Outcome::Failed;
  }
  return Outcome::Next;
}

template <bool isSigned>
static LogicalResult decodeToInteger(Decoder &decoder, Operation *op) {
  FailureOr<FloatKind> from =
      floatKind(op->getOperand(0).getType(), op->getLoc());
  if (failed(from) || failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runToInteger).imm = {static_cast<int64_t>(*from),
                                        widthOf(op->getResult(0).getType()),
                                        isSigned};
  return success();
}

void nibble::emulator::addFloats(DecodeTable &table) {
  addBinary<arith::AddFOp, add>(table);
  addBinary<arith::SubFOp, sub>(table);
  addBinary<arith::MulFOp, mul>(table);
  addBinary<arith::DivFOp, div>(table);
  addBinary<arith::RemFOp, rem>(table);
  addBinary<arith::MaximumFOp, maximum>(table);
  addBinary<arith::MinimumFOp, minimum>(table);
  addBinary<arith::MaxNumFOp, maxNumber>(table);
  addBinary<arith::MinNumFOp, minNumber>(table);
  addBinary<math::PowFOp, power>(table);
  addBinary<math::CopySignOp, std::copysign>(table);
  addUnary<arith::NegFOp, negative>(table);
  addUnary<math::AbsFOp, std::fabs>(table);
  addUnary<math::CeilOp, std::ceil>(table);
  addUnary<math::FloorOp, std::floor>(table);
  addUnary<math::TruncOp, std::trunc>(table);
  addUnary<math::RoundEvenOp, std::nearbyint>(table);
  addUnary<math::SqrtOp, std::sqrt>(table);
  addUnary<math::RsqrtOp, inverseSqrt>(table);
  addUnary<math::ExpOp, std::exp>(table);
  addUnary<math::Exp2Op, std::exp2>(table);
  addUnary<math::LogOp, std::log>(table);
  addUnary<math::Log2Op, std::log2>(table);
  addUnary<math::SinOp, std::sin>(table);
  addUnary<math::CosOp, std::cos>(table);
  addUnary<math::TanhOp, std::tanh>(table);
  addUnary<math::ErfOp, std::erf>(table);
  table.add<math::FmaOp, vector::FMAOp>(decodeWithKind<runFma>);
  table.add<arith::CmpFOp>(decodeCompare);
  table.add<arith::ExtFOp, arith::TruncFOp>(decodeConvert);
  table.add<arith::SIToFPOp>(decodeFromInteger<true>);
  table.add<arith::UIToFPOp>(decodeFromInteger<false>);
  table.add<arith::FPToSIOp>(decodeToInteger<true>);
  table.add<arith::FPToUIOp>(decodeToInteger<false>);
}
