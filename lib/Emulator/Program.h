//===- Program.h - Kernels as flat lists of instructions --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A kernel is decoded once: every SSA value gets registers, every op becomes
// one or more instructions with a function that runs it for all active lanes of
// a warp, and regions become jumps with masks.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_EMULATOR_PROGRAM_H
#define NIBBLE_LIB_EMULATOR_PROGRAM_H

#include "mlir/IR/Operation.h"
#include "mlir/IR/Value.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"

#include <cstdint>
#include <vector>

namespace nibble::emulator {

inline constexpr unsigned warpSize = 32;
using LaneMask = uint32_t;
/// An integer, zero-extended; the bits of a float; an address.
using Word = uint64_t;

/// One word of a value, for each lane. A vector has a register for each
/// element, a memref one for its address, its sizes and its strides.
struct Register {
  Word lane[warpSize];
};

class Warp;
struct Instr;

enum class Outcome : uint8_t {
  Next,   ///< go on with the instruction at the program counter
  Wait,   ///< run this instruction again when others have gone on
  End,    ///< the function has returned
  Failed, ///< an error was emitted
};
using RunInstr = Outcome (*)(Warp &, const Instr &);

struct Instr {
  RunInstr run = nullptr;
  mlir::Operation *op = nullptr;
  /// The first register of each operand and result.
  llvm::SmallVector<unsigned, 4> in, out;
  /// What `run` wants to know besides.
  llvm::SmallVector<int64_t, 4> imm;
  /// Elements of the first result, or of the first operand if there is none.
  unsigned count = 0;
  /// Hands on the result of a wgmma that still runs without looking at it.
  bool forwards = false;
};

struct Program {
  mlir::Operation *function = nullptr;
  std::vector<Instr> code;
  unsigned registers = 0;
  /// Registers that hold the same in every lane from the start.
  std::vector<std::pair<unsigned, Word>> constants;
  /// The first register of each block argument of the function.
  std::vector<unsigned> arguments;
};

class Decoder;
using DecodeOp = llvm::LogicalResult (*)(Decoder &, mlir::Operation *);

/// The meaning of every op, by name; each family adds its own.
class DecodeTable {
public:
  template <typename... Ops> void add(DecodeOp decode) {
    ((entries[Ops::getOperationName()] = decode), ...);
  }
  /// The op becomes one instruction.
  template <typename Op, RunInstr run> void add();
  DecodeOp find(llvm::StringRef op) const { return entries.lookup(op); }
  static const DecodeTable &get();

private:
  llvm::StringMap<DecodeOp> entries;
};

void addControlFlow(DecodeTable &table); // scf, cf.assert, calls, return
void addIntegers(DecodeTable &table);    // arith on integers
void addFloats(DecodeTable &table);      // arith and math on floats
void addVectors(DecodeTable &table);     // vector, except for memory
void addMemRefs(DecodeTable &table);     // memref, and vector's memory ops
void addPointers(DecodeTable &table);    // llvm
void addThreads(DecodeTable &table);     // ids, barriers, shuffles
void addTensorCores(DecodeTable &table); // mma.sync, mma.sp.sync, ldmatrix
void addWarpgroups(DecodeTable &table);  // wgmma
void addAsyncCopies(DecodeTable &table); // cp.async
void addBulkCopies(DecodeTable &table);  // mbarrier, bulk copies
void addHost(DecodeTable &table);        // launches, allocation

/// Turns one function into a program.
class Decoder {
public:
  explicit Decoder(Program &program) : program(program) {}

  /// Decodes the body of `function`.
  llvm::LogicalResult decode(mlir::FunctionOpInterface function);
  llvm::LogicalResult decodeBlock(mlir::Block &block);

  /// Registers that a value of this type takes; an error at `loc` for types
  /// that no instruction knows.
  static mlir::FailureOr<unsigned> words(mlir::Type type, mlir::Location loc);

  /// The first register of a value that was defined.
  unsigned reg(mlir::Value value) const { return values.lookup(value); }
  unsigned words(mlir::Value value) const {
    return *words(value.getType(), value.getLoc());
  }
  llvm::LogicalResult define(mlir::Value value);
  /// `value` is another name of what lies from `first` on.
  void alias(mlir::Value value, unsigned first) { values[value] = first; }
  unsigned allocate(unsigned count);
  void constant(unsigned reg, Word word) {
    program.constants.emplace_back(reg, word);
  }

  /// An instruction for `op`, with registers of its operands and results.
  Instr &emit(mlir::Operation *op, RunInstr run);
  /// Copies values at once, as a branch passes block arguments.
  void emitMove(mlir::Operation *op, mlir::ValueRange from,
                mlir::ValueRange to);
  size_t position() const { return program.code.size(); }
  Instr &at(size_t position) { return program.code[position]; }

private:
  Program &program;
  llvm::DenseMap<mlir::Value, unsigned> values;
};

template <typename Op, RunInstr run> void DecodeTable::add() {
  add<Op>([](Decoder &decoder, mlir::Operation *op) {
    for (mlir::Value result : op->getResults())
      if (llvm::failed(decoder.define(result)))
        return llvm::failure();
    decoder.emit(op, run);
    return llvm::success();
  });
}

/// Defines the results of `op`.
llvm::LogicalResult defineResults(Decoder &decoder, mlir::Operation *op);

/// For an op, or a form of it, that has no meaning here.
llvm::LogicalResult unsupported(mlir::Operation *op, const llvm::Twine &what);

} // namespace nibble::emulator

#endif // NIBBLE_LIB_EMULATOR_PROGRAM_H
