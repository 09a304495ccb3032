// SPDX-License-Identifier: Apache-2.0
// matmul and grouped_matmul.
#include "tests/conformance/cases.h"

namespace orthant::testing {
namespace {

struct Product {
  int64_t m, n, k;
  bool trans_a = false, trans_b = false;
  int64_t pad_a = 0, pad_b = 0, pad_c = 0;
  Kind out = Kind::kModel;
  bool accumulate = false, prepared = false;
};

void multiply(Trial& run, const Product& p, const std::string& name) {
  const View a = run.in(Kind::kModel, p.trans_a ? std::vector{p.k, p.m} : std::vector{p.m, p.k},
                        normal(1), p.pad_a);
  const View b = run.in(Kind::kModel, p.trans_b ? std::vector{p.n, p.k} : std::vector{p.k, p.n},
                        normal(2), p.pad_b);
  const Near near = p.out == Kind::kWide ? Near::kWide : Near::kModel;
  const View c = p.accumulate ? run.inout(name, p.out, {p.m, p.n}, normal(3), near, p.pad_c)
                              : run.out(name, p.out, {p.m, p.n}, near, p.pad_c);
  const void* form = nullptr;
  if (p.prepared) form = run.prepared(b, p.trans_b ? WeightForm::kForward : WeightForm::kDataGrad);
  CALL(run, matmul,
       MatmulArgs{.a = a,
                  .b = b,
                  .c = c,
                  .trans_a = p.trans_a,
                  .trans_b = p.trans_b,
                  .accumulate = p.accumulate,
                  .prepared_b = form});
}

void multiply_all(Trial& run, const std::vector<Product>& products) {
  for (size_t i = 0; i < products.size(); ++i) multiply(run, products[i], "c" + std::to_string(i));
}

std::vector<Product> transposed(const Product& product) {
  std::vector<Product> products;
  for (const bool trans_a : {false, true}) {
    for (const bool trans_b : {false, true}) {
      products.push_back(product);
      products.back().trans_a = trans_a;
      products.back().trans_b = trans_b;
    }
  }
  return products;
}

struct Grouped {
  ProductForm form;
  std::vector<int64_t> offsets;
  int64_t in = 7, out = 9, pad_x = 0, pad_y = 0;
  bool accumulate = false, prepared = false;
};

void multiply_grouped(Trial& run, const Grouped& g) {
  const int64_t experts = static_cast<int64_t>(g.offsets.size()) - 1, rows = g.offsets.back();
  const bool weights = g.form == ProductForm::kWeightGrad;
  const bool data = g.form == ProductForm::kDataGrad;
  const View x = run.in(Kind::kModel, {rows, data ? g.out : g.in}, normal(1), g.pad_x);
  View w, y;
  if (weights) {
    const std::vector<int64_t> shape{experts, g.out, g.in};
    y = run.in(Kind::kModel, {rows, g.out}, normal(2), g.pad_y);
    w = g.accumulate ? run.inout("dw", Kind::kWide, shape, normal(3), Near::kWide)
                     : run.out("dw", Kind::kWide, shape, Near::kWide);
  } else {
    const std::vector<int64_t> shape{rows, data ? g.in : g.out};
    w = run.in(Kind::kModel, {experts, g.out, g.in}, normal(2));
    y = g.accumulate ? run.inout("y", Kind::kModel, shape, normal(3), Near::kModel, g.pad_y)
                     : run.out("y", Kind::kModel, shape, Near::kModel, g.pad_y);
  }
  const void* form = nullptr;
  if (g.prepared) form = run.prepared(w, data ? WeightForm::kDataGrad : WeightForm::kForward);
  CALL(run, grouped_matmul,
       GroupedMatmulArgs{.form = g.form,
                         .x = x,
                         .w = w,
                         .y = y,
                         .offsets = g.offsets.data(),
                         .prepared_w = form,
                         .accumulate = g.accumulate});
}

}  // namespace

void add_product_cases(std::vector<ConformanceCase>& cases) {
  const auto products = [&](const char* name, const std::vector<Product>& list) {
    cases.push_back({"matmul", name, [list](Trial& run) { multiply_all(run, list); }});
  };
  products("one element", {{.m = 1, .n = 1, .k = 1}});
  products("odd sizes", transposed({.m = 5, .n = 7, .k = 3}));
  products("larger odd sizes", transposed({.m = 33, .n = 65, .k = 129}));
  products("round sizes", transposed({.m = 64, .n = 48, .k = 32}));
  products("one row", transposed({.m = 1, .n = 130, .k = 70}));
  products("one column", transposed({.m = 70, .n = 1, .k = 33}));
  products("rows apart",
           transposed({.m = 17, .n = 19, .k = 21, .pad_a = 1, .pad_b = 3, .pad_c = 5}));
  products("wide result", transposed({.m = 9, .n = 35, .k = 24, .out = Kind::kWide}));
  products(
      "accumulated in the wide type",
      transposed({.m = 31, .n = 18, .k = 257, .pad_c = 2, .out = Kind::kWide, .accumulate = true}));
  products("accumulated", transposed({.m = 31, .n = 18, .k = 257, .pad_c = 2, .accumulate = true}));
  products("prepared weight", {{.m = 13, .n = 40, .k = 36, .trans_b = true, .prepared = true},
                               {.m = 13, .n = 36, .k = 40, .prepared = true},
                               {.m = 1, .n = 37, .k = 33, .trans_b = true, .prepared = true}});

  const std::vector<int64_t> some{0, 3, 3, 10, 11, 11}, none{0, 0, 0, 0};
  const std::vector<int64_t> uneven{0, 70, 71, 71, 90};
  for (const auto& [form, text] : {std::pair{ProductForm::kForward, "forward"},
                                   std::pair{ProductForm::kDataGrad, "gradient of data"},
                                   std::pair{ProductForm::kWeightGrad, "gradient of weights"}}) {
    const auto grouped = [&](const std::string& name, Grouped g) {
      g.form = form;
      cases.push_back({"grouped_matmul", std::string(text) + ", " + name,
                       [g](Trial& run) { multiply_grouped(run, g); }});
    };
    grouped("experts without rows", {.form = form, .offsets = some});
    grouped("no rows at all", {.form = form, .offsets = none});
    grouped("rows apart", {.form = form, .offsets = some, .pad_x = 3, .pad_y = 1});
    grouped("larger", {.form = form, .offsets = uneven, .in = 65, .out = 34});
    grouped("accumulated", {.form = form, .offsets = some, .pad_y = 2, .accumulate = true});
    grouped("accumulated, no rows at all", {.form = form, .offsets = none, .accumulate = true});
    if (form != ProductForm::kWeightGrad) {
      grouped("prepared weights",
              {.form = form, .offsets = some, .in = 33, .out = 40, .prepared = true});
    }
  }
}

}  // namespace orthant::testing
