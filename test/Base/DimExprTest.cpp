//===- DimExprTest.cpp - Algebra, bounds and text of dimensions -*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Besides named cases, random expressions are built twice: as a DimExpr and as
// a tree evaluated in plain integers. Simplification may never change a value.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/DimExpr.h"

#include <gtest/gtest.h>
#include <random>

using namespace nibble;

using Values = std::map<std::string, int64_t>;

static DimExpr sym(const char *name) { return DimExpr::symbol(name); }

static DimExpr parsed(const std::string &text) {
  Expected<DimExpr> result = DimExpr::parse(text);
  EXPECT_TRUE(result) << result.status().message();
  return result ? *result : DimExpr();
}

static Expected<int64_t> valueOf(const DimExpr &e, const Values &values) {
  return e.evaluate([&](const std::string &name) -> std::optional<int64_t> {
    auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  });
}

//===----------------------------------------------------------------------===//
// Normal form
//===----------------------------------------------------------------------===//

TEST(DimExpr, HasOneNormalForm) {
  DimExpr a = sym("a"), b = sym("b");
  EXPECT_EQ((a + b) * (a - b), a * a - b * b);
  EXPECT_EQ((a + 1) * (a + 1), a * a + a * 2 + 1);
  EXPECT_EQ(a + b, b + a);
  EXPECT_EQ(a - a, DimExpr(0));
  EXPECT_EQ(a * 0, DimExpr(0));
  EXPECT_NE(a, b);
  EXPECT_EQ(DimExpr::max(a, b), DimExpr::max(b, a));
  EXPECT_EQ(parsed("seq + past"), sym("past") + sym("seq"));
  EXPECT_TRUE(a < b || b < a);
  EXPECT_FALSE(a < a);
}

TEST(DimExpr, Prints) {
  DimExpr a = sym("a"), b = sym("b");
  EXPECT_EQ((sym("seq") + sym("past")).str(), "past + seq");
  EXPECT_EQ((sym("seq") * sym("batch") * 2 + 1).str(), "2*batch*seq + 1");
  EXPECT_EQ(a.floorDiv(b).str(), "floordiv(a, b)");
  EXPECT_EQ((a - b * 2).str(), "a - 2*b");
  EXPECT_EQ((DimExpr(0) - a - 3).str(), "-a - 3");
  EXPECT_EQ(DimExpr(0).str(), "0");
  EXPECT_EQ(DimExpr(INT64_MIN).str(), "-9223372036854775808");
  EXPECT_EQ((a * INT64_MIN + b * INT64_MIN).str(),
            "-9223372036854775808*a + -9223372036854775808*b");
  EXPECT_EQ((DimExpr::max(a, 1) * a.mod(b)).str(), "mod(a, b)*max(a, 1)");
}

TEST(DimExpr, DividesExactly) {
  DimExpr b = sym("b"), s = sym("s"), p = sym("p");
  EXPECT_EQ((b * s * 64).floorDiv(b * 64), s);
  EXPECT_EQ(((p + s) * 8 * b).floorDiv(b * 8), p + s);
  EXPECT_EQ(((p + s) * (b + 3)).floorDiv(p + s), b + 3);
  EXPECT_EQ((p * p - s * s).floorDiv(p - s), p + s);
  EXPECT_EQ((s * 4 + 8).floorDiv(4), s + 2);
  EXPECT_EQ(s.floorDiv(1), s);
  EXPECT_EQ(s.floorDiv(-1), DimExpr(0) - s);
  EXPECT_EQ(s.floorDiv(s), DimExpr(1));
  EXPECT_EQ(DimExpr(-7).floorDiv(2), DimExpr(-4));
  EXPECT_EQ(DimExpr(7).floorDiv(-2), DimExpr(-4));
  EXPECT_EQ((b * s * 6).mod(s * 2), DimExpr(0));
  EXPECT_EQ(DimExpr(-7).mod(4), DimExpr(1));
  EXPECT_EQ(DimExpr(7).mod(-4), DimExpr(-1));
}

TEST(DimExpr, KeepsWhatDoesNotDivide) {
  DimExpr s = sym("s");
  EXPECT_EQ((s + 63).floorDiv(64).str(), "floordiv(s + 63, 64)");
  EXPECT_EQ((s * 64 + 63).floorDiv(64), s);
  EXPECT_EQ((s + 64).floorDiv(64), s.floorDiv(64) + 1);
  EXPECT_EQ((s * 16 + 16).floorDiv(64), (s + 1).floorDiv(4));
  EXPECT_EQ((s * 64 + 5).mod(64), DimExpr(5));
  EXPECT_EQ(s.mod(8).str(), "mod(s, 8)");
}

TEST(DimExpr, FoldsMinAndMax) {
  DimExpr a = sym("a"), b = sym("b");
  EXPECT_EQ(DimExpr::max(3, 5), DimExpr(5));
  EXPECT_EQ(DimExpr::min(3, 5), DimExpr(3));
  EXPECT_EQ(DimExpr::max(a, a), a);
  EXPECT_EQ(DimExpr::max(a + b, b + a + 2), a + b + 2);
  EXPECT_EQ(DimExpr::min(a, a - 1), a - 1);
  EXPECT_EQ(DimExpr::min(a, b).str(), "min(a, b)");
}

TEST(DimExpr, AnswersQueries) {
  DimExpr a = sym("a"), b = sym("b");
  EXPECT_EQ(DimExpr(4).asConstant(), 4);
  EXPECT_EQ((a - a).asConstant(), 0);
  EXPECT_EQ(a.asConstant(), std::nullopt);
  EXPECT_EQ(a.asSymbol(), "a");
  EXPECT_EQ((a * 2).asSymbol(), std::nullopt);
  EXPECT_EQ((a * b).asSymbol(), std::nullopt);
  EXPECT_EQ(DimExpr::max(a, 1).asSymbol(), std::nullopt);
  EXPECT_EQ((a * b.mod(sym("c")) + 1).symbols(),
            (std::set<std::string>{"a", "b", "c"}));
}

TEST(DimExpr, SubstitutesAtOnce) {
  DimExpr a = sym("a"), b = sym("b");
  EXPECT_EQ((a * 2 + b).substitute({{"a", b}, {"b", a}}), b * 2 + a);
  EXPECT_EQ(a.floorDiv(b).substitute({{"a", b * 6}, {"b", b * 2}}), DimExpr(3));
  EXPECT_EQ(DimExpr::max(a, b).substitute({{"a", 4}}).str(), "max(b, 4)");
}

//===----------------------------------------------------------------------===//
// Errors
//===----------------------------------------------------------------------===//

TEST(DimExpr, ReportsWhatCannotBeEvaluated) {
  DimExpr a = sym("a"), b = sym("b");
  EXPECT_EQ(valueOf(a, {}).status().message(), "dimension 'a' has no value");
  EXPECT_EQ(valueOf(a.floorDiv(b), {{"a", 1}, {"b", 0}}).status().message(),
            "division by zero");
  EXPECT_FALSE(valueOf(a.mod(b), {{"a", 1}, {"b", 0}}));
  EXPECT_FALSE(valueOf(a * b, {{"a", INT64_MAX}, {"b", 2}}));
  EXPECT_FALSE(valueOf(a + b, {{"a", INT64_MAX}, {"b", 1}}));
  EXPECT_FALSE(valueOf(a * a * a * a, {{"a", INT64_MAX}}));
  EXPECT_FALSE(valueOf(a.floorDiv(b), {{"a", INT64_MIN}, {"b", -1}}));
  EXPECT_EQ(*valueOf(a.mod(b), {{"a", INT64_MIN}, {"b", -1}}), 0);
  // Only the result has to fit.
  EXPECT_EQ(*valueOf(a * b - a * b + a * 2 - a, {{"a", INT64_MAX}, {"b", 9}}),
            INT64_MAX);
}

TEST(DimExpr, SpreadsInvalidity) {
  DimExpr a = sym("a");
  DimExpr zero = a.floorDiv(0);
  EXPECT_EQ(zero.str(), "invalid(division by zero)");
  EXPECT_EQ(((zero + 1) * a).str(), "invalid(division by zero)");
  // Equal dimensions may be taken for one; nothing is known of an invalid one.
  EXPECT_NE(zero, zero);
  EXPECT_EQ(valueOf(zero, {{"a", 1}}).status().message(),
            "cannot evaluate a dimension: division by zero");
  EXPECT_FALSE(zero.bound({{"a", {0, 1}}}));
  EXPECT_EQ(zero.asConstant(), std::nullopt);
  EXPECT_EQ((DimExpr(INT64_MAX) + 1).str(),
            "invalid(overflow of 64-bit arithmetic)");
  EXPECT_FALSE(valueOf(DimExpr(INT64_MIN).floorDiv(-1), {}));
  EXPECT_FALSE(valueOf(DimExpr(INT64_MAX) * 2 - INT64_MAX, {}));
  EXPECT_FALSE(valueOf(DimExpr::symbol("batch size"), {{"batch size", 1}}));
  EXPECT_FALSE(DimExpr::isSymbolName("1a"));
  EXPECT_TRUE(DimExpr::isSymbolName("unk__1.x"));
}

TEST(DimExpr, LimitsGrowth) {
  DimExpr product(1), power = sym("a"), nested = sym("a"), fibonacci = sym("a");
  for (int i = 0; i != 60; ++i) {
    std::string n = std::to_string(i);
    product = product * (DimExpr::symbol("x" + n) + DimExpr::symbol("y" + n));
    power = power * power;
    fibonacci = DimExpr::max(fibonacci, fibonacci * 2 + 1);
  }
  for (int i = 0; i != 1000; ++i)
    nested = nested.floorDiv(sym("b"));
  for (const DimExpr &e : {product, power, nested, fibonacci})
    EXPECT_EQ(e.str(), "invalid(expression is too large)");
}

// Equal trees that share nothing: comparing must stay linear.
TEST(DimExpr, ComparesDeepExpressions) {
  auto build = [] {
    DimExpr e = sym("a");
    for (int i = 0; i != 60; ++i)
      e = e.floorDiv(sym("b"));
    return e;
  };
  EXPECT_EQ(build(), build());
  EXPECT_EQ(parsed(build().str()), build());
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

TEST(DimExpr, ParsesTheGrammar) {
  DimExpr a = sym("a"), b = sym("b.c_1");
  EXPECT_EQ(parsed("2*(a+b.c_1)*a - -3"), (a + b) * a * 2 + 3);
  EXPECT_EQ(parsed(" max( a , 2 )*min(1,b.c_1) "),
            DimExpr::max(a, 2) * DimExpr::min(1, b));
  EXPECT_EQ(parsed("floordiv(mod(a, 7), -2)"), a.mod(7).floorDiv(-2));
  EXPECT_EQ(parsed("--a"), a);
  EXPECT_EQ(parsed("-9223372036854775808"), DimExpr(INT64_MIN));
  EXPECT_EQ(parsed("min + 1"), sym("min") + 1); // a symbol without '('
  EXPECT_EQ(parsed(std::string(64, '(') + "a" + std::string(64, ')')), a);
}

TEST(DimExpr, RefusesMalformedText) {
  for (const char *text : {"",
                           " ",
                           "a +",
                           "+a",
                           "a b",
                           "(a",
                           "a)",
                           "1a",
                           "a/b",
                           "foo(a, b)",
                           "max(a)",
                           "max(a, b",
                           "max(a b)",
                           "max(a, b, c)",
                           "a*",
                           "*",
                           "#",
                           "9223372036854775808",
                           "99999999999999999999999999",
                           "a\n",
                           "max(,)",
                           "floordiv(a, 0)",
                           "9223372036854775807 + 1"})
    EXPECT_FALSE(DimExpr::parse(text)) << text;
  EXPECT_FALSE(DimExpr::parse(std::string("a\0", 2)));
  EXPECT_FALSE(DimExpr::parse("\xc3\xa4"));
  EXPECT_EQ(DimExpr::parse("a + )").status().message(),
            "in dimension 'a + )': expects a number, a symbol or '(' at byte "
            "4, got ')'");
}

TEST(DimExpr, BoundsTheText) {
  EXPECT_FALSE(DimExpr::parse(std::string(4097, ' ') + "a"));
  EXPECT_FALSE(
      DimExpr::parse(std::string(65, '(') + "a" + std::string(65, ')')));
  EXPECT_FALSE(DimExpr::parse(std::string(4000, '(')));
  EXPECT_TRUE(DimExpr::parse(std::string(4000, '-') + "a"));
  std::string hostile = "(a+b)";
  for (char c = 'c'; hostile.size() < 4080; c = c == 'z' ? 'A' : c + 1)
    hostile += std::string("*(") + c + "+b" + c + std::to_string(c) + ")";
  EXPECT_FALSE(DimExpr::parse(hostile));
}

//===----------------------------------------------------------------------===//
// Random expressions
//===----------------------------------------------------------------------===//

namespace {

/// An expression and what it must evaluate to.
struct Sample {
  DimExpr e;
  std::optional<int64_t> value; // none after a division by zero
};

class Generator {
public:
  explicit Generator(unsigned seed) : random(seed) {}

  Values values() {
    Values result;
    for (const char *name : {"a", "b", "c"})
      result[name] = pick(-6, 12);
    return result;
  }

  Sample sample(const Values &values, int depth) {
    if (depth == 0 || pick(0, 5) == 0) {
      if (pick(0, 2) == 0) {
        int64_t constant = pick(-4, 8);
        return {constant, constant};
      }
      auto it = std::next(values.begin(), pick(0, 2));
      return {DimExpr::symbol(it->first), it->second};
    }
    Sample x = sample(values, depth - 1), y = sample(values, depth - 1);
    bool known = x.value && y.value;
    int64_t a = x.value.value_or(0), b = y.value.value_or(0);
    std::optional<int64_t> none;
    switch (pick(0, 6)) {
    case 0:
      return {x.e + y.e, known ? std::optional(a + b) : none};
    case 1:
      return {x.e - y.e, known ? std::optional(a - b) : none};
    case 2:
      return {x.e * y.e, known ? std::optional(a * b) : none};
    case 3:
      return {x.e.floorDiv(y.e),
              known && b != 0 ? std::optional(floorOf(a, b)) : none};
    case 4:
      return {x.e.mod(y.e),
              known && b != 0 ? std::optional(a - b * floorOf(a, b)) : none};
    case 5:
      return {DimExpr::min(x.e, y.e),
              known ? std::optional(std::min(a, b)) : none};
    default:
      return {DimExpr::max(x.e, y.e),
              known ? std::optional(std::max(a, b)) : none};
    }
  }

  int64_t pick(int64_t min, int64_t max) {
    return std::uniform_int_distribution<int64_t>(min, max)(random);
  }

private:
  static int64_t floorOf(int64_t a, int64_t b) {
    int64_t r = ((a % b) + b) % b;
    return (a - r) / b;
  }
  std::mt19937 random;
};

} // namespace

TEST(DimExprRandom, KeepsValues) {
  Generator generator(3);
  int checked = 0;
  for (int i = 0; i != 20000; ++i) {
    Values values = generator.values();
    Sample s = generator.sample(values, 4);
    if (!s.value)
      continue;
    ++checked;
    Expected<int64_t> got = valueOf(s.e, values);
    ASSERT_TRUE(got) << s.e.str() << ": " << got.status().message();
    EXPECT_EQ(*got, *s.value) << s.e.str();
    EXPECT_EQ(parsed(s.e.str()), s.e) << s.e.str();
    // Substituting some values and then the others is evaluating.
    DimExpr half = s.e.substitute({{"a", values["a"]}});
    EXPECT_EQ(half.symbols().count("a"), 0u);
    EXPECT_EQ(*valueOf(half, values), *s.value) << s.e.str();
  }
  EXPECT_GT(checked, 10000);
}

TEST(DimExprRandom, BoundsHold) {
  Generator generator(4);
  for (int i = 0; i != 3000; ++i) {
    Values first = generator.values();
    DimExpr e = generator.sample(first, 3).e;
    std::map<std::string, DimExpr::Bound> bounds;
    for (const auto &[name, value] : first)
      bounds[name] = {value, value + generator.pick(0, 3)};
    Expected<DimExpr::Bound> bound = e.bound(bounds);
    for (int64_t a = bounds["a"].min; a <= bounds["a"].max; ++a)
      for (int64_t b = bounds["b"].min; b <= bounds["b"].max; ++b)
        for (int64_t c = bounds["c"].min; c <= bounds["c"].max; ++c) {
          Expected<int64_t> value = valueOf(e, {{"a", a}, {"b", b}, {"c", c}});
          if (!value)
            continue;
          ASSERT_TRUE(bound) << e.str() << bound.status().message();
          EXPECT_LE(bound->min, *value) << e.str();
          EXPECT_GE(bound->max, *value) << e.str();
        }
  }
}

TEST(DimExpr, BoundsAreTightWithoutSigns) {
  std::map<std::string, DimExpr::Bound> bounds = {
      {"batch", {1, 4}}, {"past", {0, 100}}, {"seq", {1, 16}}};
  auto check = [&](const char *text, int64_t min, int64_t max) {
    Expected<DimExpr::Bound> bound = parsed(text).bound(bounds);
    ASSERT_TRUE(bound) << text;
    EXPECT_EQ(bound->min, min) << text;
    EXPECT_EQ(bound->max, max) << text;
  };
  check("past + seq", 1, 116);
  check("64*batch*seq*seq + 3", 67, 64 * 4 * 256 + 3);
  check("8*batch*(past + seq)", 8, 8 * 4 * 116);
  check("floordiv(seq + 7, 8)", 1, 2);
  check("mod(past, 8)", 0, 7);
  check("mod(seq, 64)", 1, 16);
  check("max(past, seq)", 1, 100);
  check("min(past, seq)", 0, 16);
  check("-seq", -16, -1);
  EXPECT_EQ(parsed("x").bound(bounds).status().message(),
            "dimension 'x' has no bound");
  EXPECT_EQ(parsed("seq").bound({{"seq", {2, 1}}}).status().message(),
            "dimension 'seq' has an empty range");
  EXPECT_FALSE(parsed("seq*seq").bound({{"seq", {0, INT64_MAX}}}));
}
