//===- Code.cpp - Writing kernels as if they were C++ ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each function creates one or two ops. Index arithmetic on constants is folded
// here, because emitters look at constants to choose code (constantIndex).
//
//===----------------------------------------------------------------------===//

#include "Code.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Matchers.h"

#include <numeric>

using namespace mlir;

namespace nibble::cpu {

//===----------------------------------------------------------------------===//
// Types and constants
//===----------------------------------------------------------------------===//

Type Code::pointer() {
  return LLVM::LLVMPointerType::get(builder.getContext());
}

Type Code::vector(Type element, int64_t count) {
  return count == 1 ? element : Type(VectorType::get({count}, element));
}

Type Code::sameShape(Type type, Type element) {
  if (auto vectorType = dyn_cast<VectorType>(type))
    return vectorType.clone(element);
  return element;
}

Value Code::integer(Type type, int64_t value) {
  Type element = getElementTypeOrSelf(type);
  APInt bits(64, static_cast<uint64_t>(value), true);
  TypedAttr attribute = builder.getIntegerAttr(
      element, bits.sextOrTrunc(element.getIntOrFloatBitWidth()));
  if (auto vectorType = dyn_cast<VectorType>(type))
    attribute = DenseElementsAttr::get(vectorType, Attribute(attribute));
  return arith::ConstantOp::create(builder, location, attribute);
}

Value Code::real(Type type, double value) {
  TypedAttr attribute = builder.getFloatAttr(getElementTypeOrSelf(type), value);
  if (auto vectorType = dyn_cast<VectorType>(type))
    attribute = DenseElementsAttr::get(vectorType, Attribute(attribute));
  return arith::ConstantOp::create(builder, location, attribute);
}

Value Code::zero(Type type) {
  return isa<FloatType>(getElementTypeOrSelf(type)) ? real(type, 0)
                                                    : integer(type, 0);
}

std::optional<int64_t> Code::constantIndex(Value value) {
  APInt constant;
  if (isa<IntegerType>(value.getType()) &&
      matchPattern(value, m_ConstantInt(&constant)))
    return constant.getSExtValue();
  return std::nullopt;
}

bool Code::isFloat(Value value) {
  return isa<FloatType>(getElementTypeOrSelf(value.getType()));
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

Value Code::add(Value a, Value b) {
  if (isFloat(a))
    return arith::AddFOp::create(builder, location, a, b);
  std::optional<int64_t> x = constantIndex(a), y = constantIndex(b);
  if (x && y)
    return integer(a.getType(), *x + *y);
  if (x == 0)
    return b;
  if (y == 0)
    return a;
  return arith::AddIOp::create(builder, location, a, b);
}

Value Code::sub(Value a, Value b) {
  if (isFloat(a))
    return arith::SubFOp::create(builder, location, a, b);
  std::optional<int64_t> x = constantIndex(a), y = constantIndex(b);
  if (x && y)
    return integer(a.getType(), *x - *y);
  return y == 0 ? a : arith::SubIOp::create(builder, location, a, b);
}

Value Code::mul(Value a, Value b) {
  if (isFloat(a))
    return arith::MulFOp::create(builder, location, a, b);
  std::optional<int64_t> x = constantIndex(a), y = constantIndex(b);
  if (x && y)
    return integer(a.getType(), *x * *y);
  if (x == 1 || y == 0)
    return b;
  if (y == 1 || x == 0)
    return a;
  return arith::MulIOp::create(builder, location, a, b);
}

Value Code::fma(Value a, Value b, Value c) {
  return math::FmaOp::create(builder, location, a, b, c);
}

Value Code::negate(Value a) {
  if (isFloat(a))
    return arith::NegFOp::create(builder, location, a);
  return sub(zero(a.getType()), a);
}

Value Code::divide(Value a, Value b, bool isUnsigned) {
  if (isFloat(a))
    return arith::DivFOp::create(builder, location, a, b);
  if (constantIndex(b) == 1)
    return a;
  if (isUnsigned)
    return arith::DivUIOp::create(builder, location, a, b);
  return arith::DivSIOp::create(builder, location, a, b);
}

Value Code::remainder(Value a, Value b, bool isUnsigned) {
  if (constantIndex(b) == 1)
    return zero(a.getType());
  if (isUnsigned)
    return arith::RemUIOp::create(builder, location, a, b);
  return arith::RemSIOp::create(builder, location, a, b);
}

Value Code::floorDivide(Value a, Value b) {
  Value quotient = divide(a, b);
  Value rest = sub(a, mul(quotient, b));
  Value none = zero(a.getType());
  Value signsDiffer = compare(Compare::lt, bitXor(a, b), none);
  Value adjust = bitAnd(compare(Compare::ne, rest, none), signsDiffer);
  return select(adjust, sub(quotient, integer(a.getType(), 1)), quotient);
}

Value Code::floorModulo(Value a, Value b) {
  return sub(a, mul(floorDivide(a, b), b));
}

Value Code::minimum(Value a, Value b, bool isUnsigned) {
  if (isFloat(a)) {
    // Keeps a NaN of either side, in two instructions that vectorize anywhere.
    Value smaller = select(compare(Compare::lt, b, a), b, a);
    return select(compare(Compare::ne, b, b), b, smaller);
  }
  return select(compare(Compare::lt, a, b, isUnsigned), a, b);
}

Value Code::maximum(Value a, Value b, bool isUnsigned) {
  if (isFloat(a)) {
    Value larger = select(compare(Compare::gt, b, a), b, a);
    return select(compare(Compare::ne, b, b), b, larger);
  }
  return select(compare(Compare::gt, a, b, isUnsigned), a, b);
}

Value Code::bitAnd(Value a, Value b) {
  return arith::AndIOp::create(builder, location, a, b);
}
Value Code::bitOr(Value a, Value b) {
  return arith::OrIOp::create(builder, location, a, b);
}
Value Code::bitXor(Value a, Value b) {
  return arith::XOrIOp::create(builder, location, a, b);
}
Value Code::shiftLeft(Value a, Value b) {
  return arith::ShLIOp::create(builder, location, a, b);
}
Value Code::shiftRight(Value a, Value b) {
  return arith::ShRUIOp::create(builder, location, a, b);
}

Value Code::compare(Compare kind, Value a, Value b, bool isUnsigned) {
  if (isFloat(a)) {
    using P = arith::CmpFPredicate;
    static constexpr P predicates[] = {P::OEQ, P::UNE, P::OLT,
                                       P::OLE, P::OGT, P::OGE};
    return arith::CmpFOp::create(builder, location,
                                 predicates[static_cast<int>(kind)], a, b);
  }
  using P = arith::CmpIPredicate;
  static constexpr P forSigned[] = {P::eq,  P::ne,  P::slt,
                                    P::sle, P::sgt, P::sge};
  static constexpr P forUnsigned[] = {P::eq,  P::ne,  P::ult,
                                      P::ule, P::ugt, P::uge};
  return arith::CmpIOp::create(
      builder, location,
      (isUnsigned ? forUnsigned : forSigned)[static_cast<int>(kind)], a, b);
}

Value Code::select(Value condition, Value a, Value b) {
  return arith::SelectOp::create(builder, location, condition, a, b);
}
Value Code::sqrt(Value a) { return math::SqrtOp::create(builder, location, a); }
Value Code::floor(Value a) {
  return math::FloorOp::create(builder, location, a);
}
Value Code::ceil(Value a) { return math::CeilOp::create(builder, location, a); }
Value Code::roundEven(Value a) {
  return math::RoundEvenOp::create(builder, location, a);
}
Value Code::absolute(Value a) {
  if (isFloat(a))
    return math::AbsFOp::create(builder, location, a);
  Value none = zero(a.getType());
  return select(compare(Compare::lt, a, none), sub(none, a), a);
}
Value Code::copySign(Value magnitude, Value sign) {
  return math::CopySignOp::create(builder, location, magnitude, sign);
}

//===----------------------------------------------------------------------===//
// Conversions
//===----------------------------------------------------------------------===//

Value Code::bitcast(Value value, Type type) {
  return arith::BitcastOp::create(builder, location,
                                  sameShape(value.getType(), type), value);
}

Value Code::toFloat(Value value, Type type, bool isUnsigned) {
  type = sameShape(value.getType(), type);
  if (isUnsigned)
    return arith::UIToFPOp::create(builder, location, type, value);
  return arith::SIToFPOp::create(builder, location, type, value);
}

Value Code::toInteger(Value value, Type type, bool isUnsigned) {
  type = sameShape(value.getType(), type);
  if (isUnsigned)
    return arith::FPToUIOp::create(builder, location, type, value);
  return arith::FPToSIOp::create(builder, location, type, value);
}

Value Code::resizeFloat(Value value, Type type) {
  unsigned from = getElementTypeOrSelf(value.getType()).getIntOrFloatBitWidth();
  unsigned to = type.getIntOrFloatBitWidth();
  if (from == to)
    return value;
  type = sameShape(value.getType(), type);
  if (from < to)
    return arith::ExtFOp::create(builder, location, type, value);
  return arith::TruncFOp::create(builder, location, type, value);
}

Value Code::resizeInteger(Value value, Type type, bool isUnsigned) {
  unsigned from = getElementTypeOrSelf(value.getType()).getIntOrFloatBitWidth();
  unsigned to = type.getIntOrFloatBitWidth();
  if (from == to)
    return value;
  type = sameShape(value.getType(), type);
  if (from > to)
    return arith::TruncIOp::create(builder, location, type, value);
  if (isUnsigned)
    return arith::ExtUIOp::create(builder, location, type, value);
  return arith::ExtSIOp::create(builder, location, type, value);
}

//===----------------------------------------------------------------------===//
// Vectors
//===----------------------------------------------------------------------===//

Value Code::broadcast(Value scalar, int64_t count) {
  if (count == 1)
    return scalar;
  Type type = vector(scalar.getType(), count);
  Value poison = LLVM::PoisonOp::create(builder, location, type);
  Value first = insert(poison, scalar, 0);
  llvm::SmallVector<int32_t> lanes(count, 0);
  return LLVM::ShuffleVectorOp::create(builder, location, first, poison, lanes);
}

Value Code::spread(Value scalar, Type type) {
  auto vectorType = dyn_cast<VectorType>(type);
  return vectorType ? broadcast(scalar, vectorType.getDimSize(0)) : scalar;
}

Value Code::extract(Value vector, int64_t lane) {
  if (!isa<VectorType>(vector.getType()))
    return vector;
  return LLVM::ExtractElementOp::create(builder, location, vector,
                                        integer(i32(), lane));
}

Value Code::insert(Value vector, Value scalar, int64_t lane) {
  return LLVM::InsertElementOp::create(builder, location, vector, scalar,
                                       integer(i32(), lane));
}

Value Code::slice(Value vector, int64_t first, int64_t count) {
  if (count == 1)
    return extract(vector, first);
  if (cast<VectorType>(vector.getType()).getDimSize(0) == count)
    return vector;
  llvm::SmallVector<int32_t> lanes;
  for (int64_t lane = 0; lane < count; ++lane)
    lanes.push_back(static_cast<int32_t>(first + lane));
  return LLVM::ShuffleVectorOp::create(builder, location, vector, vector,
                                       lanes);
}

Value Code::horizontalSum(Value vector) {
  auto type = dyn_cast<VectorType>(vector.getType());
  if (!type)
    return vector;
  int64_t count = type.getDimSize(0);
  if (count % 2)
    return add(horizontalSum(slice(vector, 0, count - 1)),
               extract(vector, count - 1));
  return horizontalSum(
      add(slice(vector, 0, count / 2), slice(vector, count / 2, count / 2)));
}

Value Code::horizontalMaximum(Value vector) {
  auto type = dyn_cast<VectorType>(vector.getType());
  if (!type)
    return vector;
  int64_t half = type.getDimSize(0) / 2;
  return horizontalMaximum(
      maximum(slice(vector, 0, half), slice(vector, half, half)));
}

Value Code::reinterpret(Value vector, Type element) {
  auto type = cast<VectorType>(vector.getType());
  int64_t bits = type.getDimSize(0) * type.getElementTypeBitWidth();
  auto result =
      VectorType::get({bits / element.getIntOrFloatBitWidth()}, element);
  return LLVM::BitcastOp::create(builder, location, result, vector);
}

Value Code::extend(Value vector, Value fill) {
  auto type = cast<VectorType>(fill.getType());
  auto own = dyn_cast<VectorType>(vector.getType());
  if (!own)
    return insert(fill, vector, 0);
  if (own == type)
    return vector;
  // Both operands of a shuffle have one type: first the length, then the fill.
  llvm::SmallVector<int32_t> widened(type.getDimSize(0), -1), filled;
  std::iota(widened.begin(), widened.begin() + own.getDimSize(0), 0);
  Value poison = LLVM::PoisonOp::create(builder, location, own);
  Value wide =
      LLVM::ShuffleVectorOp::create(builder, location, vector, poison, widened);
  for (int64_t lane = 0; lane < type.getDimSize(0); ++lane)
    filled.push_back(static_cast<int32_t>(
        lane < own.getDimSize(0) ? lane : lane + type.getDimSize(0)));
  return LLVM::ShuffleVectorOp::create(builder, location, wide, fill, filled);
}

Value Code::permute(Value vector, llvm::ArrayRef<int32_t> lanes) {
  return LLVM::ShuffleVectorOp::create(builder, location, vector, vector,
                                       lanes);
}

Value Code::pick(Value vector, Value lanes) {
  return intrinsic(vector.getType(), "llvm.x86.avx.vpermilvar.ps.256",
                   {vector, lanes});
}

//===----------------------------------------------------------------------===//
// Integer dot products
//===----------------------------------------------------------------------===//

Value Code::intrinsic(Type result, llvm::StringRef name, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(builder, location, result,
                                       builder.getStringAttr(name), operands)
      .getResult(0);
}

/// Pairwise, which is a shorter chain than one after the other.
static Value sumOf(Code &code, Values terms) {
  while (terms.size() > 1) {
    Values next;
    for (size_t i = 0; i < terms.size(); i += 2)
      next.push_back(i + 1 < terms.size() ? code.add(terms[i], terms[i + 1])
                                          : terms[i]);
    terms = std::move(next);
  }
  return terms[0];
}

Value Code::dotBytes(Value sum, llvm::ArrayRef<Value> unsignedBytes,
                     llvm::ArrayRef<Value> signedBytes, int64_t largest) {
  // A lane of vpmaddubsw is two products, at most 2 * 128 * largest in
  // magnitude. As many of them as 16 bits hold are added before they widen.
  size_t run = static_cast<size_t>(std::max<int64_t>(1, 32767 / 256 / largest));
  Type words = vector(i16(), 16), ints = vector(i32(), 8);
  Value ones = integer(words, 1);
  for (size_t first = 0; first < unsignedBytes.size(); first += run) {
    Values terms;
    for (size_t i = first; i < std::min(first + run, unsignedBytes.size()); ++i)
      terms.push_back(intrinsic(words, "llvm.x86.avx2.pmadd.ub.sw",
                                {unsignedBytes[i], signedBytes[i]}));
    sum = add(sum, intrinsic(ints, "llvm.x86.avx2.pmadd.wd",
                             {sumOf(*this, terms), ones}));
  }
  return sum;
}

Value Code::dotWords(Value sum, llvm::ArrayRef<Value> a,
                     llvm::ArrayRef<Value> b) {
  Values terms;
  for (auto [x, y] : llvm::zip_equal(a, b))
    terms.push_back(
        intrinsic(vector(i32(), 8), "llvm.x86.avx2.pmadd.wd", {x, y}));
  return add(sum, sumOf(*this, terms));
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value Code::address(Type element, Value base, Value offset) {
  if (constantIndex(offset) == 0)
    return base;
  return LLVM::GEPOp::create(builder, location, pointer(), element, base,
                             ValueRange(offset),
                             LLVM::GEPNoWrapFlags::inbounds);
}

static unsigned alignmentOf(Type element) {
  return isa<LLVM::LLVMPointerType>(element)
             ? 8
             : element.getIntOrFloatBitWidth() / 8;
}

Value Code::load(Type type, Value base, Value offset) {
  Type element = getElementTypeOrSelf(type);
  return LLVM::LoadOp::create(builder, location, type,
                              address(element, base, offset),
                              alignmentOf(element));
}

Value Code::loadFloats(Type stored, int64_t count, Value base, Value offset) {
  if (!stored.isBF16())
    return resizeFloat(load(vector(stored, count), base, offset), f32());
  Value upper = resizeInteger(load(vector(i16(), count), base, offset), i32(),
                              /*isUnsigned=*/true);
  return bitcast(shiftLeft(upper, integer(upper.getType(), 16)), f32());
}

void Code::store(Value value, Value base, Value offset) {
  Type element = getElementTypeOrSelf(value.getType());
  LLVM::StoreOp::create(builder, location, value,
                        address(element, base, offset), alignmentOf(element));
}

void Code::prefetch(Value base, int64_t bytes) {
  // Not `address`: the place need not be inside of anything.
  Value place = LLVM::GEPOp::create(builder, location, pointer(), i8(), base,
                                    ValueRange(index(bytes)));
  LLVM::Prefetch::create(builder, location, place, /*rw=*/0, /*hint=*/3,
                         /*cache=*/1);
}

Value Code::scratch(Type element, int64_t count) {
  // In the entry block: an alloca in a loop would grow the stack. What is being
  // built is not attached to the function yet, so the block is remembered.
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(entry);
  return LLVM::AllocaOp::create(builder, location, pointer(), element,
                                index(count), 64);
}

//===----------------------------------------------------------------------===//
// Control flow
//===----------------------------------------------------------------------===//

void Code::loop(Value from, Value to, int64_t step,
                llvm::function_ref<void(Value)> body) {
  loop(from, to, step, {}, [&](Value i, llvm::ArrayRef<Value>) -> Values {
    body(i);
    return {};
  });
}

Values
Code::loop(Value from, Value to, int64_t step, llvm::ArrayRef<Value> init,
           llvm::function_ref<Values(Value, llvm::ArrayRef<Value>)> body) {
  auto op = scf::ForOp::create(
      builder, location, from, to, index(step), init,
      [&](OpBuilder &, Location, Value i, ValueRange carried) {
        Values next = body(i, llvm::to_vector(carried));
        scf::YieldOp::create(builder, location, next);
      });
  return llvm::to_vector(llvm::map_range(
      op.getResults(), [](OpResult result) -> Value { return result; }));
}

void Code::branch(Value condition, llvm::function_ref<void()> then,
                  llvm::function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(builder, location, TypeRange(), condition,
                              static_cast<bool>(otherwise));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(op.thenBlock());
  then();
  if (!otherwise)
    return;
  builder.setInsertionPointToStart(op.elseBlock());
  otherwise();
}

Value Code::choose(Value condition, llvm::function_ref<Value()> then,
                   llvm::function_ref<Value()> otherwise) {
  auto yield = [&](llvm::function_ref<Value()> branch) {
    return [this, branch](OpBuilder &, Location) {
      Value value = branch();
      scf::YieldOp::create(builder, location, value);
    };
  };
  return scf::IfOp::create(builder, location, condition, yield(then),
                           yield(otherwise))
      .getResult(0);
}

//===----------------------------------------------------------------------===//
// Dimensions
//===----------------------------------------------------------------------===//

namespace {

/// Reads what DimExpr::str prints, emitting ops instead of building a tree: the
/// text is the interface of DimExpr, its nodes are private.
class DimensionEmitter {
public:
  DimensionEmitter(Code &code, llvm::StringRef text,
                   const llvm::StringMap<Value> &symbols)
      : code(code), text(text), symbols(symbols) {}

  Value sum() {
    Value result = product();
    while (true) {
      if (consume('+'))
        result = code.add(result, product());
      else if (consume('-'))
        result = code.sub(result, product());
      else
        return result;
    }
  }

private:
  bool consume(char c) {
    text = text.ltrim(' ');
    return text.consume_front(llvm::StringRef(&c, 1));
  }

  Value product() {
    Value result = factor();
    while (consume('*'))
      result = code.mul(result, factor());
    return result;
  }

  Value factor() {
    if (consume('-'))
      return code.sub(code.index(0), factor());
    if (consume('(')) {
      Value result = sum();
      consume(')');
      return result;
    }
    uint64_t number = 0;
    if (!text.consumeInteger(10, number))
      return code.index(static_cast<int64_t>(number));
    llvm::StringRef name = text.take_while(
        [](char c) { return llvm::isAlnum(c) || c == '_' || c == '.'; });
    text = text.drop_front(name.size());
    if (!consume('('))
      return symbol(name);
    Value a = sum();
    consume(',');
    Value b = sum();
    consume(')');
    return call(name, a, b);
  }

  Value symbol(llvm::StringRef name) {
    // Every symbol of a kernel is one of its scalars (qkernel.kernel C2).
    auto it = symbols.find(name);
    return it == symbols.end() ? code.index(0) : it->second;
  }

  Value call(llvm::StringRef name, Value a, Value b) {
    if (name == "floordiv")
      return code.floorDivide(a, b);
    if (name == "mod")
      return code.floorModulo(a, b);
    return name == "min" ? code.minimum(a, b) : code.maximum(a, b);
  }

  Code &code;
  llvm::StringRef text;
  const llvm::StringMap<Value> &symbols;
};

} // namespace

Value Code::dimension(const DimExpr &expression,
                      const llvm::StringMap<Value> &symbols) {
  if (std::optional<int64_t> constant = expression.asConstant())
    return index(*constant);
  std::string text = expression.str();
  return DimensionEmitter(*this, text, symbols).sum();
}

} // namespace nibble::cpu
