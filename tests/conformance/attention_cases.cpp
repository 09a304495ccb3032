// SPDX-License-Identifier: Apache-2.0
// attention and attention_grad, on columns of one product as training uses them, and on a cache.
#include <limits>

#include "tests/conformance/cases.h"

namespace orthant::testing {
namespace {

struct Shape {
  int64_t batch = 2, length = 7, heads = 4, kv_heads = 2, qk_dim = 6, v_dim = 6;
  std::vector<double> documents;  // doc_start of all tokens; empty: not given
  int64_t pad = 0;
  int64_t window = 0;
};

// Forward, and backward with `grad`.
void attend(Trial& run, const Shape& s, bool grad, bool wants_lse = true) {
  const int64_t rows = s.batch * s.length;
  const int64_t q_end = s.heads * s.qk_dim, k_end = q_end + s.kv_heads * s.qk_dim;
  const int64_t v_end = k_end + s.kv_heads * s.v_dim;
  const View qkv = run.in(Kind::kModel, {rows, v_end}, normal(1), s.pad);
  const View doc_start =
      s.documents.empty() ? View{} : run.in(Kind::kI32, {rows}, list(s.documents));
  const AttentionArgs forward{
      .q = Trial::columns(qkv, 0, q_end),
      .k = Trial::columns(qkv, q_end, k_end),
      .v = Trial::columns(qkv, k_end, v_end),
      .o = run.out("o", Kind::kModel, {rows, s.heads * s.v_dim}, Near::kModel, s.pad),
      .lse = wants_lse ? run.out("lse", Kind::kWide, {rows, s.heads}) : View{},
      .doc_start = doc_start,
      .batch = s.batch,
      .q_len = s.length,
      .q_stride = s.length,
      .kv_len = s.length,
      .kv_stride = s.length,
      .heads = s.heads,
      .kv_heads = s.kv_heads,
      .qk_dim = s.qk_dim,
      .v_dim = s.v_dim,
      .window = s.window,
      .scale = 0.4};
  CALL(run, attention, forward);
  if (!grad) return;
  const View dqkv = run.out("dqkv", Kind::kModel, {rows, v_end}, Near::kModel, s.pad);
  CALL(run, attention_grad,
       AttentionGradArgs{.forward = forward,
                         .do_ = run.in(Kind::kModel, {rows, s.heads * s.v_dim}, normal(2), s.pad),
                         .dq = Trial::columns(dqkv, 0, q_end),
                         .dk = Trial::columns(dqkv, q_end, k_end),
                         .dv = Trial::columns(dqkv, k_end, v_end)});
}

// q_len new tokens behind q_offset old ones in a cache of `capacity` rows a sequence.  Rows behind
// them were never written: they hold NaN, and nobody may look.
void decode(Trial& run, int64_t q_len, int64_t q_offset, int64_t capacity, int64_t window = 0) {
  const int64_t batch = 3, heads = 4, kv_heads = 2, qk_dim = 8, v_dim = 10;
  const auto cached = [&](int64_t width, uint64_t seed) {
    const Values values = normal(seed);
    const Values cache = [=](int64_t i) {
      const int64_t row = i / width % capacity;
      return row < q_offset + q_len ? values(i) : std::numeric_limits<double>::quiet_NaN();
    };
    return run.in(Kind::kModel, {batch * capacity, width}, cache);
  };
  CALL(run, attention,
       AttentionArgs{.q = run.in(Kind::kModel, {batch * q_len, heads * qk_dim}, normal(1), 4),
                     .k = cached(kv_heads * qk_dim, 2),
                     .v = cached(kv_heads * v_dim, 3),
                     .o = run.out("o", Kind::kModel, {batch * q_len, heads * v_dim}),
                     .lse = run.out("lse", Kind::kWide, {batch * q_len, heads}),
                     .doc_start = {},
                     .batch = batch,
                     .q_len = q_len,
                     .q_stride = q_len,
                     .q_offset = q_offset,
                     .kv_len = q_offset + q_len,
                     .kv_stride = capacity,
                     .heads = heads,
                     .kv_heads = kv_heads,
                     .qk_dim = qk_dim,
                     .v_dim = v_dim,
                     .window = window,
                     .scale = 0.35});
}

// New rows of sequences whose pages are strewn over a pool.  Rows that nobody wrote hold NaN.
struct PagedSequence {
  int64_t count, position, first_key;
};
void attend_pages(Trial& run, const std::vector<PagedSequence>& sequences, int64_t window,
                  bool transposed, int64_t v_dim = 10) {
  const int64_t page_rows = 64, heads = 6, kv_heads = 2, qk_dim = 8;
  const int64_t width = kv_heads * (qk_dim + v_dim);
  const int64_t page_bytes = page_rows * width * size_of(run.type(Kind::kModel));
  std::vector<double> table, distances;
  std::vector<int64_t> written;  // rows, by page of the pool
  int64_t rows = 0, pages = 0;
  for (const PagedSequence& s : sequences)
    pages += (s.position + s.count - s.first_key + page_rows - 1) / page_rows;
  written.resize(static_cast<size_t>(pages));
  for (const PagedSequence& s : sequences) {
    for (const int64_t value : {rows, s.count, s.position, s.first_key, std::ssize(distances)})
      table.push_back(static_cast<double>(value));
    rows += s.count;
    for (int64_t at = s.first_key; at < s.position + s.count; at += page_rows) {
      const int64_t page = pages - 1 - std::ssize(distances);  // the last page of the pool first
      written[static_cast<size_t>(page)] = std::min(page_rows, s.position + s.count - at);
      distances.push_back(static_cast<double>(page * page_bytes));
    }
  }
  // In a page the rows of one head stand side by side, keys before values.
  const int64_t keys = kv_heads * qk_dim * page_rows;
  const Values values = normal(2);
  const View pool = run.in(Kind::kModel, {pages, page_rows * width}, [&](int64_t i) {
    const int64_t page = i / (page_rows * width), at = i % (page_rows * width);
    const int64_t row = at >= keys   ? (at - keys) / v_dim % page_rows
                        : transposed ? at % page_rows
                                     : at / qk_dim % page_rows;
    const bool is_there = row < written[static_cast<size_t>(page)];
    return is_there ? values(i) : std::numeric_limits<double>::quiet_NaN();
  });
  const auto first_head = [&](int64_t begin, int64_t of_head) {
    View view = Trial::columns(pool, begin, begin + of_head);
    view.shape[0] = page_rows;
    view.row_stride = of_head;
    return view;
  };
  View k = first_head(0, qk_dim);
  if (transposed) k.shape[0] = qk_dim, k.shape[1] = k.row_stride = page_rows;
  CALL(run, paged_attention,
       PagedAttentionArgs{.q = run.in(Kind::kModel, {rows, heads * qk_dim}, normal(1), 4),
                          .k = k,
                          .v = first_head(keys, v_dim),
                          .o = run.out("o", Kind::kModel, {rows, heads * v_dim}),
                          .sequences = run.in(Kind::kI64, {std::ssize(sequences), 5}, list(table)),
                          .pages = run.in(Kind::kI64, {std::ssize(distances)}, list(distances)),
                          .page_rows = page_rows,
                          .k_step = page_rows * qk_dim,
                          .v_step = page_rows * v_dim,
                          .heads = heads,
                          .kv_heads = kv_heads,
                          .qk_dim = qk_dim,
                          .v_dim = v_dim,
                          .window = window,
                          .scale = 0.35,
                          .k_transposed = transposed});
}

// The last 40 of 100 tokens as queries, over two chunks of keys, one after the other; both in
// memory with other rows between the sequences.  Sums go on from what is there.
void attend_chunks(Trial& run, bool grad, bool has_documents, int64_t window) {
  const int64_t batch = 2, heads = 4, kv_heads = 2, qk_dim = 8, v_dim = 10;
  const int64_t rows = 40, q_stride = 47, kv_stride = 43;
  const auto starts = [=](int64_t i) {
    return i / q_stride == 0 ? 25.0 : i % q_stride < 11 ? 7.0 : 71.0;
  };
  // Some rows have seen nothing yet.
  const auto seen_before = [=](int64_t i) {
    const int64_t row = i / heads % q_stride;
    return row < rows && row % 3 == 0 ? -std::numeric_limits<double>::infinity() : normal(8)(i);
  };
  AttentionArgs args{
      .q = run.in(Kind::kModel, {batch * q_stride, heads * qk_dim}, normal(1), 4),
      .k = {},
      .v = {},
      .o = run.inout("o", Kind::kWide, {batch * q_stride, heads * v_dim}, normal(2), Near::kModel),
      .lse = run.inout("lse", Kind::kWide, {batch * q_stride, heads}, seen_before),
      .doc_start = has_documents ? run.in(Kind::kI32, {batch * q_stride}, starts) : View{},
      .batch = batch,
      .q_len = rows,
      .q_stride = q_stride,
      .q_offset = 60,
      .kv_len = rows,
      .kv_stride = kv_stride,
      .heads = heads,
      .kv_heads = kv_heads,
      .qk_dim = qk_dim,
      .v_dim = v_dim,
      .window = window,
      .scale = 0.35,
      .accumulate = 1};
  std::vector<AttentionArgs> chunks;
  for (const int64_t kv_offset : {int64_t{60}, int64_t{0}, int64_t{80}}) {
    const auto seed = static_cast<uint64_t>(kv_offset);
    args.k = run.in(Kind::kModel, {batch * kv_stride, kv_heads * qk_dim}, normal(3 + seed));
    args.v = run.in(Kind::kModel, {batch * kv_stride, kv_heads * v_dim}, normal(4 + seed));
    args.kv_offset = kv_offset;
    CALL(run, attention, args);
    chunks.push_back(args);
  }
  if (!grad) return;
  const View o = run.in(Kind::kModel, {batch * q_stride, heads * v_dim}, normal(5));
  const View dout = run.in(Kind::kModel, {batch * q_stride, heads * v_dim}, normal(6));
  const auto sum = [&](const char* name, int64_t count, int64_t width) {
    return run.inout(name, Kind::kWide, {count, width}, normal(7), Near::kModel);
  };
  const View dq = sum("dq", batch * q_stride, heads * qk_dim);
  const View dk = sum("dk", batch * kv_stride, kv_heads * qk_dim);
  const View dv = sum("dv", batch * kv_stride, kv_heads * v_dim);
  for (AttentionArgs& chunk : chunks) {
    chunk.o = o;
    CALL(run, attention_grad,
         AttentionGradArgs{
             .forward = chunk, .do_ = dout, .dq = dq, .dk = dk, .dv = dv, .accumulate = 1});
  }
}

// Documents of the given lengths, one row of them after the other.
std::vector<double> documents(const std::vector<std::vector<int64_t>>& rows) {
  std::vector<double> starts;
  for (const auto& row : rows) {
    int64_t start = 0;
    for (const int64_t length : row) {
      starts.insert(starts.end(), static_cast<size_t>(length), static_cast<double>(start));
      start += length;
    }
  }
  return starts;
}

}  // namespace

void add_attention_cases(std::vector<ConformanceCase>& cases) {
  const std::vector<std::pair<const char*, Shape>> shapes = {
      {"one token", {.batch = 1, .length = 1, .heads = 1, .kv_heads = 1, .qk_dim = 2, .v_dim = 1}},
      {"grouped queries", {}},
      {"one key head", {.heads = 6, .kv_heads = 1}},
      {"as many key heads", {.heads = 3, .kv_heads = 3, .qk_dim = 16, .v_dim = 16}},
      {"wider values", {.qk_dim = 8, .v_dim = 20, .pad = 3}},
      {"longer than a block", {.batch = 1, .length = 203, .heads = 2, .kv_heads = 1}},
      {"head of 64", {.length = 65, .heads = 2, .kv_heads = 1, .qk_dim = 64, .v_dim = 64}},
      // What a fused kernel takes: heads of a multiple of 8 elements, rows of 16 bytes.
      {"one token, heads of 8",
       {.batch = 3, .length = 1, .heads = 2, .kv_heads = 2, .qk_dim = 8, .v_dim = 8}},
      {"heads of 128", {.length = 130, .heads = 4, .kv_heads = 1, .qk_dim = 128, .v_dim = 128}},
      {"narrower values", {.length = 77, .heads = 3, .kv_heads = 3, .qk_dim = 192, .v_dim = 128}},
      {"heads of 24 and 16, rows apart", {.length = 45, .qk_dim = 24, .v_dim = 16, .pad = 8}},
      {"packed documents, heads of 64",
       {.length = 300,
        .qk_dim = 64,
        .v_dim = 64,
        .documents = documents({{130, 1, 169}, {3, 290, 7}})}},
      {"packed documents, narrower values",
       {.length = 200,
        .heads = 2,
        .kv_heads = 2,
        .qk_dim = 96,
        .v_dim = 64,
        .documents = documents({{140, 60}, {200}})}},
      {"packed documents", {.length = 9, .documents = documents({{4, 1, 4}, {9}})}},
      {"packed documents longer than a block",
       {.length = 150, .documents = documents({{70, 1, 79}, {3, 140, 7}}), .pad = 1}},
      {"window of one", {.window = 1}},
      {"window within a block", {.length = 100, .window = 9}},
      {"window of several blocks", {.length = 203, .window = 131}},
      {"window longer than the sequence", {.length = 20, .window = 21}},
      {"window, heads of 64", {.length = 130, .qk_dim = 64, .v_dim = 64, .window = 40}},
      {"window over packed documents",
       {.length = 150, .documents = documents({{70, 1, 79}, {3, 140, 7}}), .window = 33}}};
  for (const auto& [name, shape] : shapes) {
    cases.push_back({"attention", name, [s = shape](Trial& run) { attend(run, s, false); }});
    cases.push_back({"attention_grad", name, [s = shape](Trial& run) { attend(run, s, true); }});
  }
  cases.push_back({"attention", "no lse wanted", [](Trial& run) {
                     attend(run, {.length = 70, .qk_dim = 64, .v_dim = 64}, false, false);
                   }});
  for (const bool grad : {false, true})
    for (const bool has_documents : {false, true})
      for (const int64_t window : {int64_t{0}, int64_t{50}, int64_t{7}})
        cases.push_back({grad ? "attention_grad" : "attention",
                         "chunks" + std::string(has_documents ? ", packed documents" : "") +
                             (window ? ", window " + std::to_string(window) : ""),
                         [=](Trial& run) { attend_chunks(run, grad, has_documents, window); }});
  cases.push_back(
      {"attention", "first token of a cache", [](Trial& run) { decode(run, 1, 0, 5); }});
  cases.push_back(
      {"attention", "one token behind a cache", [](Trial& run) { decode(run, 1, 9, 16); }});
  cases.push_back(
      {"attention", "tokens behind a cache", [](Trial& run) { decode(run, 3, 5, 11); }});
  cases.push_back(
      {"attention", "behind a long cache", [](Trial& run) { decode(run, 2, 300, 320); }});
  for (const bool transposed : {false, true}) {
    const auto add = [&](const std::string& name, const std::vector<PagedSequence>& sequences,
                         int64_t window, int64_t v_dim) {
      cases.push_back(
          {"paged_attention", name + (transposed ? ", keys transposed" : ""),
           [=](Trial& run) { attend_pages(run, sequences, window, transposed, v_dim); }});
    };
    add("the first tokens", {{1, 0, 0}, {70, 0, 0}}, 0, 10);
    add("sequences of many lengths", {{1, 63, 0}, {1, 64, 0}, {3, 300, 0}, {130, 20, 0}}, 0, 10);
    add("values of whole vectors", {{1, 63, 0}, {1, 64, 0}, {1, 330, 0}, {2, 20, 0}}, 0, 32);
    add("rolling windows", {{1, 63, 0}, {2, 300, 192}, {1, 129, 64}}, 60, 16);
  }
  cases.push_back({"attention", "behind a cache, in a window",
                   [](Trial& run) { decode(run, 2, 300, 320, 90); }});
}

}  // namespace orthant::testing
