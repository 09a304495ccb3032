// SPDX-License-Identifier: Apache-2.0
// Norm, rotary, activation, softmax, loss, sums, casts, dropout, embedding.
#include "tests/conformance/cases.h"

namespace orthant::testing {
namespace {

struct Size {
  int64_t rows, cols, pad;
};
const std::vector<Size> kSizes = {{1, 1, 0}, {5, 33, 3}, {1, 130, 0}, {67, 64, 0}, {3, 1000, 1}};

std::string numbered(const char* name, size_t i) { return name + std::to_string(i); }

// body(run, size, index) for every size.
template <class F>
std::function<void(Trial&)> for_sizes(F body) {
  return [body](Trial& run) {
    for (size_t i = 0; i < kSizes.size(); ++i) body(run, kSizes[i], i);
  };
}

void norm(Trial& run, Size s, size_t i) {
  CALL(run, rms_norm,
       RmsNormArgs{
           .x = run.in(Kind::kModel, {s.rows, s.cols}, normal(1, 3.0), s.pad),
           .weight = run.in(Kind::kWide, {s.cols}, normal(2)),
           .y = run.out(numbered("y", i), Kind::kModel, {s.rows, s.cols}, Near::kModel, 2 * s.pad),
           .rstd = run.out(numbered("rstd", i), Kind::kWide, {s.rows}, Near::kWide),
           .eps = 1e-5});
}

void norm_grad(Trial& run, Size s, size_t i, bool accumulate) {
  const std::vector<int64_t> width{s.cols};
  const std::string name = numbered("dweight", i);
  CALL(run, rms_norm_grad,
       RmsNormGradArgs{
           .x = run.in(Kind::kModel, {s.rows, s.cols}, normal(1), s.pad),
           .weight = run.in(Kind::kWide, width, normal(2)),
           .rstd = run.in(Kind::kWide, {s.rows}, uniform(3, 0.5, 2.0)),
           .dy = run.in(Kind::kModel, {s.rows, s.cols}, normal(4), s.pad),
           .dx = run.out(numbered("dx", i), Kind::kModel, {s.rows, s.cols}, Near::kModel, s.pad),
           .dweight = accumulate ? run.inout(name, Kind::kWide, width, normal(5), Near::kWide)
                                 : run.out(name, Kind::kWide, width, Near::kWide),
           .accumulate = accumulate});
}

void scale_columns(Trial& run, Size s, size_t i) {
  CALL(run, scale_columns,
       ScaleColumnsArgs{.x = run.in(Kind::kModel, {s.rows, s.cols}, normal(1), s.pad),
                        .factor = run.in(Kind::kWide, {s.cols}, normal(2)),
                        .y = run.out(numbered("y", i), Kind::kModel, {s.rows, s.cols}, Near::kModel,
                                     2 * s.pad)});
}

void scale_columns_grad(Trial& run, Size s, size_t i, bool accumulate) {
  const std::vector<int64_t> width{s.cols};
  const std::string name = numbered("dfactor", i);
  CALL(run, scale_columns_grad,
       ScaleColumnsGradArgs{
           .x = run.in(Kind::kModel, {s.rows, s.cols}, normal(1), s.pad),
           .dy = run.in(Kind::kModel, {s.rows, s.cols}, normal(4), s.pad),
           .factor = run.in(Kind::kWide, width, normal(2)),
           .dx = run.out(numbered("dx", i), Kind::kModel, {s.rows, s.cols}, Near::kModel, s.pad),
           .dfactor = accumulate ? run.inout(name, Kind::kWide, width, normal(5), Near::kWide)
                                 : run.out(name, Kind::kWide, width, Near::kWide),
           .accumulate = accumulate});
}

// Of each head the columns from `offset` to the end, but `after`.
struct Part {
  int64_t offset = 0, after = 0;
};
void rotate(Trial& run, int64_t heads, int64_t head_dim, int64_t rest, bool inverse,
            Part part = {}) {
  const int64_t rows = 9, positions = 20, width = heads * head_dim + rest;
  const int64_t half = (head_dim - part.offset - part.after) / 2;
  CALL(run, rotary,
       RotaryArgs{.x = run.in(Kind::kModel, {rows, width}, normal(1), 3),
                  .y = run.out("y", Kind::kModel, {rows, width}, Near::kModel, 1),
                  .positions = run.in(Kind::kI32, {rows}, list({0, 1, 2, 3, 0, 1, 19, 0, 7})),
                  .cos = run.in(Kind::kWide, {positions, half}, uniform(2, -1, 1)),
                  .sin = run.in(Kind::kWide, {positions, half}, uniform(3, -1, 1)),
                  .heads = heads,
                  .head_dim = head_dim,
                  .inverse = inverse,
                  .offset = part.offset});
}

// A part of each head of x, and the same of y, which are otherwise of different widths.
void copy_heads(Trial& run, int64_t heads, int64_t width, int64_t x_step, int64_t y_step) {
  const int64_t rows = 7;
  const int64_t x_width = (heads - 1) * x_step + width, y_width = (heads - 1) * y_step + width;
  CALL(run, copy_heads,
       CopyHeadsArgs{.x = run.in(Kind::kModel, {rows, x_width}, normal(1), 3),
                     .y = run.inout("y", Kind::kModel, {rows, y_width}, normal(2), Near::kModel, 1),
                     .heads = heads,
                     .width = width,
                     .x_step = x_step,
                     .y_step = y_step});
}

void cross_entropy(Trial& run, int64_t rows, int64_t vocab, bool grad) {
  const Values labels = [=](int64_t i) {
    return i % 4 == 2 ? -1.0 : static_cast<double>(i * 7 % vocab);
  };
  CALL(run, cross_entropy,
       CrossEntropyArgs{
           .logits = run.in(Kind::kWide, {rows, vocab}, normal(1, 5.0), 3),
           .labels = run.in(Kind::kI32, {rows}, labels),
           .losses = run.out("losses", Kind::kF64, {rows}, Near::kWide),
           .dlogits =
               grad ? run.out("dlogits", Kind::kModel, {rows, vocab}, Near::kModel, 2) : View{}});
}

// The second of three parts of a vocabulary: labels are in it, before it and behind it.
void cross_entropy_of_part(Trial& run) {
  const int64_t rows = 9, vocab = 37, first = 20;
  const Values labels = [=](int64_t i) {
    return i % 4 == 2 ? -1.0 : static_cast<double>(i * 11 % (3 * vocab));
  };
  const View logits = run.in(Kind::kWide, {rows, vocab}, normal(1, 5.0), 3);
  const View label_view = run.in(Kind::kI32, {rows}, labels);
  CALL(run, vocab_sums,
       VocabSumsArgs{.logits = logits,
                     .labels = label_view,
                     .sums = run.out("sums", Kind::kF64, {rows, 3}, Near::kWide),
                     .first_label = first});
  CALL(run, cross_entropy,
       CrossEntropyArgs{.logits = logits,
                        .labels = label_view,
                        .sums = run.in(Kind::kF64, {3 * rows, 3}, uniform(2, 12, 20)),
                        .losses = run.out("losses", Kind::kF64, {rows}, Near::kWide),
                        .dlogits = run.out("dlogits", Kind::kModel, {rows, vocab}, Near::kModel, 2),
                        .first_label = first});
}

// Rows of another row's logits, some of them far from it, and one without a label.
void divergence(Trial& run, int64_t rows, int64_t columns, double forward, double reverse,
                bool grad) {
  const Values labels = [](int64_t i) { return i % 4 == 2 ? -1.0 : 0.0; };
  CALL(run, divergence,
       DivergenceArgs{
           .x = run.in(Kind::kWide, {rows, columns}, normal(1, 3.0), 3),
           .y = run.in(Kind::kWide, {rows, columns}, normal(2, 3.0), 1),
           .labels = run.in(Kind::kI32, {rows}, labels),
           .losses = run.out("losses", Kind::kF64, {rows}, Near::kWide),
           .dx = grad ? run.out("dx", Kind::kWide, {rows, columns}, Near::kWide, 2) : View{},
           .forward = forward,
           .reverse = reverse});
}

void cast(Trial& run, Kind from, Kind to, bool accumulate, Near near) {
  for (size_t i = 0; i < kSizes.size(); ++i) {
    const Size s = kSizes[i];
    const std::vector<int64_t> shape{s.rows, s.cols};
    const std::string name = numbered("y", i);
    CALL(run, cast,
         CastArgs{.x = run.in(from, shape, normal(1), s.pad),
                  .y = accumulate ? run.inout(name, to, shape, normal(2), near, 2 * s.pad)
                                  : run.out(name, to, shape, near, 2 * s.pad),
                  .accumulate = accumulate});
  }
}

void drop(Trial& run, double probability, uint64_t step, int64_t first_token, int64_t pad) {
  CALL(run, dropout,
       DropoutArgs{.x = run.in(Kind::kModel, {7, 33}, uniform(1, 1, 2), pad),
                   .y = run.out("y", Kind::kModel, {7, 33}, Near::kModel, 2 * pad),
                   .tokens = run.in(
                       Kind::kI64, {7},
                       [=](int64_t i) { return static_cast<double>(first_token + i * i % 5); }),
                   .key0 = 0x12345678,
                   .key1 = 0x9ABCDEF0,
                   .step = step,
                   .row_width = 33 + pad,
                   .first_column = pad,
                   .probability = probability});
}

// A rectangle of a matrix of 5 blocks a row, wherever it was cut.
void dequantize_nf4(Trial& run, int64_t rows, int64_t cols, int64_t row, int64_t column) {
  const int64_t last = column + cols - 1, blocks = last / 64 - column / 64 + 1;
  const int64_t groups = ((row + rows) * 5 + 255) / 256;
  const auto byte = [](int64_t i) { return static_cast<double>((i * 37 + i / 7) % 256); };
  CALL(run, dequantize,
       DequantizeArgs{.codes = run.in(Kind::kU8, {rows, last / 2 - column / 2 + 1}, byte, 3),
                      .scales = run.in(Kind::kU8, {rows, blocks}, byte, 1),
                      .nested = run.in(Kind::kF32, {1 + groups}, uniform(2, 0.01, 0.1)),
                      .y = run.out("y", Kind::kModel, {rows, cols}, Near::kModel, 2),
                      .format = Quantization::kNf4,
                      .first_row = row,
                      .first_column = column,
                      .row_blocks = 5});
}

void dequantize_int8(Trial& run, int64_t rows, int64_t cols) {
  CALL(run, dequantize,
       DequantizeArgs{
           .codes = run.in(
               Kind::kI8, {rows, cols},
               [](int64_t i) { return static_cast<double>((i * 37 + i / 7) % 255 - 127); }, 3),
           .scales = run.in(Kind::kF32, {rows}, uniform(2, 0.01, 0.1)),
           .y = run.out("y", Kind::kModel, {rows, cols}, Near::kModel, 2),
           .format = Quantization::kInt8});
}

Values ids_of(int64_t vocab) {
  return [vocab](int64_t i) {
    return i % 5 == 3 ? -1.0 : static_cast<double>(i * i % vocab);  // repeated, and padding
  };
}

void embed(Trial& run, int64_t vocab, int64_t width, int64_t rows) {
  CALL(run, embedding,
       EmbeddingArgs{.table = run.in(Kind::kModel, {vocab, width}, normal(1)),
                     .ids = run.in(Kind::kI32, {rows}, ids_of(vocab)),
                     .out = run.out("out", Kind::kModel, {rows, width}, Near::kExact, 3)});
}

void embed_grad(Trial& run, int64_t vocab, int64_t width, int64_t rows) {
  CALL(run, embedding_grad,
       EmbeddingGradArgs{
           .ids = run.in(Kind::kI32, {rows}, ids_of(vocab)),
           .dout = run.in(Kind::kModel, {rows, width}, normal(1), 1),
           .dtable = run.inout("dtable", Kind::kWide, {vocab, width}, normal(2), Near::kWide)});
}

}  // namespace

void add_elementwise_cases(std::vector<ConformanceCase>& cases) {
  const auto add = [&](const char* op, const char* name, std::function<void(Trial&)> body) {
    cases.push_back({op, name, std::move(body)});
  };
  add("embedding", "padding and repeated ids", [](Trial& run) { embed(run, 11, 6, 13); });
  add("embedding", "one wide row", [](Trial& run) { embed(run, 3, 257, 1); });
  add("embedding_grad", "padding and repeated ids", [](Trial& run) { embed_grad(run, 11, 6, 13); });
  add("embedding_grad", "many rows of few ids", [](Trial& run) { embed_grad(run, 3, 33, 700); });

  add("rms_norm", "sizes", for_sizes(norm));
  add("rms_norm_grad", "sizes",
      for_sizes([](Trial& run, Size s, size_t i) { norm_grad(run, s, i, false); }));
  add("rms_norm_grad", "accumulated",
      for_sizes([](Trial& run, Size s, size_t i) { norm_grad(run, s, i, true); }));
  add("rms_norm_grad", "many rows", [](Trial& run) { norm_grad(run, {700, 17, 0}, 0, true); });

  add("scale_columns", "sizes", for_sizes(scale_columns));
  add("scale_columns_grad", "sizes",
      for_sizes([](Trial& run, Size s, size_t i) { scale_columns_grad(run, s, i, false); }));
  add("scale_columns_grad", "accumulated",
      for_sizes([](Trial& run, Size s, size_t i) { scale_columns_grad(run, s, i, true); }));
  add("scale_columns_grad", "many rows", [](Trial& run) {
    scale_columns_grad(run, {700, 17, 0}, 0, true);
  });

  add("rotary", "some heads of a row", [](Trial& run) { rotate(run, 3, 6, 5, false); });
  add("rotary", "turned back", [](Trial& run) { rotate(run, 3, 6, 5, true); });
  add("rotary", "all of a row", [](Trial& run) { rotate(run, 1, 2, 0, false); });
  add("rotary", "a part of a head",
      [](Trial& run) { rotate(run, 3, 11, 2, false, {.offset = 3, .after = 2}); });
  add("rotary", "the end of a head, turned back",
      [](Trial& run) { rotate(run, 2, 192, 0, true, {.offset = 128}); });
  add("copy_heads", "between widths", [](Trial& run) { copy_heads(run, 3, 5, 9, 7); });
  add("copy_heads", "one head for all", [](Trial& run) { copy_heads(run, 4, 6, 0, 10); });
  add("copy_heads", "sum over heads", [](Trial& run) { copy_heads(run, 5, 33, 40, 0); });
  add("copy_heads", "whole rows", [](Trial& run) { copy_heads(run, 1, 70, 70, 70); });
  add("rotary", "head of 64", [](Trial& run) { rotate(run, 2, 64, 64, false); });

  add("swiglu", "sizes", for_sizes([](Trial& run, Size s, size_t i) {
        CALL(run, swiglu,
             SwigluArgs{.x = run.in(Kind::kModel, {s.rows, 2 * s.cols}, normal(1, 3), s.pad),
                        .y = run.out(numbered("y", i), Kind::kModel, {s.rows, s.cols}, Near::kModel,
                                     2 * s.pad)});
      }));
  add("swiglu", "no rows", [](Trial& run) {
    CALL(run, swiglu,
         SwigluArgs{.x = run.in(Kind::kModel, {0, 14}, constant(0)),
                    .y = run.out("y", Kind::kModel, {0, 7})});
  });
  add("swiglu_grad", "sizes", for_sizes([](Trial& run, Size s, size_t i) {
        CALL(run, swiglu_grad,
             SwigluGradArgs{.x = run.in(Kind::kModel, {s.rows, 2 * s.cols}, normal(1, 3), s.pad),
                            .dy = run.in(Kind::kModel, {s.rows, s.cols}, normal(2), s.pad),
                            .dx = run.out(numbered("dx", i), Kind::kModel, {s.rows, 2 * s.cols},
                                          Near::kModel, 2 * s.pad)});
      }));
  add("swiglu_grad", "no rows", [](Trial& run) {
    CALL(run, swiglu_grad,
         SwigluGradArgs{.x = run.in(Kind::kModel, {0, 14}, constant(0)),
                        .dy = run.in(Kind::kModel, {0, 7}, constant(0)),
                        .dx = run.out("dx", Kind::kModel, {0, 14})});
  });

  add("softmax", "sizes, large entries", for_sizes([](Trial& run, Size s, size_t i) {
        CALL(run, softmax,
             SoftmaxArgs{.x = run.in(Kind::kWide, {s.rows, s.cols}, uniform(1, -120, 120), s.pad),
                         .y = run.out(numbered("y", i), Kind::kWide, {s.rows, s.cols}, Near::kWide,
                                      2 * s.pad)});
      }));
  add("softmax_grad", "sizes", for_sizes([](Trial& run, Size s, size_t i) {
        CALL(run, softmax_grad,
             SoftmaxGradArgs{.y = run.in(Kind::kWide, {s.rows, s.cols}, uniform(1, 0, 0.1), s.pad),
                             .dy = run.in(Kind::kWide, {s.rows, s.cols}, normal(2), s.pad),
                             .dx = run.out(numbered("dx", i), Kind::kWide, {s.rows, s.cols},
                                           Near::kWide, 2 * s.pad)});
      }));
  add("cross_entropy", "with gradient", [](Trial& run) { cross_entropy(run, 9, 37, true); });
  add("cross_entropy", "losses only", [](Trial& run) { cross_entropy(run, 9, 37, false); });
  add("vocab_sums", "and the cross-entropy of a part", cross_entropy_of_part);
  add("cross_entropy", "one row, large vocabulary",
      [](Trial& run) { cross_entropy(run, 1, 5003, true); });

  add("divergence", "forward", [](Trial& run) { divergence(run, 9, 37, 1, 0, true); });
  add("divergence", "reverse", [](Trial& run) { divergence(run, 9, 37, 0, 1, true); });
  add("divergence", "both, losses only",
      [](Trial& run) { divergence(run, 9, 37, 0.3, 0.7, false); });
  add("divergence", "both, one row, many columns",
      [](Trial& run) { divergence(run, 1, 5003, 0.3, 0.7, true); });

  add("add", "sizes", for_sizes([](Trial& run, Size s, size_t i) {
        CALL(run, add,
             BinaryArgs{.a = run.in(Kind::kModel, {s.rows, s.cols}, normal(1), s.pad),
                        .b = run.in(Kind::kModel, {s.rows, s.cols}, normal(2)),
                        .y = run.out(numbered("y", i), Kind::kModel, {s.rows, s.cols}, Near::kModel,
                                     2 * s.pad)});
      }));
  add("add", "in place", for_sizes([](Trial& run, Size s, size_t i) {
        const View y = run.inout(numbered("y", i), Kind::kWide, {s.rows, s.cols}, normal(1),
                                 Near::kWide, s.pad);
        CALL(run, add,
             BinaryArgs{
                 .a = y, .b = run.in(Kind::kWide, {s.rows, s.cols}, normal(2), s.pad), .y = y});
      }));
  add("scale", "sizes", for_sizes([](Trial& run, Size s, size_t i) {
        CALL(run, scale,
             ScaleArgs{.x = run.in(Kind::kModel, {s.rows, s.cols}, normal(1), s.pad),
                       .y = run.out(numbered("y", i), Kind::kModel, {s.rows, s.cols}, Near::kModel,
                                    2 * s.pad),
                       .factor = -1.7});
      }));
  add("scale", "in place", for_sizes([](Trial& run, Size s, size_t i) {
        const View y = run.inout(numbered("y", i), Kind::kModel, {s.rows, s.cols}, normal(1),
                                 Near::kModel, s.pad);
        CALL(run, scale, ScaleArgs{.x = y, .y = y, .factor = 0.3});
      }));
  add("cast", "the same type, bit for bit",
      [](Trial& run) { cast(run, Kind::kModel, Kind::kModel, false, Near::kExact); });
  add("cast", "wider, bit for bit",
      [](Trial& run) { cast(run, Kind::kModel, Kind::kWide, false, Near::kExact); });
  add("cast", "to f64, bit for bit",
      [](Trial& run) { cast(run, Kind::kModel, Kind::kF64, false, Near::kExact); });
  add("cast", "narrower",
      [](Trial& run) { cast(run, Kind::kWide, Kind::kModel, false, Near::kModel); });
  add("cast", "from f64",
      [](Trial& run) { cast(run, Kind::kF64, Kind::kModel, false, Near::kModel); });
  add("cast", "added", [](Trial& run) { cast(run, Kind::kModel, Kind::kWide, true, Near::kWide); });
  add("fill", "floating types", for_sizes([](Trial& run, Size s, size_t i) {
        CALL(run, fill,
             FillArgs{.y = run.out(numbered("y", i), Kind::kModel, {s.rows, s.cols}, Near::kExact,
                                   s.pad),
                      .value = i % 2 ? 1.5 : 0.0});
      }));
  add("fill", "integers", [](Trial& run) {
    CALL(run, fill, FillArgs{.y = run.out("y", Kind::kI32, {5, 3}, Near::kExact, 1), .value = -1});
  });
  add("dropout", "from the first token", [](Trial& run) { drop(run, 0.5, 1, 0, 0); });
  add("dropout", "rows apart, from a column on", [](Trial& run) { drop(run, 0.1, 3, 1001, 3); });
  add("dropout", "late tokens",
      [](Trial& run) { drop(run, 0.9, uint64_t{1} << 33, (int64_t{1} << 34) + 2, 0); });

  add("dequantize", "a whole matrix", [](Trial& run) { dequantize_nf4(run, 70, 300, 0, 0); });
  add("dequantize", "cut between blocks", [](Trial& run) { dequantize_nf4(run, 9, 128, 101, 64); });
  add("dequantize", "cut inside blocks and bytes",
      [](Trial& run) { dequantize_nf4(run, 33, 191, 40, 77); });
  add("dequantize", "one element", [](Trial& run) { dequantize_nf4(run, 1, 1, 7, 191); });
  add("dequantize", "int8", [](Trial& run) { dequantize_int8(run, 9, 77); });
}

}  // namespace orthant::testing
