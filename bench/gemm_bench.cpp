// SPDX-License-Identifier: Apache-2.0
// Matrix products of training against oneDNN and OpenBLAS, pair by pair in one run.
//
//   gemm_bench [threads] [repetitions] [part of a row's name]
//
// Ours and the rival alternate; each figure is a median, GF/s count 2 m n k.  The peak is that of
// a loop of multiply-adds on registers, with nonzero data, measured first and again last.
#include <cblas.h>
#include <immintrin.h>
#include <omp.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dnnl.hpp>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/text.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/gemm/scratch.h"
#include "tensor/cpu/isa.h"

extern "C" void openblas_set_num_threads(int);

namespace orthant {
namespace {

using cpu::AlignedBytes;

int num_threads = 1, repetitions = 15;
const char* filter = "";

// One thread is timed by the processor time it got, so that others on the machine disturb less.
double timer_seconds() {
  if (num_threads > 1) return now_seconds();
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

__attribute__((target("avx512f,avx512bf16"))) double pair_peak_seconds(int64_t rounds) {
  __m512 sums[24];
  for (int i = 0; i < 24; ++i) sums[i] = _mm512_set1_ps(1.0f + static_cast<float>(i));
  __m512 a = _mm512_set1_ps(1.25f), b = _mm512_set1_ps(0.75f);
  __asm__ volatile("" : "+v"(a), "+v"(b));
  const double start = timer_seconds();
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int i = 0; i < 24; ++i) {
      sums[i] =
          _mm512_dpbf16_ps(sums[i], reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
    }
  }
  const double seconds = timer_seconds() - start;
  for (__m512& sum : sums) __asm__ volatile("" : : "v"(sum));
  return seconds;
}

__attribute__((target("avx512f"))) double float_peak_seconds(int64_t rounds) {
  __m512 sums[24];
  for (int i = 0; i < 24; ++i) sums[i] = _mm512_set1_ps(1.0f + static_cast<float>(i));
  __m512 a = _mm512_set1_ps(1.25f), b = _mm512_set1_ps(0.75f);
  __asm__ volatile("" : "+v"(a), "+v"(b));
  const double start = timer_seconds();
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int i = 0; i < 24; ++i) sums[i] = _mm512_fmadd_ps(a, b, sums[i]);
  }
  const double seconds = timer_seconds() - start;
  for (__m512& sum : sums) __asm__ volatile("" : : "v"(sum));
  return seconds;
}

// GF/s of all threads together.
double peak(double (*loop)(int64_t), double flops_per_lane) {
  constexpr int64_t kRounds = 500'000;
  std::vector<double> seconds;
  for (int r = 0; r < 15; ++r) {
    double slowest = 0;
#pragma omp parallel num_threads(num_threads) reduction(max : slowest)
    slowest = loop(kRounds);
    seconds.push_back(slowest);
  }
  std::sort(seconds.begin(), seconds.end());
  return 24.0 * 16.0 * flops_per_lane * kRounds * num_threads / seconds[7] * 1e-9;
}

struct Peaks {
  double bf16 = 0, f32 = 0;
};

Peaks measure_peaks() {
  Peaks peaks;
  if (cpu::detected_isa() >= cpu::Isa::kAvx512) peaks.f32 = peak(float_peak_seconds, 2);
  if (cpu::detected_isa() >= cpu::Isa::kAvx512Bf16) peaks.bf16 = peak(pair_peak_seconds, 4);
  std::printf("peak on registers: vdpbf16ps %.0f GF/s, f32 multiply-add %.0f GF/s (%d threads)\n",
              peaks.bf16, peaks.f32, num_threads);
  return peaks;
}

double seconds_of(const std::function<void()>& work, int calls) {
  const double start = timer_seconds();
  for (int i = 0; i < calls; ++i) work();
  return (timer_seconds() - start) / calls;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print_row(const std::string& name, double flops, double peak_gflops,
               const std::function<void()>& ours, const std::function<void()>& rival) {
  if (name.find(filter) == std::string::npos) return;
  ours(), rival();
  const int calls = std::max(1, static_cast<int>(0.006 / seconds_of(ours, 1)));
  std::vector<double> ours_s, rival_s, ratios;
  for (int r = 0; r < repetitions; ++r) {
    ours_s.push_back(seconds_of(ours, calls));
    rival_s.push_back(seconds_of(rival, calls));
    ratios.push_back(rival_s.back() / ours_s.back());
  }
  const double gflops = flops * 1e-9 / median(ours_s);
  std::printf("%-44s %7.0f %5.0f%% %8.0f %6.2f\n", name.c_str(), gflops, 100 * gflops / peak_gflops,
              flops * 1e-9 / median(rival_s), median(ratios));
  std::fflush(stdout);
}

// Nonzero numbers around one: zeros draw less current and flatter the clock.
struct Buffer {
  Buffer(int64_t count, DType dtype) : bytes(count * size_of(dtype)) {
    static uint32_t state = 12345;
    for (int64_t i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      const float value =
          (static_cast<float>(state >> 8) * 0x1p-24f + 0.5f) * ((state & 128) != 0 ? 1.0f : -1.0f);
      if (dtype == DType::kBF16) {
        reinterpret_cast<bf16*>(bytes.data())[i] = bf16(value);
      } else {
        reinterpret_cast<float*>(bytes.data())[i] = value;
      }
    }
  }
  char* data() const { return bytes.data(); }
  AlignedBytes bytes;
};

// One oneDNN matmul; weights in its own layout where `packed`.
class Rival {
 public:
  using Desc = dnnl::memory::desc;
  using Tag = dnnl::memory::format_tag;
  using Type = dnnl::memory::data_type;

  Rival(int64_t m, int64_t n, int64_t k, Type type, Type out_type, bool trans_a, bool trans_b,
        bool packed, bool accumulate)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const Desc a({m, k}, type, trans_a ? Tag::ba : Tag::ab);
    plain_b_ = Desc({k, n}, type, trans_b ? Tag::ba : Tag::ab);
    const Desc b = packed ? Desc({k, n}, type, Tag::any) : plain_b_;
    const Desc c({m, n}, out_type, Tag::ab);
    dnnl::primitive_attr attributes;
    if (accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
    const dnnl::matmul::primitive_desc desc({a, b, c}, attributes, engine_);
    matmul_ = dnnl::matmul(desc);
    a_ = dnnl::memory(desc.src_desc(), engine_, nullptr);
    b_ = dnnl::memory(desc.weights_desc(), engine_, nullptr);
    c_ = dnnl::memory(desc.dst_desc(), engine_, nullptr);
  }
  // A copy of b in the layout that oneDNN asked for.
  dnnl::memory pack(void* b) {
    dnnl::memory from(plain_b_, engine_, b), to(b_.get_desc(), engine_);
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
    return to;
  }
  void run(void* a, void* b, void* c) {
    a_.set_data_handle(a), b_.set_data_handle(b), c_.set_data_handle(c);
    matmul_.execute(stream_, {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  Desc plain_b_;
  dnnl::matmul matmul_;
  dnnl::memory a_, b_, c_;
};

std::string shape(const char* what, int64_t m, int64_t k, int64_t n) {
  return concat(what, " m", m, " k", k, " n", n);
}

// The three products of a bf16 linear layer of [in] -> [out] over m rows.
void bench_linear(int64_t m, int64_t in, int64_t out, const Peaks& peaks) {
  using Type = Rival::Type;
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(in * out);
  Buffer x(m * in, DType::kBF16), dy(m * out, DType::kBF16), w(in * out, DType::kBF16);
  Buffer y(m * out, DType::kBF16), dw(in * out, DType::kF32);
  {
    const auto packed = cpu::pack_matrix(DType::kBF16, in, out, w.data(), in, true);
    Rival rival(m, out, in, Type::bf16, Type::bf16, false, true, true, false);
    const dnnl::memory rival_w = rival.pack(w.data());
    cpu::GemmArgs args{.m = m,
                       .n = out,
                       .k = in,
                       .dtype = DType::kBF16,
                       .out_dtype = DType::kBF16,
                       .a = x.data(),
                       .lda = in,
                       .b = w.data(),
                       .ldb = in,
                       .trans_b = true,
                       .packed_b = packed.get(),
                       .c = y.data(),
                       .ldc = out};
    print_row(
        shape("bf16 forward packed", m, in, out), flops, peaks.bf16, [&] { cpu::gemm(args); },
        [&] { rival.run(x.data(), rival_w.get_data_handle(), y.data()); });
    args.packed_b = nullptr;
    Rival plain(m, out, in, Type::bf16, Type::bf16, false, true, false, false);
    print_row(
        shape("bf16 forward plain", m, in, out), flops, peaks.bf16, [&] { cpu::gemm(args); },
        [&] { plain.run(x.data(), w.data(), y.data()); });
  }
  {
    const cpu::GemmArgs args{.m = out,
                             .n = in,
                             .k = m,
                             .dtype = DType::kBF16,
                             .out_dtype = DType::kF32,
                             .a = dy.data(),
                             .lda = out,
                             .trans_a = true,
                             .b = x.data(),
                             .ldb = in,
                             .c = dw.data(),
                             .ldc = in,
                             .accumulate = true};
    Rival rival(out, in, m, Type::bf16, Type::f32, true, false, false, true);
    print_row(
        shape("bf16 weight gradient +=f32", m, in, out), flops, peaks.bf16,
        [&] { cpu::gemm(args); }, [&] { rival.run(dy.data(), x.data(), dw.data()); });
  }
}

void bench_float(int64_t m, int64_t k, int64_t n, const Peaks& peaks) {
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(k * n);
  Buffer a(m * k, DType::kF32), b(k * n, DType::kF32), c(m * n, DType::kF32);
  for (const bool trans_a : {false, true}) {
    const cpu::GemmArgs args{.m = m,
                             .n = n,
                             .k = k,
                             .a = a.data(),
                             .lda = trans_a ? m : k,
                             .trans_a = trans_a,
                             .b = b.data(),
                             .ldb = trans_a ? n : k,
                             .trans_b = !trans_a,
                             .c = c.data(),
                             .ldc = n,
                             .accumulate = trans_a};
    const auto* fa = reinterpret_cast<const float*>(a.data());
    const auto* fb = reinterpret_cast<const float*>(b.data());
    auto* fc = reinterpret_cast<float*>(c.data());
    print_row(
        shape(trans_a ? "f32 TN += (OpenBLAS)" : "f32 NT (OpenBLAS)", m, k, n), flops, peaks.f32,
        [&] { cpu::gemm(args); },
        [&] {
          cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                      trans_a ? CblasNoTrans : CblasTrans, static_cast<int>(m), static_cast<int>(n),
                      static_cast<int>(k), 1.0f, fa, static_cast<int>(args.lda), fb,
                      static_cast<int>(args.ldb), trans_a ? 1.0f : 0.0f, fc, static_cast<int>(n));
        });
  }
}

// 16 experts of in -> out with the same number of rows; the rival runs one product per expert.
void bench_grouped(int64_t rows, int64_t in, int64_t out, const Peaks& peaks) {
  using Type = Rival::Type;
  constexpr int64_t kExperts = 16;
  const int64_t all = kExperts * rows;
  const double flops = 2.0 * static_cast<double>(all) * static_cast<double>(in * out);
  Buffer x(all * in, DType::kBF16), w(kExperts * in * out, DType::kBF16);
  Buffer y(all * out, DType::kBF16), dw(kExperts * in * out, DType::kF32);
  std::vector<int64_t> offsets;
  for (int64_t e = 0; e <= kExperts; ++e) offsets.push_back(e * rows);
  Rival rival(rows, out, in, Type::bf16, Type::bf16, false, true, true, false);
  std::vector<cpu::PackedMatrixPtr> owners;
  std::vector<const cpu::PackedMatrix*> packed;
  std::vector<dnnl::memory> rival_w;
  for (int64_t e = 0; e < kExperts; ++e) {
    char* expert = w.data() + e * in * out * 2;
    owners.push_back(cpu::pack_matrix(DType::kBF16, in, out, expert, in, true));
    packed.push_back(owners.back().get());
    rival_w.push_back(rival.pack(expert));
  }
  cpu::GroupedGemmArgs args{.num_experts = kExperts,
                            .in = in,
                            .out = out,
                            .offsets = offsets.data(),
                            .dtype = DType::kBF16,
                            .w_dtype = DType::kBF16,
                            .x = x.data(),
                            .ldx = in,
                            .y = y.data(),
                            .ldy = out,
                            .w = w.data(),
                            .packed_w = packed.data()};
  print_row(
      shape("16 experts forward packed", rows, in, out), flops, peaks.bf16,
      [&] { cpu::grouped_gemm(args); },
      [&] {
        for (int64_t e = 0; e < kExperts; ++e) {
          rival.run(x.data() + e * rows * in * 2, rival_w[static_cast<size_t>(e)].get_data_handle(),
                    y.data() + e * rows * out * 2);
        }
      });
  args.packed_w = nullptr;
  Rival plain(rows, out, in, Type::bf16, Type::bf16, false, true, false, false);
  print_row(
      shape("16 experts forward plain", rows, in, out), flops, peaks.bf16,
      [&] { cpu::grouped_gemm(args); },
      [&] {
        for (int64_t e = 0; e < kExperts; ++e) {
          plain.run(x.data() + e * rows * in * 2, w.data() + e * in * out * 2,
                    y.data() + e * rows * out * 2);
        }
      });
  args.form = cpu::GroupedForm::kWeightGrad;
  args.w = dw.data();
  args.w_dtype = DType::kF32;
  args.accumulate = true;
  Rival gradient(out, in, rows, Type::bf16, Type::f32, true, false, false, true);
  print_row(
      shape("16 experts weight gradient", rows, in, out), flops, peaks.bf16,
      [&] { cpu::grouped_gemm(args); },
      [&] {
        for (int64_t e = 0; e < kExperts; ++e) {
          gradient.run(y.data() + e * rows * out * 2, x.data() + e * rows * in * 2,
                       dw.data() + e * in * out * 4);
        }
      });
}

void run_all() {
  RankContext rank{.num_threads = num_threads};
  ContextScope scope(rank);
  omp_set_num_threads(num_threads);
  openblas_set_num_threads(num_threads);
  std::printf("level %s\n", std::string(cpu::name_of(cpu::active_isa())).c_str());
  const Peaks peaks = measure_peaks();
  std::printf("%-44s %7s %6s %8s %6s\n", "", "GF/s", "peak", "rival", "ratio");
  const int64_t shapes[][2] = {{512, 512},  {512, 2048}, {768, 768},   {768, 2304},
                               {768, 3072}, {3072, 768}, {2048, 2048}, {2304, 768}};
  for (const auto& s : shapes) bench_linear(2048, s[0], s[1], peaks);
  bench_linear(4096, 768, 3072, peaks);
  for (const int64_t rows : {1, 16, 128}) bench_linear(rows, 768, 3072, peaks);
  bench_float(2048, 512, 512, peaks);
  bench_float(2048, 768, 3072, peaks);
  bench_float(2048, 2048, 2048, peaks);
  for (const int64_t rows : {16, 64, 256, 1024}) {
    bench_grouped(rows, 512, 512, peaks);
    bench_grouped(rows, 256, 512, peaks);
  }
  measure_peaks();
}

}  // namespace
}  // namespace orthant

int main(int argc, char** argv) {
  if (argc > 1) orthant::num_threads = std::max(1, std::atoi(argv[1]));
  if (argc > 2) orthant::repetitions = std::max(1, std::atoi(argv[2]));
  if (argc > 3) orthant::filter = argv[3];
  orthant::run_all();
  return 0;
}
