// SPDX-License-Identifier: Apache-2.0
// The driver: cuts a product into blocks of C, one thread each, and walks a block so that packed
// panels stay in the caches.
//
// A block of C runs over all of k on one thread: how C is cut changes the time, never a bit.  Its
// loops, from the outside: columns (packed B fits a share of L3), rows and k (only products with
// long k are cut there; their sums wait in fp32 or f64), rows again (packed A fits half of L2), and
// panels of B; the level's sweep then takes one panel over all rows of packed A.
#include "tensor/cpu/gemm.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "base/parallel_for.h"
#include "tensor/allocator.h"
#include "tensor/cpu/gemm/kernels.h"
#include "tensor/cpu/gemm/scratch.h"

namespace orthant::cpu {

// Memory from the caching allocator: weights are packed anew after every optimizer step.
class CachedBytes {
 public:
  explicit CachedBytes(int64_t size) : size_(size), data_(allocate(Device{}, size)) {}
  ~CachedBytes() { deallocate(Device{}, data_, size_); }
  CachedBytes(const CachedBytes&) = delete;
  CachedBytes& operator=(const CachedBytes&) = delete;
  char* data() const { return static_cast<char*>(data_); }
  int64_t size() const { return size_; }

 private:
  int64_t size_;
  void* data_;
};

class PackedMatrix {
 public:
  PackedMatrix(const GemmKernel& kernel, int64_t k, int64_t n)
      : kernel(kernel),
        k(k),
        n(n),
        panel_bytes(bytes_of_panel(kernel, k)),
        storage(bytes_of(kernel, k, n)) {}
  static int64_t bytes_of_panel(const GemmKernel& kernel, int64_t k) {
    return round_up(k, kernel.k_multiple) * kernel.panel * kernel.element_bytes;
  }
  static int64_t bytes_of(const GemmKernel& kernel, int64_t k, int64_t n) {
    return round_up(n, kernel.panel) / kernel.panel * bytes_of_panel(kernel, k);
  }
  const GemmKernel& kernel;
  const int64_t k, n, panel_bytes;
  const CachedBytes storage;
};

void PackedMatrixDeleter::operator()(const PackedMatrix* matrix) const { delete matrix; }

int64_t packed_bytes(const PackedMatrix& matrix) { return matrix.storage.size(); }

namespace {

constexpr int64_t kInnerABytes = 512 << 10;      // rows of A that stay in half of a small L2
constexpr int64_t kPackedBBytes = 2048 << 10;    // per thread, from L3
constexpr int64_t kSumElems = 1024 * 1024;       // unfinished sums per thread, where k is cut
constexpr int64_t kWholePanelBytes = 192 << 10;  // longest panel of B without cutting k
constexpr int64_t kPanelBytes = 128 << 10;       // pieces of a longer one
constexpr int64_t kThreadWork = 1 << 18;         // m n k that pays for waking a thread
constexpr int64_t kBoundRows = 8;                // fewer rows wait for B's memory alone

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Equal pieces of at most `limit`, each a multiple of `step` but for the last.
int64_t equal_piece(int64_t total, int64_t limit, int64_t step) {
  const int64_t pieces = std::max<int64_t>(1, ceil_div(total, std::max(limit, step)));
  return std::max(step, round_up(ceil_div(total, pieces), step));
}

const char* at(const void* base, int64_t elements, int64_t bytes) {
  return static_cast<const char*>(base) + elements * bytes;
}

struct Scratch {
  char *a, *b, *acc;
};

Scratch thread_scratch(int64_t a_bytes, int64_t b_bytes, int64_t acc_bytes) {
  thread_local std::unique_ptr<AlignedBytes> buffer;
  const int64_t a_end = round_up(a_bytes, kCacheLine),
                b_end = a_end + round_up(b_bytes, kCacheLine);
  const int64_t total = b_end + acc_bytes;
  if (!buffer || buffer->size() < total) {
    buffer.reset();
    buffer = std::make_unique<AlignedBytes>(total);
  }
  return {buffer->data(), buffer->data() + a_end, buffer->data() + b_end};
}

// One block of C: rows [row0, row1), columns [col0, col1).
class Block {
 public:
  Block(const GemmKernel& kernel, const GemmArgs& args, int64_t row0, int64_t row1, int64_t col0,
        int64_t col1)
      : kernel_(kernel),
        args_(args),
        row0_(row0),
        row1_(row1),
        col0_(col0),
        col1_(col1),
        in_bytes_(size_of(args.dtype)),
        out_bytes_(size_of(args.out_dtype)) {
    const int64_t rows = row1 - row0, cols = col1 - col0, panel = kernel.panel;
    const int64_t k_bytes = panel * kernel.element_bytes;
    depth_ = args.k;
    if (args.k * k_bytes > kWholePanelBytes) {
      depth_ = equal_piece(args.k, kPanelBytes / k_bytes, kernel.k_multiple);
    }
    const bool cut_k = depth_ < args.k;
    height_ = kernel.fixed_height
                  ? kernel.max_height
                  : std::max<int64_t>(1, ceil_div(rows, ceil_div(rows, kernel.max_height)));
    // Rows a multiple of 4 KB apart share one set of L1, and would push each other out.
    const bool rows_collide = args.lda * in_bytes_ % 4096 == 0 && rows > 4 && cols > 8 * panel;
    in_place_ = kernel.reads_in_place && !args.trans_a && !rows_collide;
    width_ = round_up(height_, kernel.a_width_multiple);
    const int64_t unit_depth =
        std::max<int64_t>(1, round_up(depth_, kernel.k_multiple)) * kernel.element_bytes;
    const int64_t a_width = in_place_ ? height_ : width_;
    inner_rows_ = equal_piece(rows, kInnerABytes / (unit_depth * a_width) * height_, height_);
    col_step_ = round_up(cols, panel);
    // With few rows a panel of B is packed right before its only use.
    if (args.packed_b == nullptr) {
      const int64_t bytes = rows <= 4 * kernel.max_height ? kInnerABytes / 2 : kPackedBBytes;
      col_step_ = equal_piece(cols, bytes / unit_depth / panel * panel, panel);
    }
    row_step_ = round_up(rows, height_);
    if (cut_k) {
      col_step_ = std::min(col_step_, equal_piece(cols, 1024, panel));
      row_step_ = equal_piece(rows, kSumElems / col_step_, inner_rows_);
    }
    tile_ = kernel.max_height * panel;
    sum_panels_ = cut_k ? ceil_div(col_step_, panel) : 1;
    const int64_t sum_rows = cut_k ? row_step_ : inner_rows_;
    scratch_ =
        thread_scratch(in_place_ ? 0 : inner_rows_ / height_ * width_ * unit_depth,
                       args.packed_b == nullptr ? round_up(col_step_, panel) * unit_depth : 0,
                       ceil_div(sum_rows, height_) * sum_panels_ * tile_ * kernel.acc_bytes);
  }

  void run() {
    for (int64_t col = col0_; col < col1_; col += col_step_) {
      const int64_t col_end = std::min(col1_, col + col_step_);
      for (int64_t row = row0_; row < row1_; row += row_step_) {
        const int64_t row_end = std::min(row1_, row + row_step_);
        int64_t k = 0;
        do {
          const bool only = depth_ >= args_.k;
          if (args_.packed_b == nullptr && (!only || row == row0_)) pack_b(col, col_end, k);
          multiply(row, row_end, col, col_end, k);
          k += depth_;
        } while (k < args_.k);
      }
    }
  }

 private:
  int64_t depth_at(int64_t k) const { return std::min(depth_, args_.k - k); }

  void pack_b(int64_t col, int64_t col_end, int64_t k) {
    const int64_t offset = args_.trans_b ? col * args_.ldb + k : k * args_.ldb + col;
    kernel_.pack_b({.src = at(args_.b, offset, in_bytes_),
                    .ld = args_.ldb,
                    .count = col_end - col,
                    .k = depth_at(k),
                    .k_contiguous = args_.trans_b,
                    .step = kernel_.panel,
                    .width = kernel_.panel,
                    .dst = scratch_.b});
  }

  // Lets the sweep read `rows` rows of op(A) from (row, k) on: where they are, or from a packed
  // copy.
  void set_a(GemmSweep& sweep, int64_t row, int64_t rows, int64_t k) {
    const int64_t offset = args_.trans_a ? k * args_.lda + row : row * args_.lda + k;
    const char* src = at(args_.a, offset, in_bytes_);
    if (in_place_) {
      sweep.a = src;
      sweep.a_row_bytes = args_.lda * in_bytes_;
      sweep.a_block_bytes = height_ * sweep.a_row_bytes;
      sweep.a_unit_bytes = kernel_.k_multiple * in_bytes_;
      return;
    }
    sweep.a = scratch_.a;
    sweep.a_row_bytes = kernel_.k_multiple * kernel_.element_bytes;
    sweep.a_unit_bytes = width_ * sweep.a_row_bytes;
    sweep.a_block_bytes =
        round_up(depth_at(k), kernel_.k_multiple) * width_ * kernel_.element_bytes;
    if (row == packed_row_ && k == packed_k_) return;
    packed_row_ = row;
    packed_k_ = k;
    kernel_.pack_a({.src = src,
                    .ld = args_.lda,
                    .count = rows,
                    .k = depth_at(k),
                    .k_contiguous = !args_.trans_a,
                    .step = height_,
                    .width = width_,
                    .dst = scratch_.a});
  }

  // Panel `index` of the columns from `col` on, from element k of it.
  const char* panel_of_b(int64_t col, int64_t index, int64_t k) const {
    const int64_t k_bytes = kernel_.panel * kernel_.element_bytes;
    if (args_.packed_b == nullptr) {
      return scratch_.b + index * round_up(depth_at(k), kernel_.k_multiple) * k_bytes;
    }
    const PackedMatrix& packed = *args_.packed_b;
    return packed.storage.data() + (col / kernel_.panel + index) * packed.panel_bytes + k * k_bytes;
  }

  void multiply(int64_t row, int64_t row_end, int64_t col, int64_t col_end, int64_t k) {
    for (int64_t inner = row; inner < row_end; inner += inner_rows_) {
      const int64_t rows = std::min(inner_rows_, row_end - inner);
      GemmSweep sweep{.k = depth_at(k),
                      .rows = rows,
                      .height = height_,
                      .ldc = args_.ldc,
                      .c_bf16 = args_.out_dtype == DType::kBF16,
                      .accumulate = args_.accumulate,
                      .acc_stride = sum_panels_ * tile_,
                      .first = k == 0,
                      .last = k + depth_ >= args_.k};
      set_a(sweep, inner, rows, k);
      const bool cut_k = depth_ < args_.k;
      const int64_t first_tile = cut_k ? (inner - row) / height_ * sum_panels_ : 0;
      int64_t index = 0;
      for (int64_t c = col; c < col_end; c += kernel_.panel, ++index) {
        sweep.b = panel_of_b(col, index, k);
        sweep.next_b = c + kernel_.panel < col_end ? panel_of_b(col, index + 1, k) : sweep.b;
        sweep.cols = std::min(kernel_.panel, col_end - c);
        sweep.c = const_cast<char*>(at(args_.c, inner * args_.ldc + c, out_bytes_));
        const int64_t tile = first_tile + (cut_k ? index : 0);
        sweep.acc = scratch_.acc + tile * tile_ * kernel_.acc_bytes;
        kernel_.sweep(sweep);
      }
    }
  }

  const GemmKernel& kernel_;
  const GemmArgs& args_;
  const int64_t row0_, row1_, col0_, col1_, in_bytes_, out_bytes_;
  int64_t depth_;  // of k per pass
  bool in_place_;  // A is not packed
  int64_t width_;  // slots of a packed row block of A
  int64_t height_, inner_rows_, row_step_, col_step_;
  int64_t tile_, sum_panels_;                // elements of a tile of sums; tiles side by side
  int64_t packed_row_ = -1, packed_k_ = -1;  // what packed A holds
  Scratch scratch_;
};

void run_block(const GemmKernel& kernel, const GemmArgs& args, int64_t row0, int64_t row1,
               int64_t col0, int64_t col1) {
  if (row0 < row1 && col0 < col1) Block(kernel, args, row0, row1, col0, col1).run();
}

// How C [m, n] is cut for `threads` threads.
struct Grid {
  int64_t rows, cols;  // of a block
  int64_t num_cols;    // blocks side by side
  int64_t size;
};

// The cheapest grid: products of a block cost 1 per element of C and k, packing an element of A
// or B as much as some 24 of them.
Grid choose_grid(const GemmKernel& kernel, int64_t m, int64_t n, bool b_is_packed,
                 int64_t threads) {
  constexpr int64_t kPackCost = 24;
  Grid best{m, n, 1, 1};
  if (threads <= 1) return best;
  int64_t best_cost = -1;
  for (int64_t across = 1; across <= threads; ++across) {
    const int64_t down = ceil_div(threads, across);
    const int64_t rows = equal_piece(m, ceil_div(m, down), kernel.max_height);
    const int64_t cols = equal_piece(n, ceil_div(n, across), kernel.panel);
    const int64_t num_cols = ceil_div(n, cols), size = ceil_div(m, rows) * num_cols;
    const int64_t cost = rows * cols + kPackCost * (rows + (b_is_packed ? 0 : cols));
    const int64_t total = cost * ceil_div(size, threads);
    if (best_cost >= 0 && total >= best_cost) continue;
    best_cost = total;
    best = {rows, cols, num_cols, size};
  }
  return best;
}

void run_grid_block(const GemmKernel& kernel, const GemmArgs& args, const Grid& grid, int64_t i) {
  const int64_t row = i / grid.num_cols * grid.rows, col = i % grid.num_cols * grid.cols;
  run_block(kernel, args, row, std::min(args.m, row + grid.rows), col,
            std::min(args.n, col + grid.cols));
}

void check_gemm(const GemmKernel& kernel, const GemmArgs& args) {
  ORTHANT_CHECK(args.m >= 0 && args.n >= 0 && args.k >= 0, kInternal, "gemm: sizes ", args.m, ", ",
                args.n, ", ", args.k, " must not be negative");
  ORTHANT_CHECK(
      args.out_dtype == args.dtype || (args.dtype == DType::kBF16 && args.out_dtype == DType::kF32),
      kInternal, "gemm: cannot write ", name_of(args.out_dtype), " from ", name_of(args.dtype));
  if (const PackedMatrix* packed = args.packed_b) {
    ORTHANT_CHECK(&packed->kernel == &kernel, kInternal, "gemm: B was packed as ",
                  name_of(packed->kernel.dtype), " for level ", name_of(packed->kernel.isa),
                  ", wanted ", name_of(kernel.dtype), " for ", name_of(kernel.isa));
    ORTHANT_CHECK(packed->k == args.k && packed->n == args.n, kInternal, "gemm: packed B is [",
                  packed->k, ", ", packed->n, "], wanted [", args.k, ", ", args.n, "]");
  }
}

}  // namespace

const GemmKernel& gemm_kernel(Isa isa, DType dtype) {
  ORTHANT_CHECK(dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16, kInternal,
                "gemm: want f64, f32 or bf16, got ", name_of(dtype));
  if (isa == Isa::kScalar) {
    if (dtype == DType::kBF16) return isa_scalar::gemm_bf16;
    return dtype == DType::kF64 ? isa_scalar::gemm_f64 : isa_scalar::gemm_f32;
  }
  if (dtype == DType::kF64) return isa_avx512::gemm_f64;
  if (dtype == DType::kF32) return isa_avx512::gemm_f32;
  if (isa == Isa::kAmx) return isa_amx::gemm_bf16;
  return isa == Isa::kAvx512Bf16 ? isa_avx512bf16::gemm_bf16 : isa_avx512::gemm_bf16;
}

const GemmKernel& active_kernel(DType dtype) {
  if (dtype == DType::kBF16) return gemm_kernel(active_isa(), dtype);
  return gemm_kernel(uses_avx512() ? Isa::kAvx512 : Isa::kScalar, dtype);
}

const PackedMatrix* pack_matrix_with(const GemmKernel& kernel, int64_t k, int64_t n, const void* b,
                                     int64_t ldb, bool trans_b) {
  auto matrix = std::make_unique<PackedMatrix>(kernel, k, n);
  parallel_for(n, 4 * kernel.panel, [&](int64_t begin, int64_t end) {
    kernel.pack_b({.src = at(b, trans_b ? begin * ldb : begin, size_of(kernel.dtype)),
                   .ld = ldb,
                   .count = end - begin,
                   .k = k,
                   .k_contiguous = trans_b,
                   .step = kernel.panel,
                   .width = kernel.panel,
                   .dst = matrix->storage.data() + begin / kernel.panel * matrix->panel_bytes});
  });
  return matrix.release();
}

int64_t packed_bytes(DType dtype, int64_t k, int64_t n) {
  return PackedMatrix::bytes_of(active_kernel(dtype), k, n);
}

PackedMatrixPtr pack_matrix(DType dtype, int64_t k, int64_t n, const void* b, int64_t ldb,
                            bool trans_b) {
  return PackedMatrixPtr(pack_matrix_with(active_kernel(dtype), k, n, b, ldb, trans_b));
}

void gemm_with(const GemmKernel& kernel, const GemmArgs& args) {
  check_gemm(kernel, args);
  if (args.m == 0 || args.n == 0) return;
  const int64_t useful = std::max(args.m, kBoundRows) * args.n * args.k / kThreadWork;
  const int64_t threads = std::min<int64_t>(context().num_threads, useful);
  const Grid grid = choose_grid(kernel, args.m, args.n, args.packed_b != nullptr, threads);
  parallel_for_each(grid.size, [&](int64_t i) { run_grid_block(kernel, args, grid, i); });
}

void gemm(const GemmArgs& args) { gemm_with(active_kernel(args.dtype), args); }

namespace {

// The product of one expert.
GemmArgs expert_gemm(const GroupedGemmArgs& args, int64_t expert) {
  const int64_t begin = args.offsets[expert], rows = args.offsets[expert + 1] - begin;
  const int64_t bytes = size_of(args.dtype);
  const char* x = at(args.x, begin * args.ldx, bytes);
  const char* y = at(args.y, begin * args.ldy, bytes);
  const char* w = at(args.w, expert * args.in * args.out, size_of(args.w_dtype));
  const bool forward = args.form == GroupedForm::kForward;
  if (args.form == GroupedForm::kWeightGrad) {
    return {.m = args.out,
            .n = args.in,
            .k = rows,
            .dtype = args.dtype,
            .out_dtype = args.w_dtype,
            .a = y,
            .lda = args.ldy,
            .trans_a = true,
            .b = x,
            .ldb = args.ldx,
            .c = const_cast<char*>(w),
            .ldc = args.in,
            .accumulate = args.accumulate};
  }
  return {.m = rows,
          .n = forward ? args.out : args.in,
          .k = forward ? args.in : args.out,
          .dtype = args.dtype,
          .out_dtype = args.dtype,
          .a = x,
          .lda = args.ldx,
          .b = w,
          .ldb = args.in,
          .trans_b = forward,
          .packed_b = args.packed_w == nullptr ? nullptr : args.packed_w[expert],
          .c = const_cast<char*>(y),
          .ldc = args.ldy,
          .accumulate = args.accumulate};
}

}  // namespace

void grouped_gemm_with(const GemmKernel& kernel, const GroupedGemmArgs& args) {
  std::vector<GemmArgs> products;
  std::vector<Grid> grids;
  std::vector<int64_t> ends;  // running number of blocks
  int64_t work = 0;
  for (int64_t e = 0; e < args.num_experts; ++e) {
    const GemmArgs product = expert_gemm(args, e);
    check_gemm(kernel, product);
    if (product.m == 0 || product.n == 0) continue;
    products.push_back(product);
    work += product.m * product.n * product.k;
  }
  // Large experts are cut, so that no block is more than a third of a thread's share.
  const int64_t threads = context().num_threads;
  const int64_t share = std::max(kThreadWork, work / (3 * threads));
  for (const GemmArgs& product : products) {
    const int64_t own = product.m * product.n * product.k;
    const int64_t pieces = threads <= 1 ? 1 : std::min(ceil_div(own, share), 2 * threads);
    grids.push_back(choose_grid(kernel, product.m, product.n, product.packed_b != nullptr, pieces));
    ends.push_back((ends.empty() ? 0 : ends.back()) + grids.back().size);
  }
  if (products.empty()) return;
  parallel_for_each(ends.back(), [&](int64_t i) {
    const auto found = std::upper_bound(ends.begin(), ends.end(), i);
    const size_t e = static_cast<size_t>(found - ends.begin());
    run_grid_block(kernel, products[e], grids[e], i - (ends[e] - grids[e].size));
  });
}

void grouped_gemm(const GroupedGemmArgs& args) {
  grouped_gemm_with(active_kernel(args.dtype), args);
}

}  // namespace orthant::cpu
