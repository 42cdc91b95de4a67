#===- Nibble.cmake - How libraries, tools and tests are declared ----------===#
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#===------------------------------------------------------------------------===#
#
#   nibble_library(NibbleX SOURCES a.cpp b.cpp DEPENDS NibbleY ZLIB::ZLIB LLVM)
#   nibble_tool(quant-x SOURCES quant-x.cpp DEPENDS NibbleX LLVM)
#   nibble_unit_test(XTest SOURCES XTest.cpp DEPENDS NibbleX)
#   nibble_tablegen(NibbleXIncGen FILE XOps.td PREFIX X DIALECT x OPS TYPES)
#   nibble_tablegen(NibbleXPassesIncGen FILE Passes.td PASSES NibbleX)
#
# LLVM as a last, bare word says that the code uses LLVM or MLIR: it sees their
# headers and waits for everything that TableGen generates. Code without the
# word cannot include them, which keeps the runtime free of LLVM.
#
#===------------------------------------------------------------------------===#

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")

# Every generated header, so that nothing compiles before it exists.
add_custom_target(NibbleTablegen)

function(nibble_configure_target name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "LLVM" "" "SOURCES;DEPENDS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "${name}: expected SOURCES ... [DEPENDS ...] [LLVM]")
  endif()
  target_sources(${name} PRIVATE ${arg_SOURCES})
  target_include_directories(${name} PUBLIC "${PROJECT_SOURCE_DIR}/include")
  if(arg_LLVM)
    target_include_directories(${name} PUBLIC "${PROJECT_BINARY_DIR}/include")
    list(APPEND arg_DEPENDS NibbleLLVM)
    add_dependencies(${name} NibbleTablegen)
    # ODS generates functions that ignore some of their parameters.
    target_compile_options(${name} PRIVATE -Wno-unused-parameter)
  endif()
  target_link_libraries(${name} PUBLIC ${arg_DEPENDS})
endfunction()

function(nibble_library name)
  add_library(${name} STATIC)
  nibble_configure_target(${name} ${ARGN})
endfunction()

function(nibble_tool name)
  add_executable(${name})
  nibble_configure_target(${name} ${ARGN})
  set_property(GLOBAL APPEND PROPERTY NIBBLE_TOOLS ${name})
endfunction()

# A GoogleTest program; its cases are tests of `check` (lit finds the program by
# its folder and the end of its name).
function(nibble_unit_test name)
  add_executable(${name})
  nibble_configure_target(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE GTest::gtest GTest::gtest_main)
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/unit"
    SUFFIX ".unit")
  set_property(GLOBAL APPEND PROPERTY NIBBLE_UNIT_TESTS ${name})
endfunction()

# Generates, beside the build's copy of FILE, <PREFIX>Dialect.{h,cpp}.inc and,
# for each word given, <PREFIX>Ops, Types, Attrs, Enums, OpInterfaces,
# TypeInterfaces and AttrInterfaces likewise; with PASSES, <FILE>.h.inc.
function(nibble_tablegen target)
  cmake_parse_arguments(PARSE_ARGV 1 arg
    "OPS;TYPES;ATTRS;ENUMS;OP_INTERFACES;TYPE_INTERFACES;ATTR_INTERFACES"
    "FILE;PREFIX;DIALECT;PASSES" "")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_FILE)
    message(FATAL_ERROR "${target}: expected FILE and PASSES or PREFIX; "
      "unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  set(LLVM_TARGET_DEFINITIONS ${arg_FILE})
  set(p "${arg_PREFIX}")
  macro(generate what generator)
    mlir_tablegen(${p}${what}.h.inc -gen-${generator}-decls ${ARGN})
    mlir_tablegen(${p}${what}.cpp.inc -gen-${generator}-defs ${ARGN})
  endmacro()
  if(arg_DIALECT)
    generate(Dialect dialect -dialect=${arg_DIALECT})
  endif()
  if(arg_OPS)
    generate(Ops op)
  endif()
  if(arg_TYPES)
    generate(Types typedef -typedefs-dialect=${arg_DIALECT})
  endif()
  if(arg_ATTRS)
    generate(Attrs attrdef -attrdefs-dialect=${arg_DIALECT})
  endif()
  if(arg_ENUMS)
    generate(Enums enum)
  endif()
  if(arg_OP_INTERFACES)
    generate(OpInterfaces op-interface)
  endif()
  if(arg_TYPE_INTERFACES)
    generate(TypeInterfaces type-interface)
  endif()
  if(arg_ATTR_INTERFACES)
    generate(AttrInterfaces attr-interface)
  endif()
  if(arg_PASSES)
    get_filename_component(stem ${arg_FILE} NAME_WE)
    mlir_tablegen(${stem}.h.inc -gen-pass-decls -name ${arg_PASSES})
  endif()
  add_public_tablegen_target(${target})
  add_dependencies(NibbleTablegen ${target})
endfunction()
