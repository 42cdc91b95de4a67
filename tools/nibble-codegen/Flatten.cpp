//===- Flatten.cpp - An object file to one block of bytes -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The runtime copies an image to any page-aligned address and jumps into it, so
// the object may contain code, constants, and references between them relative
// to the program counter; nothing else. lld lays code and constants out as one
// section from address 0 and fills the references in.
//
//===----------------------------------------------------------------------===//

#include "Codegen.h"

#include "lld/Common/Driver.h"
#include "llvm/BinaryFormat/ELF.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

LLD_HAS_DRIVER(elf)

namespace nibble::codegen {

namespace {

using ElfObject = llvm::object::ELFObjectFile<llvm::object::ELF64LE>;

/// Names the section of the image; everything that is not code or a constant
/// has been refused or is not needed to run.
constexpr llvm::StringLiteral linkerScript = R"(
SECTIONS {
  . = 0;
  .image : { *(.text .text.*) . = ALIGN(64); *(.rodata .rodata.*) }
  /DISCARD/ : { *(.eh_frame .comment .note.* .llvm_addrsig) }
}
)";

template <typename... Arguments>
llvm::Error refuse(const char *format, Arguments... arguments) {
  return llvm::createStringError(format, arguments...);
}

llvm::Error checkSections(const ElfObject &object) {
  for (llvm::object::SectionRef section : object.sections()) {
    uint64_t flags = llvm::object::ELFSectionRef(section).getFlags();
    if (!(flags & llvm::ELF::SHF_ALLOC) || section.getSize() == 0)
      continue;
    llvm::StringRef name = llvm::cantFail(section.getName());
    if (flags & llvm::ELF::SHF_WRITE)
      return refuse("the code has writable data in section %s",
                    name.str().c_str());
    if (flags & llvm::ELF::SHF_TLS)
      return refuse("the code has thread-local data in section %s",
                    name.str().c_str());
    if (!name.starts_with(".text") && !name.starts_with(".rodata") &&
        name != ".eh_frame" && !name.starts_with(".note"))
      return refuse("the code has an unknown section %s", name.str().c_str());
  }
  return llvm::Error::success();
}

llvm::Error checkSymbols(const ElfObject &object) {
  std::string undefined;
  for (llvm::object::ELFSymbolRef symbol : object.symbols()) {
    uint32_t flags = llvm::cantFail(symbol.getFlags());
    std::string name = llvm::cantFail(symbol.getName()).str();
    if (symbol.getELFType() == llvm::ELF::STT_GNU_IFUNC)
      return refuse("the code has an indirect function, %s", name.c_str());
    if (flags & llvm::object::SymbolRef::SF_Undefined && !name.empty())
      undefined += (undefined.empty() ? "" : ", ") + name;
  }
  if (!undefined.empty())
    return refuse("the code calls what it does not define: %s",
                  undefined.c_str());
  return llvm::Error::success();
}

/// Only differences between places in the image can be filled in now. Of the
/// pairs of AArch64 one instruction has the distance in pages of 4 KiB, the
/// other the place within its page: both stay true wherever pages begin.
bool isRelative(uint16_t machine, uint64_t type) {
  using namespace llvm::ELF;
  if (machine == EM_X86_64)
    return type == R_X86_64_PC32 || type == R_X86_64_PLT32;
  if (machine != EM_AARCH64)
    return false;
  switch (type) {
  case R_AARCH64_PREL32:
  case R_AARCH64_PREL64:
  case R_AARCH64_LD_PREL_LO19:
  case R_AARCH64_ADR_PREL_LO21:
  case R_AARCH64_ADR_PREL_PG_HI21:
  case R_AARCH64_ADD_ABS_LO12_NC:
  case R_AARCH64_LDST8_ABS_LO12_NC:
  case R_AARCH64_LDST16_ABS_LO12_NC:
  case R_AARCH64_LDST32_ABS_LO12_NC:
  case R_AARCH64_LDST64_ABS_LO12_NC:
  case R_AARCH64_LDST128_ABS_LO12_NC:
  case R_AARCH64_TSTBR14:
  case R_AARCH64_CONDBR19:
  case R_AARCH64_JUMP26:
  case R_AARCH64_CALL26:
    return true;
  default:
    return false;
  }
}

llvm::Error checkRelocations(const ElfObject &object) {
  for (llvm::object::SectionRef section : object.sections()) {
    auto relocated = section.getRelocatedSection();
    if (!relocated)
      return relocated.takeError();
    if (*relocated == object.section_end() ||
        !((*relocated)->isText() || (*relocated)->isData()))
      continue;
    llvm::StringRef name = llvm::cantFail((*relocated)->getName());
    if (name == ".eh_frame" ||
        !(llvm::object::ELFSectionRef(**relocated).getFlags() &
          llvm::ELF::SHF_ALLOC))
      continue;
    for (llvm::object::RelocationRef relocation : section.relocations()) {
      if (isRelative(object.getELFFile().getHeader().e_machine,
                     relocation.getType()))
        continue;
      llvm::SmallString<32> type;
      relocation.getTypeName(type);
      return refuse("the code has a reference of type %s in section %s, which "
                    "depends on where it is loaded",
                    type.c_str(), name.str().c_str());
    }
  }
  return llvm::Error::success();
}

llvm::Error check(const ElfObject &object) {
  if (llvm::Error error = checkSections(object))
    return error;
  if (llvm::Error error = checkSymbols(object))
    return error;
  return checkRelocations(object);
}

/// A file for lld, which works on files only.
struct ScopedFile {
  ~ScopedFile() {
    if (!path.empty())
      llvm::sys::fs::remove(path);
  }
  llvm::Error create(llvm::StringRef suffix, llvm::StringRef contents) {
    int descriptor = -1;
    if (std::error_code error = llvm::sys::fs::createTemporaryFile(
            "nibble", suffix, descriptor, path))
      return llvm::errorCodeToError(error);
    llvm::raw_fd_ostream stream(descriptor, /*shouldClose=*/true);
    stream << contents;
    return llvm::Error::success();
  }
  llvm::SmallString<128> path;
};

llvm::Error link(llvm::StringRef object, llvm::StringRef script,
                 llvm::StringRef output) {
  std::string objectPath = object.str(), outputPath = output.str();
  std::string scriptFlag = "--script=" + script.str();
  const char *arguments[] = {
      "ld.lld",      "-static",         "--entry=0",        "--build-id=none",
      "--threads=1", "--no-gnu-unique", scriptFlag.c_str(), objectPath.c_str(),
      "-o",          outputPath.c_str()};
  std::string messages;
  llvm::raw_string_ostream stream(messages);
  lld::Result result =
      lld::lldMain(arguments, stream, stream, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode != 0)
    return refuse("lld: %s", messages.c_str());
  return llvm::Error::success();
}

llvm::Expected<Image> readImage(llvm::StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    return llvm::errorCodeToError(buffer.getError());
  auto linked = ElfObject::create((*buffer)->getMemBufferRef());
  if (!linked)
    return linked.takeError();
  Image image;
  for (llvm::object::SectionRef section : linked->sections())
    if (llvm::cantFail(section.getName()) == ".image") {
      llvm::Expected<llvm::StringRef> contents = section.getContents();
      if (!contents)
        return contents.takeError();
      image.bytes = contents->str();
    }
  for (llvm::object::ELFSymbolRef symbol : linked->symbols()) {
    if (symbol.getELFType() != llvm::ELF::STT_FUNC ||
        symbol.getBinding() != llvm::ELF::STB_GLOBAL)
      continue;
    image.symbols[llvm::cantFail(symbol.getName()).str()] =
        llvm::cantFail(symbol.getAddress());
  }
  return image;
}

} // namespace

llvm::Expected<Image> flatten(llvm::StringRef object) {
  auto parsed = ElfObject::create(llvm::MemoryBufferRef(object, "kernels"));
  if (!parsed)
    return parsed.takeError();
  if (llvm::Error error = check(*parsed))
    return error;
  ScopedFile objectFile, script, output;
  if (llvm::Error error = objectFile.create("o", object))
    return error;
  if (llvm::Error error = script.create("ld", linkerScript))
    return error;
  if (llvm::Error error = output.create("elf", ""))
    return error;
  if (llvm::Error error = link(objectFile.path, script.path, output.path))
    return error;
  return readImage(output.path);
}

} // namespace nibble::codegen
