// SPDX-License-Identifier: Apache-2.0
// How fast a device computes single ops of the table: products and attention in TFLOP/s, what only
// moves memory in GB/s (every operand once), each beside the device's ceiling where that is known.
//   op_bench [cpu|cuda] [--small] [--window]
//   --small: a sixteenth of the rows, to try it out; --window: attention with and without a window,
//   nothing else
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "base/philox.h"
#include "bench/ceilings.h"
#include "tensor/ops/call.h"
#include "trainer/device.h"

namespace orthant {
namespace {

using ops::view_of;

class Bench {
 public:
  Bench(Device device, bool small) : device_(device), small_(small) {
    for (const DType dtype : {DType::kBF16, DType::kF32, DType::kF64})
      ceilings_[dtype] = ceilings_of(device, dtype);
    std::printf("%s: %s\n", name_of(device).c_str(), ceilings_[DType::kF32].device.c_str());
    std::printf("%-44s %10s %19s %s\n", "op", "us", "", "of peak");
  }

  int64_t rows(int64_t n) const { return small_ ? std::max<int64_t>(n / 16, 1) : n; }

  // Normal numbers; zeros draw less current and flatter the clock.
  Tensor random(const Shape& shape, DType dtype) const {
    static const std::vector<double> values = [] {
      std::vector<double> made(1 << 20);
      const PhiloxKey key = make_key(1, RandomPurpose::kTest, "op_bench");
      for (size_t i = 0; i < made.size(); ++i) made[i] = philox_normal(key, 0, i);
      return made;
    }();
    const auto block = static_cast<int64_t>(values.size());
    const Tensor pattern = Tensor::from({block}, values, dtype, device_);
    Tensor tensor = Tensor::empty(shape, dtype, device_);
    for (int64_t i = 0; i < tensor.numel(); i += block) {
      const int64_t end = std::min(i + block, tensor.numel());
      copy(pattern.flat(0, end - i), tensor.flat(i, end));
    }
    return tensor;
  }
  Tensor empty(const Shape& shape, DType dtype) const {
    return Tensor::empty(shape, dtype, device_);
  }
  // i32 [n], values below `bound` in no order.
  Tensor indices(int64_t n, int64_t bound) const {
    std::vector<int32_t> values(static_cast<size_t>(n));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<int32_t>((i * 2654435761U >> 4) % static_cast<uint64_t>(bound));
    return Tensor::from_i32({n}, values, device_);
  }

  template <class Args>
  void products(const std::string& name, double flops,
                int (*Backend::*entry)(const BackendCall*, const Args*), const Tensor& operand,
                const Args& args, DType dtype) {
    const double seconds = seconds_of(entry, name.c_str(), operand, args);
    print(name, seconds, flops / seconds / 1e12, "TFLOP/s", ceilings_[dtype].flops / 1e12);
  }
  template <class Args>
  void memory(const std::string& name, int (*Backend::*entry)(const BackendCall*, const Args*),
              std::initializer_list<const Tensor*> operands, const Args& args) {
    double bytes = 0;
    for (const Tensor* t : operands) bytes += static_cast<double>(t->bytes());
    const double seconds = seconds_of(entry, name.c_str(), **operands.begin(), args);
    print(name, seconds, bytes / seconds / 1e9, "GB/s", ceilings_[DType::kF32].bandwidth / 1e9);
  }

 private:
  // Of one call: the best of five rounds of about 20 ms, after a warm-up.
  template <class Args>
  double seconds_of(int (*Backend::*entry)(const BackendCall*, const Args*), const char* name,
                    const Tensor& operand, const Args& args) const {
    const auto round = [&](int calls) {
      const double begin = now_seconds();
      for (int i = 0; i < calls; ++i) ops::call(entry, name, {&operand}, args);
      backend_of(device_.type).synchronize(&kCall);
      return (now_seconds() - begin) / calls;
    };
    round(2);
    const int calls = std::clamp(static_cast<int>(0.02 / round(1)), 1, 2000);
    double best = 1e9;
    for (int i = 0; i < 5; ++i) best = std::min(best, round(calls));
    return best;
  }
  static void print(const std::string& name, double seconds, double rate, const char* unit,
                    double peak) {
    std::printf("%-44s %10.1f %10.2f %-8s", name.c_str(), seconds * 1e6, rate, unit);
    if (peak > 0) std::printf("%6.0f%%", 100 * rate / peak);
    std::printf("\n");
    std::fflush(stdout);
  }

  static constexpr BackendCall kCall{};
  Device device_;
  bool small_;
  std::map<DType, Ceilings> ceilings_;
};

// c [m, n] = a [m, k] b [n, k]^T, a linear layer; and its weight gradient into f32.
void bench_matmul(Bench& bench, DType dtype, int64_t m, int64_t n, int64_t k) {
  m = bench.rows(m);
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n * k);
  const Tensor x = bench.random({m, k}, dtype), w = bench.random({n, k}, dtype),
               y = bench.random({m, n}, dtype);
  const std::string shape = concat(name_of(dtype), " m", m, " n", n, " k", k);
  bench.products("matmul " + shape, flops, &Backend::matmul, x,
                 MatmulArgs{.a = view_of(x),
                            .b = view_of(w),
                            .c = view_of(y),
                            .trans_a = 0,
                            .trans_b = 1,
                            .accumulate = 0,
                            .prepared_b = nullptr},
                 dtype);
  const Tensor dw = Tensor::zeros({n, k}, wide_of(dtype), x.device());
  bench.products("weight gradient " + shape, flops, &Backend::matmul, x,
                 MatmulArgs{.a = view_of(y),
                            .b = view_of(x),
                            .c = view_of(dw),
                            .trans_a = 1,
                            .trans_b = 0,
                            .accumulate = 1,
                            .prepared_b = nullptr},
                 dtype);
}

void bench_grouped(Bench& bench, int64_t experts, int64_t rows_each, int64_t in, int64_t out) {
  rows_each = bench.rows(rows_each);
  const int64_t rows = experts * rows_each;
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in * out);
  const Tensor x = bench.random({rows, in}, DType::kBF16),
               y = bench.random({rows, out}, DType::kBF16),
               w = bench.random({experts, out, in}, DType::kBF16),
               dw = bench.random({experts, out, in}, DType::kF32);
  std::vector<int64_t> offsets;
  for (int64_t e = 0; e <= experts; ++e) offsets.push_back(e * rows_each);
  for (const auto& [form, name] : {std::pair{ProductForm::kForward, "forward"},
                                   std::pair{ProductForm::kDataGrad, "data gradient"},
                                   std::pair{ProductForm::kWeightGrad, "weight gradient"}}) {
    const bool is_weight = form == ProductForm::kWeightGrad;
    bench.products(concat(experts, " experts ", name, " m", rows_each, " n", out, " k", in), flops,
                   &Backend::grouped_matmul, x,
                   GroupedMatmulArgs{.form = form,
                                     .x = view_of(x),
                                     .w = view_of(is_weight ? dw : w),
                                     .y = view_of(y),
                                     .offsets = offsets.data(),
                                     .prepared_w = nullptr,
                                     .accumulate = is_weight},
                   DType::kBF16);
  }
}

// Causal attention needs half the products of a full one: 2 of them forward, 5 backward.
void bench_attention(Bench& bench, int64_t batch, int64_t length, int64_t heads, int64_t kv_heads,
                     int64_t width, int64_t window = 0) {
  length = bench.rows(length);
  const int64_t n = batch * length;
  const auto filled = [&](int64_t h) { return bench.random({n, h * width}, DType::kBF16); };
  const Tensor q = filled(heads), k = filled(kv_heads), v = filled(kv_heads), o = filled(heads),
               lse = bench.empty({n, heads}, DType::kF32);
  const Tensor grad = filled(heads), dq = filled(heads), dk = filled(kv_heads),
               dv = filled(kv_heads);
  const AttentionArgs forward{.q = view_of(q),
                              .k = view_of(k),
                              .v = view_of(v),
                              .o = view_of(o),
                              .lse = view_of(lse),
                              .doc_start = {},
                              .batch = batch,
                              .q_len = length,
                              .q_stride = length,
                              .kv_len = length,
                              .kv_stride = length,
                              .heads = heads,
                              .kv_heads = kv_heads,
                              .qk_dim = width,
                              .v_dim = width,
                              .window = window,
                              .scale = 0.1};
  // Twice the keys that all queries see.
  const int64_t most = window > 0 ? std::min(window, length) : length;
  const double product =
      static_cast<double>(batch * heads * width) * static_cast<double>(most * (2 * length - most));
  const std::string shape = concat(" b", batch, " t", length, " h", heads, "/", kv_heads, " d",
                                   width, window > 0 ? concat(" w", window) : "");
  bench.products("attention" + shape, 2 * product, &Backend::attention, q, forward, DType::kBF16);
  bench.products("attention gradient" + shape, 5 * product, &Backend::attention_grad, q,
                 AttentionGradArgs{.forward = forward,
                                   .do_ = view_of(grad),
                                   .dq = view_of(dq),
                                   .dk = view_of(dk),
                                   .dv = view_of(dv)},
                 DType::kBF16);
}

void bench_rows(Bench& bench) {
  const int64_t n = bench.rows(16384), d = 4096, f = 8192;
  const DType m = DType::kBF16, w = DType::kF32;
  const Tensor x = bench.random({n, d}, m), y = bench.random({n, d}, m),
               dx = bench.random({n, d}, m), gain = bench.random({d}, w),
               dgain = bench.random({d}, w), rstd = bench.random({n}, w);
  bench.memory("rms_norm", &Backend::rms_norm, {&x, &y},
               RmsNormArgs{view_of(x), view_of(gain), view_of(y), view_of(rstd), 1e-6});
  bench.memory("rms_norm_grad", &Backend::rms_norm_grad, {&x, &y, &dx},
               RmsNormGradArgs{view_of(x), view_of(gain), view_of(rstd), view_of(y), view_of(dx),
                               view_of(dgain), 0});
  bench.memory("add", &Backend::add, {&x, &y, &dx},
               BinaryArgs{view_of(x), view_of(y), view_of(dx)});
  const Tensor wide = bench.empty({n, d}, w);
  bench.memory("cast bf16 to f32", &Backend::cast, {&x, &wide},
               CastArgs{view_of(x), view_of(wide), 0});
  const Tensor gate = bench.random({n, 2 * f}, m), dgate = bench.empty({n, 2 * f}, m),
               inner = bench.random({n, f}, m);
  bench.memory("swiglu", &Backend::swiglu, {&gate, &inner},
               SwigluArgs{view_of(gate), view_of(inner)});
  bench.memory("swiglu_grad", &Backend::swiglu_grad, {&gate, &inner, &dgate},
               SwigluGradArgs{view_of(gate), view_of(inner), view_of(dgate)});
  const Tensor positions = bench.indices(n, 4096), turns = bench.random({4096, 64}, w);
  bench.memory("rotary", &Backend::rotary, {&x, &y},
               RotaryArgs{view_of(x), view_of(y), view_of(positions), view_of(turns),
                          view_of(turns), d / 128, 128, 0});
  const Tensor index = bench.indices(n, n);
  bench.memory("gather_rows", &Backend::gather_rows, {&x, &y},
               GatherRowsArgs{view_of(x), view_of(index), view_of(y)});
}

void bench_vocabulary(Bench& bench) {
  const int64_t n = bench.rows(8192), vocab = 50304, d = 4096;
  const Tensor logits = bench.random({n, vocab}, DType::kF32),
               dlogits = bench.empty({n, vocab}, DType::kBF16),
               losses = bench.empty({n}, DType::kF64), labels = bench.indices(n, vocab);
  bench.memory("cross_entropy with gradient", &Backend::cross_entropy, {&logits, &dlogits},
               CrossEntropyArgs{.logits = view_of(logits),
                                .labels = view_of(labels),
                                .losses = view_of(losses),
                                .dlogits = view_of(dlogits)});
  const Tensor table = bench.random({vocab, d}, DType::kBF16),
               out = bench.random({n, d}, DType::kBF16),
               dtable = bench.random({vocab, d}, DType::kF32);
  bench.memory("embedding", &Backend::embedding, {&out, &out},
               EmbeddingArgs{view_of(table), view_of(labels), view_of(out)});
  bench.memory("embedding_grad", &Backend::embedding_grad, {&out, &out, &out, &out, &out},
               EmbeddingGradArgs{view_of(labels), view_of(out), view_of(dtable)});
}

void bench_optimizer(Bench& bench) {
  const int64_t n = bench.rows(1 << 27);
  const DType w = DType::kF32;
  const Tensor param = bench.random({n}, DType::kBF16), master = bench.random({n}, w),
               first = bench.random({n}, w), second = Tensor::zeros({n}, w, master.device()),
               grad = bench.random({n}, w), sums = bench.empty({(n + 4095) / 4096}, DType::kF64);
  bench.memory("adamw", &Backend::adamw,
               {&param, &master, &master, &first, &first, &second, &second, &grad},
               AdamwArgs{view_of(param), view_of(master), view_of(first), view_of(second),
                         view_of(grad), 1e-3, 0.9, 0.95, 1e-8, 0.1, 0.5, 0.5, 1.0});
  bench.memory("sum_squares", &Backend::sum_squares, {&grad},
               SumSquaresArgs{view_of(grad), view_of(sums)});
}

int run(int argc, char** argv) {
  std::string name = "cuda";
  bool small = false, window_alone = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--small") {
      small = true;
    } else if (word == "--window") {
      window_alone = true;
    } else {
      name = word;
    }
  }
  const Device device = device_of(name);
  Bench bench(device, small);
  const int64_t large = small ? 512 : 8192;
  bench_attention(bench, 1, 4096, 8, 4, 64);
  bench_attention(bench, 1, 4096, 8, 4, 64, 128);
  if (window_alone) return 0;
  bench_attention(bench, 8, 512, 12, 12, 64);
  bench_attention(bench, 2, 4096, 32, 8, 128);
  bench_matmul(bench, DType::kBF16, large, large, large);
  bench_matmul(bench, DType::kBF16, 4096, 4096, 4096);
  bench_matmul(bench, DType::kBF16, 4096, 2304, 768);
  bench_matmul(bench, DType::kBF16, 4096, 50304, 768);
  bench_matmul(bench, DType::kF32, 4096, 4096, 4096);
  bench_matmul(bench, DType::kF64, 2048, 2048, 2048);
  bench_grouped(bench, 16, 1024, 512, 512);
  bench_grouped(bench, 64, 512, 2048, 1024);
  bench_rows(bench);
  bench_vocabulary(bench);
  bench_optimizer(bench);
  return 0;
}

}  // namespace
}  // namespace orthant

int main(int argc, char** argv) {
  try {
    return orthant::run(argc, argv);
  } catch (const orthant::Error& error) {
    std::fprintf(stderr, "op_bench: %s\n", error.what());
    return error.exit_code();
  }
}
