//===- Launches.cpp - How a device runs a kernel --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/QKernel/Launches.h"

#include "mlir/IR/Builders.h"

using namespace mlir;

namespace nibble::qkernel {

//===----------------------------------------------------------------------===//
// Structs to attributes
//===----------------------------------------------------------------------===//

static DictionaryAttr write(Builder &builder, const LaunchCall &call) {
  const Grid &grid = call.grid;
  return builder.getDictionaryAttr(
      {builder.getNamedAttr(
           "function",
           SymbolRefAttr::get(
               builder.getStringAttr(gpuModuleName),
               FlatSymbolRefAttr::get(builder.getContext(), call.function))),
       builder.getNamedAttr("grid",
                            builder.getStrArrayAttr(
                                {grid.x.str(), grid.y.str(), grid.z.str()}))});
}

void setLaunches(KernelOp kernel, const LaunchTable &table) {
  Builder builder(kernel.getContext());
  SmallVector<Attribute> rows;
  for (const Launch &launch : table.launches) {
    NamedAttrList row;
    if (launch.upTo) {
      row.append("over", builder.getStringAttr(table.over.str()));
      row.append("up_to", builder.getI64IntegerAttr(*launch.upTo));
    }
    SmallVector<Attribute> calls;
    for (const LaunchCall &call : launch.calls)
      calls.push_back(write(builder, call));
    row.append("calls", builder.getArrayAttr(calls));
    if (launch.workspace != DimExpr(0))
      row.append("workspace", builder.getStringAttr(launch.workspace.str()));
    rows.push_back(row.getDictionary(kernel.getContext()));
  }
  kernel->setAttr(launchesAttrName, builder.getArrayAttr(rows));
}

//===----------------------------------------------------------------------===//
// Attributes to structs
//===----------------------------------------------------------------------===//

namespace {

class Reader {
public:
  explicit Reader(KernelOp kernel) : kernel(kernel) {}

  FailureOr<LaunchTable> read() {
    auto rows = kernel->getAttrOfType<ArrayAttr>(launchesAttrName);
    if (!rows || rows.empty())
      return kernel.emitOpError()
             << "has no '" << launchesAttrName
             << "': expects a module behind qkernel-to-gpu";
    LaunchTable table;
    for (auto [index, row] : llvm::enumerate(rows)) {
      bool isLast = index + 1 == rows.size();
      if (failed(readRow(dyn_cast<DictionaryAttr>(row), isLast, table)))
        return failure();
    }
    return table;
  }

private:
  InFlightDiagnostic error() {
    return kernel.emitOpError() << "'" << launchesAttrName << "': ";
  }

  LogicalResult readRow(DictionaryAttr row, bool isLast, LaunchTable &table) {
    auto calls = row ? row.getAs<ArrayAttr>("calls") : ArrayAttr();
    if (!calls)
      return error() << "expects a list of {calls = [...]}";
    Launch launch;
    auto limit = row.getAs<IntegerAttr>("up_to");
    if (static_cast<bool>(limit) == isLast)
      return error() << "expects 'up_to' in every row but the last";
    if (limit) {
      launch.upTo = limit.getInt();
      if (!table.launches.empty() &&
          *table.launches.back().upTo >= limit.getInt())
        return error() << "expects limits that grow, got "
                       << *table.launches.back().upTo << " and then "
                       << limit.getInt();
      FailureOr<DimExpr> over = expression(row.get("over"));
      if (failed(over))
        return failure();
      if (!table.launches.empty() && *over != table.over)
        return error() << "expects one 'over' in all rows";
      table.over = *over;
    }
    for (Attribute call : calls)
      if (failed(readCall(dyn_cast<DictionaryAttr>(call), launch)))
        return failure();
    if (Attribute bytes = row.get("workspace")) {
      FailureOr<DimExpr> workspace = expression(bytes);
      if (failed(workspace))
        return failure();
      launch.workspace = *workspace;
    }
    table.launches.push_back(std::move(launch));
    return success();
  }

  LogicalResult readCall(DictionaryAttr call, Launch &launch) {
    auto function =
        call ? call.getAs<SymbolRefAttr>("function") : SymbolRefAttr();
    auto grid = call ? call.getAs<ArrayAttr>("grid") : ArrayAttr();
    if (!function || function.getRootReference() != gpuModuleName ||
        function.getNestedReferences().size() != 1 || !grid || grid.size() != 3)
      return error() << "expects calls to be {function = @" << gpuModuleName
                     << "::@name, grid = [x, y, z]}";
    FailureOr<DimExpr> x = expression(grid[0]), y = expression(grid[1]),
                       z = expression(grid[2]);
    if (failed(x) || failed(y) || failed(z))
      return failure();
    launch.calls.push_back(
        {function.getLeafReference().str(), Grid{*x, *y, *z}});
    return success();
  }

  FailureOr<DimExpr> expression(Attribute attribute) {
    auto text = dyn_cast_or_null<StringAttr>(attribute);
    if (!text)
      return error() << "expects expressions as strings";
    Expected<DimExpr> parsed = DimExpr::parse(text.str());
    if (!parsed)
      return error() << "'" << text.getValue()
                     << "': " << parsed.status().message();
    for (const std::string &symbol : parsed->symbols())
      if (!llvm::is_contained(kernel.getScalars().getAsValueRange<StringAttr>(),
                              symbol))
        return error() << "'" << text.getValue() << "' uses '" << symbol
                       << "', which is no scalar of the kernel";
    return *parsed;
  }

  KernelOp kernel;
};

} // namespace

FailureOr<LaunchTable> launchesOf(KernelOp kernel) {
  return Reader(kernel).read();
}

} // namespace nibble::qkernel
