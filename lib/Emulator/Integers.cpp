//===- Integers.cpp - arith on integers -----------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Warp.h"

#include "nibble/dialects/Ptx/Ptx.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/bit.h"

using namespace mlir;
using namespace nibble::emulator;

static unsigned widthOf(Type type) {
  Type element = getElementTypeOrSelf(type);
  return element.isIndex() ? 64 : element.getIntOrFloatBitWidth();
}

static Word low(Word word, unsigned width) {
  return word & (~Word(0) >> (64 - width));
}

static int64_t signExtended(Word word, unsigned width) {
  return static_cast<int64_t>(word << (64 - width)) >> (64 - width);
}

//===----------------------------------------------------------------------===//
// Two operands
//===----------------------------------------------------------------------===//

using Binary = Word (*)(Word a, Word b, unsigned width);

static Word add(Word a, Word b, unsigned) { return a + b; }
static Word sub(Word a, Word b, unsigned) { return a - b; }
static Word mul(Word a, Word b, unsigned) { return a * b; }
static Word bitAnd(Word a, Word b, unsigned) { return a & b; }
static Word bitOr(Word a, Word b, unsigned) { return a | b; }
static Word bitXor(Word a, Word b, unsigned) { return a ^ b; }
static Word shiftLeft(Word a, Word b, unsigned) { return a << b; }
static Word shiftRight(Word a, Word b, unsigned) { return a >> b; }
static Word shiftRightSigned(Word a, Word b, unsigned width) {
  return signExtended(a, width) >> b;
}
static Word divUnsigned(Word a, Word b, unsigned) { return a / b; }
static Word remUnsigned(Word a, Word b, unsigned) { return a % b; }
static Word ceilDivUnsigned(Word a, Word b, unsigned) {
  return a / b + (a % b != 0);
}
static Word divSigned(Word a, Word b, unsigned width) {
  int64_t y = signExtended(b, width);
  return y == -1 ? 0 - a : signExtended(a, width) / y;
}
static Word remSigned(Word a, Word b, unsigned width) {
  int64_t y = signExtended(b, width);
  return y == -1 ? 0 : signExtended(a, width) % y;
}
static Word floorDivSigned(Word a, Word b, unsigned width) {
  int64_t x = signExtended(a, width), y = signExtended(b, width);
  if (y == -1)
    return 0 - a;
  return x / y - (x % y != 0 && (x < 0) != (y < 0));
}
static Word ceilDivSigned(Word a, Word b, unsigned width) {
  int64_t x = signExtended(a, width), y = signExtended(b, width);
  if (y == -1)
    return 0 - a;
  return x / y + (x % y != 0 && (x < 0) == (y < 0));
}
static Word maxUnsigned(Word a, Word b, unsigned) { return std::max(a, b); }
static Word minUnsigned(Word a, Word b, unsigned) { return std::min(a, b); }
static Word maxSigned(Word a, Word b, unsigned width) {
  return signExtended(a, width) > signExtended(b, width) ? a : b;
}
static Word minSigned(Word a, Word b, unsigned width) {
  return signExtended(a, width) < signExtended(b, width) ? a : b;
}

/// What a device leaves open.
enum class Rule { None, NonZero, Shift };

/// imm: the width.
template <Binary fn, Rule rule>
static Outcome runBinary(Warp &warp, const Instr &instr) {
  unsigned width = instr.imm[0];
  for (unsigned i = 0; i < instr.count; ++i) {
    const Register &a = warp[instr.in[0] + i], &b = warp[instr.in[1] + i];
    Register &out = warp[instr.out[0] + i];
    if (rule != Rule::None) {
      LaneMask wrong = 0;
      forLanes(warp.active, [&](unsigned lane) {
        if (rule == Rule::NonZero ? b.lane[lane] == 0 : b.lane[lane] >= width)
          wrong |= LaneMask(1) << lane;
      });
      if (wrong)
        return warp.fail(instr, __builtin_ctz(wrong),
                         rule == Rule::NonZero
                             ? llvm::Twine("divides by zero")
                             : "shifts by " +
                                   llvm::Twine(b.lane[__builtin_ctz(wrong)]) +
                                   " bits of " + llvm::Twine(width));
    }
    forLanes(warp.active, [&](unsigned lane) {
      out.lane[lane] = low(fn(a.lane[lane], b.lane[lane], width), width);
    });
  }
  return Outcome::Next;
}

template <typename Op, Binary fn, Rule rule = Rule::None>
static void addBinary(DecodeTable &table) {
  table.add<Op>([](Decoder &decoder, Operation *op) {
    if (failed(defineResults(decoder, op)))
      return failure();
    decoder.emit(op, runBinary<fn, rule>).imm = {
        widthOf(op->getResult(0).getType())};
    return success();
  });
}

//===----------------------------------------------------------------------===//
// Comparisons, conversions, bits
//===----------------------------------------------------------------------===//

static bool compare(arith::CmpIPredicate predicate, Word a, Word b,
                    unsigned width) {
  int64_t x = signExtended(a, width), y = signExtended(b, width);
  switch (predicate) {
  case arith::CmpIPredicate::eq:
    return a == b;
  case arith::CmpIPredicate::ne:
    return a != b;
  case arith::CmpIPredicate::slt:
    return x < y;
  case arith::CmpIPredicate::sle:
    return x <= y;
  case arith::CmpIPredicate::sgt:
    return x > y;
  case arith::CmpIPredicate::sge:
    return x >= y;
  case arith::CmpIPredicate::ult:
    return a < b;
  case arith::CmpIPredicate::ule:
    return a <= b;
  case arith::CmpIPredicate::ugt:
    return a > b;
  case arith::CmpIPredicate::uge:
    return a >= b;
  }
  llvm_unreachable("unknown comparison");
}

/// imm: the predicate, the width.
static Outcome runCompare(Warp &warp, const Instr &instr) {
  auto predicate = static_cast<arith::CmpIPredicate>(instr.imm[0]);
  for (unsigned i = 0; i < instr.count; ++i) {
    const Register &a = warp[instr.in[0] + i], &b = warp[instr.in[1] + i];
    Register &out = warp[instr.out[0] + i];
    forLanes(warp.active, [&](unsigned lane) {
      out.lane[lane] =
          compare(predicate, a.lane[lane], b.lane[lane], instr.imm[1]);
    });
  }
  return Outcome::Next;
}

static LogicalResult decodeCompare(Decoder &decoder, Operation *op) {
  auto compare = cast<arith::CmpIOp>(op);
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runCompare).imm = {
      static_cast<int64_t>(compare.getPredicate()),
      widthOf(compare.getLhs().getType())};
  return success();
}

/// Of a condition for all elements or one for each. imm: which.
static Outcome runSelect(Warp &warp, const Instr &instr) {
  for (unsigned i = 0; i < instr.count; ++i) {
    const Register &condition = warp[instr.in[0] + (instr.imm[0] ? i : 0)];
    const Register &a = warp[instr.in[1] + i], &b = warp[instr.in[2] + i];
    Register &out = warp[instr.out[0] + i];
    forLanes(warp.active, [&](unsigned lane) {
      out.lane[lane] = condition.lane[lane] & 1 ? a.lane[lane] : b.lane[lane];
    });
  }
  return Outcome::Next;
}

static LogicalResult decodeSelect(Decoder &decoder, Operation *op) {
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runSelect).imm = {
      isa<VectorType>(op->getOperand(0).getType())};
  return success();
}

/// imm: the width of the result, and that of the operand where its sign counts.
static Outcome runResize(Warp &warp, const Instr &instr) {
  for (unsigned i = 0; i < instr.count; ++i) {
    const Register &a = warp[instr.in[0] + i];
    Register &out = warp[instr.out[0] + i];
    forLanes(warp.active, [&](unsigned lane) {
      Word word = a.lane[lane];
      if (instr.imm[1])
        word = signExtended(word, instr.imm[1]);
      out.lane[lane] = low(word, instr.imm[0]);
    });
  }
  return Outcome::Next;
}

template <bool isSigned>
static LogicalResult decodeResize(Decoder &decoder, Operation *op) {
  if (failed(defineResults(decoder, op)))
    return failure();
  int64_t from = widthOf(op->getOperand(0).getType());
  decoder.emit(op, runResize).imm = {widthOf(op->getResult(0).getType()),
                                     isSigned ? from : 0};
  return success();
}

template <Word (*fn)(Word, unsigned)>
static Outcome runUnary(Warp &warp, const Instr &instr) {
  for (unsigned i = 0; i < instr.count; ++i)
    forLanes(warp.active, [&](unsigned lane) {
      warp[instr.out[0] + i].lane[lane] =
          low(fn(warp[instr.in[0] + i].lane[lane], instr.imm[0]), instr.imm[0]);
    });
  return Outcome::Next;
}

template <typename Op, Word (*fn)(Word, unsigned)>
static void addUnary(DecodeTable &table) {
  table.add<Op>([](Decoder &decoder, Operation *op) {
    if (failed(defineResults(decoder, op)))
      return failure();
    decoder.emit(op, runUnary<fn>).imm = {widthOf(op->getResult(0).getType())};
    return success();
  });
}

static Word magnitude(Word a, unsigned width) {
  return signExtended(a, width) < 0 ? 0 - a : a;
}
static Word countOnes(Word a, unsigned) { return llvm::popcount(a); }
static Word leadingZeros(Word a, unsigned width) {
  return llvm::countl_zero(a) - (64 - width);
}

/// lop3: bit by bit a table of three inputs. imm: the table.
static Outcome runLop3(Warp &warp, const Instr &instr) {
  forLanes(warp.active, [&](unsigned lane) {
    Word a = warp[instr.in[0]].lane[lane], b = warp[instr.in[1]].lane[lane],
         c = warp[instr.in[2]].lane[lane], result = 0;
    for (unsigned entry = 0; entry < 8; ++entry)
      if (instr.imm[0] >> entry & 1)
        result |=
            (entry & 4 ? a : ~a) & (entry & 2 ? b : ~b) & (entry & 1 ? c : ~c);
    warp[instr.out[0]].lane[lane] = low(result, 32);
  });
  return Outcome::Next;
}

static LogicalResult decodeLop3(Decoder &decoder, Operation *op) {
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runLop3).imm = {cast<nibble::ptx::Lop3Op>(op).getTable()};
  return success();
}

/// prmt: four bytes of eight; bit 3 of a selector takes the sign of the byte.
static Outcome runPermute(Warp &warp, const Instr &instr) {
  forLanes(warp.active, [&](unsigned lane) {
    Word bytes = warp[instr.in[0]].lane[lane] | warp[instr.in[1]].lane[lane]
                                                    << 32;
    Word selectors = warp[instr.in[2]].lane[lane], result = 0;
    for (unsigned i = 0; i < 4; ++i) {
      unsigned selector = selectors >> 4 * i & 15;
      Word byte = bytes >> 8 * (selector & 7) & 255;
      if (selector & 8)
        byte = byte & 128 ? 255 : 0;
      result |= byte << 8 * i;
    }
    warp[instr.out[0]].lane[lane] = result;
  });
  return Outcome::Next;
}

static LogicalResult decodePermute(Decoder &decoder, Operation *op) {
  auto permute = cast<NVVM::PermuteOp>(op);
  if (permute.getMode() != NVVM::PermuteMode::DEFAULT)
    return unsupported(op, "this mode of nvvm.prmt");
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runPermute).in = {decoder.reg(permute.getLo()),
                                     decoder.reg(permute.getHi()),
                                     decoder.reg(permute.getSelector())};
  return success();
}

/// dp4a. in: four bytes, four bytes, the sum. imm: whether those have a sign.
static Outcome runDot4(Warp &warp, const Instr &instr) {
  forLanes(warp.active, [&](unsigned lane) {
    auto byte = [&](unsigned operand, unsigned i) {
      Word bits = warp[instr.in[operand] + i].lane[lane];
      return instr.imm[operand] ? signExtended(bits, 8)
                                : static_cast<int64_t>(bits);
    };
    Word sum = warp[instr.in[2]].lane[lane];
    for (unsigned i = 0; i < 4; ++i)
      sum += static_cast<Word>(byte(0, i) * byte(1, i));
    warp[instr.out[0]].lane[lane] = low(sum, 32);
  });
  return Outcome::Next;
}

static LogicalResult decodeDot4(Decoder &decoder, Operation *op) {
  auto dot = cast<NVVM::DotAccumulate4WayOp>(op);
  if (failed(defineResults(decoder, op)))
    return failure();
  auto isSigned = [](NVVM::DotAccumulateType type) {
    return type == NVVM::DotAccumulateType::SIGNED;
  };
  decoder.emit(op, runDot4).imm = {isSigned(dot.getAType()),
                                   isSigned(dot.getBType())};
  return success();
}

void nibble::emulator::addIntegers(DecodeTable &table) {
  addBinary<arith::AddIOp, add>(table);
  addBinary<arith::SubIOp, sub>(table);
  addBinary<arith::MulIOp, mul>(table);
  addBinary<arith::AndIOp, bitAnd>(table);
  addBinary<arith::OrIOp, bitOr>(table);
  addBinary<arith::XOrIOp, bitXor>(table);
  addBinary<arith::ShLIOp, shiftLeft, Rule::Shift>(table);
  addBinary<arith::ShRUIOp, shiftRight, Rule::Shift>(table);
  addBinary<arith::ShRSIOp, shiftRightSigned, Rule::Shift>(table);
  addBinary<arith::DivUIOp, divUnsigned, Rule::NonZero>(table);
  addBinary<arith::DivSIOp, divSigned, Rule::NonZero>(table);
  addBinary<arith::RemUIOp, remUnsigned, Rule::NonZero>(table);
  addBinary<arith::RemSIOp, remSigned, Rule::NonZero>(table);
  addBinary<arith::CeilDivUIOp, ceilDivUnsigned, Rule::NonZero>(table);
  addBinary<arith::CeilDivSIOp, ceilDivSigned, Rule::NonZero>(table);
  addBinary<arith::FloorDivSIOp, floorDivSigned, Rule::NonZero>(table);
  addBinary<arith::MaxUIOp, maxUnsigned>(table);
  addBinary<arith::MinUIOp, minUnsigned>(table);
  addBinary<arith::MaxSIOp, maxSigned>(table);
  addBinary<arith::MinSIOp, minSigned>(table);
  table.add<arith::CmpIOp>(decodeCompare);
  table.add<arith::SelectOp>(decodeSelect);
  table.add<arith::ExtUIOp, arith::TruncIOp, arith::IndexCastUIOp>(
      decodeResize<false>);
  table.add<arith::ExtSIOp, arith::IndexCastOp>(decodeResize<true>);
  addUnary<math::AbsIOp, magnitude>(table);
  addUnary<math::CtPopOp, countOnes>(table);
  addUnary<math::CountLeadingZerosOp, leadingZeros>(table);
  table.add<nibble::ptx::Lop3Op>(decodeLop3);
  table.add<NVVM::PermuteOp>(decodePermute);
  table.add<NVVM::DotAccumulate4WayOp>(decodeDot4);
}
