//===- Warp.cpp - Accesses of the lanes of a warp -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Inside a warp only bar.warp.sync orders memory: lanes that happen to run in
// lockstep promise nothing (PTX ISA, memory consistency model), nor do shuffles
// and matrix products.
//
//===----------------------------------------------------------------------===//

#include "Warp.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <cstring>

using namespace mlir;
using namespace nibble::emulator;

Warp::Warp(ThreadBlock &block, unsigned index, LaneMask live)
    : block(block), index(index), live(live), active(live),
      registers(block.program.registers) {
  for (auto [reg, word] : block.program.constants)
    std::fill_n(registers[reg].lane, warpSize, word);
}

Outcome Warp::run() {
  while (true) {
    const Instr &instr = block.program.code[pc];
    if (!pendingResults.empty() && !checkPendingResults(instr))
      return Outcome::Failed;
    size_t next = ++pc;
    Outcome outcome = instr.run(*this, instr);
    if (outcome == Outcome::Wait)
      pc = next - 1;
    if (outcome != Outcome::Next)
      return outcome;
    if (yields) {
      yields = false;
      return Outcome::Wait;
    }
  }
}

bool Warp::converged(const Instr &instr) {
  if (active == live)
    return true;
  unsigned missing = __builtin_ctz(live & ~active);
  fail(instr, __builtin_ctz(active),
       "expects all threads of the warp, but " +
           block.nameThread(thread(missing)) +
           " does not run it: the warp has diverged");
  return false;
}

Outcome Warp::fail(const Instr &instr, unsigned lane,
                   const llvm::Twine &message) {
  std::string where;
  if (!block.host)
    where = block.nameThread(thread(lane)) + " of " + block.name() + ": ";
  emitError(instr.op->getLoc(), where + message);
  return Outcome::Failed;
}

bool Warp::checkPendingResults(const Instr &instr) {
  if (instr.forwards)
    return true;
  for (const std::vector<unsigned> &group : pendingResults)
    for (unsigned reg : group)
      for (unsigned in : instr.in)
        if (in == reg) {
          fail(instr, __builtin_ctz(active),
               "reads the result of a wgmma that is still running; wait for "
               "its group with nvvm.wgmma.wait.group first");
          return false;
        }
  return true;
}

/// "'argument 0' + 128"
static std::string place(const Buffer &buffer, int64_t offset) {
  return "'" + buffer.name + "' + " + std::to_string(offset);
}

uint8_t *Warp::access(const Instr &instr, unsigned lane, Word address,
                      unsigned bytes, unsigned alignment, AccessKind kind) {
  bool writes = kind == AccessKind::Write || kind == AccessKind::AsyncWrite;
  auto describe = [&] {
    return std::string(writes ? "writes " : "reads ") + std::to_string(bytes) +
           (bytes == 1 ? " byte of " : " bytes of ");
  };
  Buffer *buffer = block.find(address);
  if (!buffer) {
    fail(instr, lane,
         describe() + "address 0x" + llvm::Twine::utohexstr(address) +
             ", which is in no buffer");
    return nullptr;
  }
  int64_t offset = static_cast<int64_t>(address - buffer->base);
  if (offset < 0 || static_cast<uint64_t>(offset) + bytes > buffer->size()) {
    fail(instr, lane,
         describe() + place(*buffer, offset) + ", out of bounds: it has " +
             llvm::Twine(buffer->size()) + " bytes");
    return nullptr;
  }
  if (address % alignment != 0) {
    fail(instr, lane,
         describe() + place(*buffer, offset) +
             ", misaligned: the access needs a multiple of " +
             llvm::Twine(alignment) + " bytes, and the address is one of " +
             llvm::Twine(address & (~address + 1)));
    return nullptr;
  }
  if (buffer->owner && *buffer->owner != thread(lane)) {
    fail(instr, lane,
         describe() + place(*buffer, offset) + " of " +
             block.nameThread(*buffer->owner));
    return nullptr;
  }
  if (!checkRace(instr, lane, *buffer, offset, bytes, kind))
    return nullptr;
  if (writes)
    ++block.progress;
  return buffer->bytes.data() + offset;
}

bool Warp::move(const Instr &instr, unsigned lane, Word address, unsigned reg,
                unsigned count, unsigned bytes, unsigned alignment,
                AccessKind kind) {
  uint8_t *memory =
      access(instr, lane, address, bytes * count, alignment, kind);
  if (!memory)
    return false;
  for (unsigned i = 0; i < count; ++i) {
    Word &value = registers[reg + i].lane[lane];
    if (kind == AccessKind::Write) {
      std::memcpy(memory + i * bytes, &value, bytes);
    } else {
      value = 0;
      std::memcpy(&value, memory + i * bytes, bytes);
    }
  }
  return true;
}

bool Warp::conflict(const Instr &instr, unsigned lane, const Buffer &buffer,
                    uint64_t offset, const char *verb, const Instr &other,
                    unsigned otherThread, uint32_t otherBlock,
                    const char *otherVerb, bool pending) {
  std::string who = block.nameThread(otherThread);
  std::string why;
  if (otherBlock != block.serial)
    why = std::string(", which another block ") + otherVerb + " too";
  else if (pending)
    why = std::string(" while an asynchronous operation of ") + who + " " +
          otherVerb + " it; nobody has waited for that";
  else
    why = std::string(", which ") + who + " " + otherVerb +
          " without a barrier between";
  std::string where = block.nameThread(thread(lane)) + " of " + block.name();
  InFlightDiagnostic error = emitError(instr.op->getLoc());
  error << where << ": race: " << verb << " "
        << place(buffer, static_cast<int64_t>(offset)) << why;
  error.attachNote(other.op->getLoc()) << "the other access is here";
  return false;
}

bool Warp::checkRace(const Instr &instr, unsigned lane, Buffer &buffer,
                     uint64_t offset, unsigned bytes, AccessKind kind) {
  bool writes = kind == AccessKind::Write || kind == AccessKind::AsyncWrite ||
                kind == AccessKind::Atomic;
  bool reads = kind != AccessKind::Write && kind != AccessKind::AsyncWrite;
  unsigned self = thread(lane);
  const char *verb = writes ? "writes" : "reads";
  if (!writes && !buffer.shared && !buffer.undefined && buffer.shadow.isEmpty())
    return true;
  for (uint64_t at = offset; at < offset + bytes; ++at) {
    // Of inputs only what is written is of interest.
    if (!writes && !buffer.shared && !buffer.undefined &&
        !buffer.shadow.find(at))
      continue;
    Cell &cell = buffer.shadow[at];
    const Access &write = cell.write;
    if (reads && !write.instr && buffer.undefined) {
      fail(instr, lane,
           "reads " + place(buffer, static_cast<int64_t>(at)) +
               ", which nobody has written so far");
      return false;
    }
    if (block.host) {
      if (writes)
        cell.write = {&instr, 0, block.serial, 0, false, false};
      continue;
    }
    if (write.instr && write.block >= block.machine.firstBlock) {
      bool before = write.block == block.serial && !write.pending &&
                    block.clocks.ordered(self, write.thread, write.clock);
      if (!before && !(write.atomic && kind == AccessKind::Atomic))
        return conflict(instr, lane, buffer, at, verb, *write.instr,
                        write.thread, write.block, "writes", write.pending);
    }
    uint32_t now = block.clocks.now(self);
    if (!writes) {
      if (!buffer.shared)
        continue;
      // What is ordered before this read is ordered before whatever follows it.
      bool merged = false;
      llvm::erase_if(cell.reads, [&](Readers &other) {
        if (other.pending)
          return false;
        if (other.warp == index && other.clock == now) {
          other.lanes |= LaneMask(1) << lane;
          return !(merged = true);
        }
        return allLanes(other.lanes, [&](unsigned reader) {
          return block.clocks.ordered(self, other.warp * warpSize + reader,
                                      other.clock);
        });
      });
      if (!merged)
        cell.reads.push_back({&instr, now, LaneMask(1) << lane,
                              static_cast<uint16_t>(index),
                              kind == AccessKind::AsyncRead});
      continue;
    }
    for (const Readers &other : cell.reads) {
      unsigned racing = 0;
      bool ordered = allLanes(other.lanes, [&](unsigned reader) {
        racing = other.warp * warpSize + reader;
        return !other.pending &&
               block.clocks.ordered(self, racing, other.clock);
      });
      if (!ordered)
        return conflict(instr, lane, buffer, at, verb, *other.instr, racing,
                        block.serial, "reads", other.pending);
    }
    cell.reads.clear();
    cell.write = {&instr,
                  now,
                  block.serial,
                  static_cast<uint16_t>(self),
                  kind == AccessKind::AsyncWrite,
                  kind == AccessKind::Atomic};
  }
  return true;
}

void Warp::complete(const AsyncRange &range, unsigned thread, uint32_t clock) {
  Buffer *buffer = block.find(range.address);
  uint64_t offset = range.address - buffer->base;
  for (uint64_t at = offset; at < offset + range.bytes; ++at) {
    Cell &cell = buffer->shadow[at];
    if (cell.write.pending && cell.write.instr == range.instr) {
      cell.write.pending = false;
      cell.write.thread = static_cast<uint16_t>(thread);
      cell.write.clock = clock;
    }
    for (Readers &reader : cell.reads)
      if (reader.pending && reader.warp == index &&
          reader.instr == range.instr) {
        reader.pending = false;
        reader.clock = clock;
      }
  }
}
