//===- Selection.cpp - NonZero, and sizes that data decide ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Where an element goes depends on all before it: each of these kernels is one
// task. NonZero is called when the number of its columns is known.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"

#include "nibble/dialects/QKernel/QKernel.h"

using namespace mlir;

namespace nibble::codegen {

namespace {

DimExpr oneTask(Kernel &, Operation *) { return DimExpr(1); }

//===----------------------------------------------------------------------===//
// NonZero
//===----------------------------------------------------------------------===//

/// Whether the element at a row-major position is not zero; NaN is not.
Value isNonzero(Kernel &kernel, Value tensor, Value position) {
  Value element = kernel.elementAt(tensor, position);
  return kernel.code.compare(Compare::ne, element,
                             kernel.code.zero(element.getType()));
}

Value countOf(Kernel &kernel, Value tensor) {
  const Shape &shape = kernel.shape(tensor);
  return kernel.evaluate(Kernel::product(shape, 0, shape.size()));
}

void countNonzero(Kernel &kernel, Operation *op, Value) {
  Code &code = kernel.code;
  Value x = op->getOperand(0), zero = code.index(0);
  Values count = code.loop(
      zero, countOf(kernel, x), 1, {zero},
      [&](Value i, llvm::ArrayRef<Value> sum) -> Values {
        return {code.add(sum[0],
                         code.resizeInteger(isNonzero(kernel, x, i), code.i64(),
                                            /*isUnsigned=*/true))};
      });
  kernel.storeAt(op->getResult(0), zero, count[0]);
}

/// Column k of the result is the index of the element that is the k-th which is
/// not zero.
void nonZero(Kernel &kernel, Operation *op, Value) {
  Code &code = kernel.code;
  Value x = op->getOperand(0), result = op->getResult(0);
  Value zero = code.index(0), columns = kernel.size(result, 1);
  code.loop(
      zero, countOf(kernel, x), 1, {zero},
      [&](Value i, llvm::ArrayRef<Value> found) -> Values {
        // Never behind the result, whatever the size was said to be.
        Value take = code.bitAnd(isNonzero(kernel, x, i),
                                 code.compare(Compare::lt, found[0], columns));
        code.branch(take, [&] {
          Values index = kernel.indexOf(i, kernel.shape(x));
          for (auto [row, position] : llvm::enumerate(index))
            kernel.store(result,
                         {code.index(static_cast<int64_t>(row)), found[0]},
                         position);
        });
        return {code.add(found[0], code.resizeInteger(take, code.i64(),
                                                      /*isUnsigned=*/true))};
      });
}

//===----------------------------------------------------------------------===//
// Unique
//===----------------------------------------------------------------------===//

/// Writes the code of `qkernel.unique_groups`.
class UniqueGroups {
public:
  UniqueGroups(Kernel &kernel, qkernel::UniqueGroupsOp op)
      : kernel(kernel), code(kernel.code), op(op), x(op.getX()),
        first(kernel.output(op.getFirst())),
        inverse(kernel.output(op.getInverse())),
        counts(kernel.output(op.getCounts())), zero(code.index(0)),
        one(code.index(1)) {
    const Shape &shape = kernel.shape(x);
    size_t rank = shape.size(), axis = op.getAxis().value_or(0);
    bool hasAxis = op.getAxis().has_value();
    slices = kernel.evaluate(hasAxis ? shape[axis]
                                     : Kernel::product(shape, 0, rank));
    outer = kernel.evaluate(Kernel::product(shape, 0, axis));
    inner =
        hasAxis ? kernel.evaluate(Kernel::product(shape, axis + 1, rank)) : one;
  }

  void emit() {
    sort();
    Value count = op.getSorted() ? numberSorted() : numberByFirst();
    kernel.storeAt(op.getCount(), zero, count);
  }

private:
  Value load(Value array, Value i) { return code.load(code.i64(), array, i); }
  Value flag(Value condition) {
    return code.resizeInteger(condition, code.i64(), /*isUnsigned=*/true);
  }

  /// -1, 0 or 1; NaN comes last, and equals NaN.
  Value compareElements(Value a, Value b) {
    bool isBoolean = a.getType().isInteger(1);
    if (isBoolean) {
      a = flag(a);
      b = flag(b);
    }
    bool isUnsigned = kernel.isUnsigned(x);
    Value order = code.sub(flag(code.compare(Compare::gt, a, b, isUnsigned)),
                           flag(code.compare(Compare::lt, a, b, isUnsigned)));
    if (!kernel.isFloat(x))
      return order;
    return code.add(order, code.sub(flag(code.compare(Compare::ne, a, a)),
                                    flag(code.compare(Compare::ne, b, b))));
  }

  /// The same for slices: the first elements that differ decide.
  Value compareSlices(Value a, Value b) {
    auto at = [&](Value o, Value slice, Value i) {
      Value row = code.add(code.mul(o, slices), slice);
      return kernel.elementAt(x, code.add(code.mul(row, inner), i));
    };
    auto overInner = [&](Value o, llvm::ArrayRef<Value> before) -> Values {
      return code.loop(
          zero, inner, 1, before,
          [&](Value i, llvm::ArrayRef<Value> order) -> Values {
            return {code.choose(
                code.compare(Compare::ne, order[0], zero),
                [&] { return order[0]; },
                [&] { return compareElements(at(o, a, i), at(o, b, i)); })};
          });
    };
    return code.loop(zero, outer, 1, {zero}, overInner)[0];
  }

  /// Merges the sorted runs [lo, mid) and [mid, hi) of `from`.
  void merge(Value from, Value to, Value lo, Value mid, Value hi) {
    code.loop(lo, hi, 1, {lo, mid},
              [&](Value k, llvm::ArrayRef<Value> next) -> Values {
                Value leftDone = code.compare(Compare::ge, next[0], mid);
                Value rightDone = code.compare(Compare::ge, next[1], hi);
                Value left = load(from, code.select(leftDone, lo, next[0]));
                Value right = load(from, code.select(rightDone, lo, next[1]));
                // Equal slices stay in order.
                Value isLess =
                    code.compare(Compare::lt, compareSlices(right, left), zero);
                Value takeRight = code.select(rightDone, code.zero(code.i1()),
                                              code.bitOr(leftDone, isLess));
                code.store(code.select(takeRight, right, left), to, k);
                Value step = flag(takeRight);
                return {code.add(next[0], code.sub(one, step)),
                        code.add(next[1], step)};
              });
  }

  /// Makes `counts` the slices in ascending order, by merging runs of 1, 2, 4,
  /// ... slices from there to `first` and back.
  void sort() {
    code.loop(zero, slices, 1, [&](Value i) { code.store(i, counts, i); });
    constexpr int64_t mostPasses = 62;
    Values swapped =
        code.loop(zero, code.index(mostPasses), 1, {zero},
                  [&](Value pass, llvm::ArrayRef<Value> odd) -> Values {
                    Value width = code.shiftLeft(one, pass);
                    Value isActive = code.compare(Compare::lt, width, slices);
                    code.branch(isActive, [&] {
                      Value isOdd = code.compare(Compare::ne, odd[0], zero);
                      mergeAll(code.select(isOdd, first, counts),
                               code.select(isOdd, counts, first), width);
                    });
                    return {code.bitXor(odd[0], flag(isActive))};
                  });
    code.branch(code.compare(Compare::ne, swapped[0], zero), [&] {
      code.loop(zero, slices, 1,
                [&](Value i) { code.store(load(first, i), counts, i); });
    });
  }

  void mergeAll(Value from, Value to, Value width) {
    Value both = code.add(width, width);
    Value runs = code.divide(code.add(slices, code.sub(both, one)), both,
                             /*isUnsigned=*/true);
    code.loop(zero, runs, 1, [&](Value run) {
      Value lo = code.mul(run, both);
      Value mid = code.minimum(code.add(lo, width), slices);
      merge(from, to, lo, mid, code.minimum(code.add(lo, both), slices));
    });
  }

  /// Calls `body` on each slice in ascending order and whether it begins a
  /// group; `state` goes from one to the next. Element i of `counts` is not
  /// read again after call i.
  Values overSorted(
      llvm::ArrayRef<Value> state,
      llvm::function_ref<Values(Value, Value, llvm::ArrayRef<Value>)> body) {
    Values init{zero};
    init.append(state.begin(), state.end());
    Values last = code.loop(
        zero, slices, 1, init,
        [&](Value i, llvm::ArrayRef<Value> before) -> Values {
          Value slice = load(counts, i);
          Value isNew = code.choose(
              code.compare(Compare::eq, i, zero),
              [&] { return code.integer(code.i1(), 1); },
              [&] {
                return code.compare(Compare::ne,
                                    compareSlices(before[0], slice), zero);
              });
          Values next{slice};
          next.append(body(slice, isNew, before.drop_front()));
          return next;
        });
    last.erase(last.begin());
    return last;
  }

  /// Groups in ascending order; returns their number.
  Value numberSorted() {
    return overSorted(
        {zero, zero},
        [&](Value slice, Value isNew, llvm::ArrayRef<Value> state) -> Values {
          Value groups = code.add(state[0], flag(isNew));
          Value group = code.sub(groups, one);
          Value members = code.select(isNew, one, code.add(state[1], one));
          // The sort kept equal slices in order: the first is the lowest.
          code.branch(isNew, [&] { code.store(slice, first, group); });
          code.store(group, inverse, slice);
          code.store(members, counts, group);
          return {groups, members};
        })[0];
  }

  /// Groups in the order of their first slices.
  Value numberByFirst() {
    overSorted(
        {zero},
        [&](Value slice, Value isNew, llvm::ArrayRef<Value> leader) -> Values {
          Value now = code.select(isNew, slice, leader[0]);
          code.store(now, inverse, slice);
          return {now};
        });
    return code.loop(zero, slices, 1, {zero},
                     [&](Value slice, llvm::ArrayRef<Value> groups) -> Values {
                       Value leader = load(inverse, slice);
                       Value isNew = code.compare(Compare::eq, leader, slice);
                       code.branch(
                           isNew,
                           [&] {
                             code.store(slice, first, groups[0]);
                             code.store(one, counts, groups[0]);
                             code.store(groups[0], inverse, slice);
                           },
                           [&] {
                             // The leader lies before and has its number
                             // already.
                             Value group = load(inverse, leader);
                             code.store(group, inverse, slice);
                             code.store(code.add(load(counts, group), one),
                                        counts, group);
                           });
                       return {code.add(groups[0], flag(isNew))};
                     })[0];
  }

  Kernel &kernel;
  Code &code;
  qkernel::UniqueGroupsOp op;
  Value x, first, inverse, counts, zero, one;
  Value slices, outer, inner; ///< x is outer x slices x inner
};

void uniqueGroups(Kernel &kernel, Operation *op, Value) {
  UniqueGroups(kernel, cast<qkernel::UniqueGroupsOp>(op)).emit();
}

} // namespace

void addSelectionLowerings(LoweringTable &table) {
  table["onnx.NonZero"].tasks = oneTask;
  table["onnx.NonZero"].task = nonZero;
  table["qkernel.count_nonzero"].tasks = oneTask;
  table["qkernel.count_nonzero"].task = countNonzero;
  table["qkernel.unique_groups"].tasks = oneTask;
  table["qkernel.unique_groups"].task = uniqueGroups;
}

} // namespace nibble::codegen
