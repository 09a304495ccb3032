// SPDX-License-Identifier: Apache-2.0
// The table of functions that a device implements: one per op, over plain views.
//
// The table is C data: no exception and no library type crosses it, so that a backend can live in a
// plugin (docs/backends.md).  A function returns 0, or another number after it has written a
// message into call->error. Shapes and dtypes were checked by ops:: before a call.  Unless stated
// otherwise, outputs are overwritten and must not overlap inputs; M is the model's dtype (f64, f32,
// bf16), W the wider of f32 and M.  Names of dimensions as in docs/style.md: N rows (tokens), D
// model width, H heads, K head dim, E experts, A experts per token, R routed rows.
#pragma once

#include <cstdint>

#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace orthant {

// A tensor as kernels see it.  Rows (all dimensions but the last, flattened) start `row_stride`
// elements apart; elements of a row are contiguous.  data is null for an optional view that is not
// given.
struct View {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int32_t rank = 0;
  int64_t shape[kMaxDims] = {};
  int64_t row_stride = 0;
};

struct BackendCall {
  void* stream = nullptr;
  char* error = nullptr;
  int64_t error_size = 0;
  // Sums may be made in any order: the same call need not give the same bits (run.determinism:
  // none).
  int32_t any_order = 0;
};

// Forms that a backend may want of a weight [out, in] (or [E, out, in]); see Backend::prepare.
enum class WeightForm : int32_t { kForward = 0, kDataGrad = 1 };

// c = op(a) op(b), or += with accumulate; c may be W for M inputs (weight gradients, logits).  2-D
// views.
struct MatmulArgs {
  View a, b, c;
  int32_t trans_a, trans_b, accumulate;
  const void* prepared_b;  // of b [n, k] with trans_b (kForward) or b [k, n] without (kDataGrad);
                           // may be null
};
// Forward: y[r] = x[r] w_e^T.  DataGrad: y[r] = x[r] w_e.  WeightGrad: w_e = y_e^T x_e, w in W, y
// is read.  += with accumulate.  Expert e owns rows [offsets[e], offsets[e + 1]); offsets is host
// memory, w is [E, out, in].
enum class ProductForm : int32_t { kForward = 0, kDataGrad = 1, kWeightGrad = 2 };
struct GroupedMatmulArgs {
  ProductForm form;
  View x, w, y;
  const int64_t* offsets;
  const void* prepared_w;
  int32_t accumulate;
};
struct EmbeddingArgs {  // out [N, D] = table [V, D] rows at ids i32 [N]; an id < 0 gives zeros
  View table, ids, out;
};
struct EmbeddingGradArgs {  // dtable W [V, D] += rows of dout M [N, D], in order of N
  View ids, dout, dtable;
};
struct RmsNormArgs {  // y = x * rstd * weight, rstd W [N] = 1 / sqrt(mean(x^2) + eps); weight W [D]
  View x, weight, y, rstd;
  double eps;
};
struct RmsNormGradArgs {  // dx M [N, D]; dweight W [D] (+)= sum over rows, in blocks of fixed size
  View x, weight, rstd, dy, dx, dweight;
  int32_t accumulate;
};
// Of each of the first `heads` heads of a row columns [offset, offset + K) are rotated, the rest is
// copied: y = x, pairs (offset + i, offset + i + K/2) turned by positions i32 [N] through cos, sin
// W [P, K/2].  Heads are head_dim wide.  inverse turns back (the gradient).
struct RotaryArgs {
  View x, y, positions, cos, sin;
  int64_t heads, head_dim;
  int32_t inverse;
  int64_t offset;
};
// y[r][h * y_step + i] = x[r][h * x_step + i] for every head h < heads and i < width; the rest of y
// stays.  x_step 0: all heads of y get the same.  y_step 0: y gets the sum over the heads of x, in
// their order, made in W.
struct CopyHeadsArgs {
  View x, y;
  int64_t heads, width, x_step, y_step;
};
// Causal attention, never materialising T x T, of a chunk of queries over a chunk of keys of each
// sequence.  q M [.., Hq*Kqk], k [.., Hkv*Kqk], v [.., Hkv*Kv], o M [.., Hq*Kv], lse W [.., Hq]
// (optional).  Row i < q_len of sequence b stands in row b * q_stride + i of q, o, lse and
// doc_start, at position q_offset + i of the sequence; key j < kv_len in row b * kv_stride + j of k
// and v, at position kv_offset + j.  A query at position p sees the keys at max(doc_start, p -
// window + 1) .. p that are there (doc_start i32, 0 when not given; window 0: no such limit).
// Without one o is 0 and lse -inf.  Query head h uses KV head h / (Hq / Hkv).
// With accumulate, o (then W) and lse hold attention over other keys, and get that over all of
// them.
struct AttentionArgs {
  View q, k, v, o, lse, doc_start;
  int64_t batch, q_len, q_stride, q_offset, kv_len, kv_stride, kv_offset;
  int64_t heads, kv_heads, qk_dim, v_dim, window;
  double scale;
  int32_t accumulate;
};
// Attention of the new rows of several sequences over keys in pages of page_rows rows (Kwon et al.,
// arXiv:2309.06180).  q M [N, Hq*Kqk], o M [N, Hq*Kv].  k [page_rows, Kqk], or with k_transposed
// [Kqk, page_rows], and v [page_rows, Kv] are the first KV head in one of the pages; each next head
// stands k_step, v_step elements behind, and pages i64 holds the distances in bytes of all pages
// from that one.  sequences i64 [S, 5]: the first row in q and o, how many rows, the first one's
// position, the position of the first key that is there, a multiple of page_rows, and the place of
// that key's page in `pages`, which those of later keys follow.  The last row's position is that of
// the last key.  page_rows is a multiple of 64, so that blocks of keys are those of attention.
struct PagedAttentionArgs {
  View q, k, v, o, sequences, pages;
  int64_t page_rows, k_step, v_step, heads, kv_heads, qk_dim, v_dim, window;
  double scale;
  int32_t k_transposed;
};
// forward.o (M) and forward.lse are those over all keys, also where k and v are a chunk.  With
// accumulate, dq, dk and dv are W and added to.
struct AttentionGradArgs {
  AttentionArgs forward;
  View do_, dq, dk, dv;
  int32_t accumulate;
};
struct SwigluArgs {  // x [N, 2F] = gate | up; y [N, F] = silu(gate) * up
  View x, y;
};
struct SwigluGradArgs {
  View x, dy, dx;
};
struct SoftmaxArgs {  // over the last dimension, W
  View x, y;
};
struct SoftmaxGradArgs {
  View y, dy, dx;
};
// Cross-entropy over a vocabulary of which logits W [N, V] may be one of P parts: ids from
// first_label on.  A label < 0 counts nowhere.  sums f64 [N, 3]: the part's largest logit, the sum
// of exp(logit - largest), the label's logit or 0 where it is in another part.
struct VocabSumsArgs {
  View logits, labels, sums;
  int64_t first_label;
};
// losses f64 [N] = logsumexp(logits) - logit of the label; dlogits M [N, V] (optional) = softmax -
// onehot.  A label < 0 gives 0 and zeros.  sums f64 [P * N, 3]: VocabSumsArgs of every part, in
// order; not given: logits are the whole vocabulary.
struct CrossEntropyArgs {
  View logits, labels, sums, losses, dlogits;
  int64_t first_label;
};
// How far q = softmax(x) is from p = softmax(y) in each row of C columns: losses f64 [N] = forward
// * KL(p | q) + reverse * KL(q | p); dx W [N, C] (optional) = its gradient by x.  x, y W [N, C];
// labels i32 [N]: one < 0 gives 0 and zeros.  Equal rows give 0, exactly.
struct DivergenceArgs {
  View x, y, labels, losses, dx;
  double forward, reverse;
};
struct BinaryArgs {  // y = a + b, same dtype; y may be a or b
  View a, b, y;
};
struct ScaleArgs {  // y = x * factor; y may be x
  View x, y;
  double factor;
};
struct ScaleColumnsArgs {  // y [N, D] = x * factor W [D] in every row; y may be x
  View x, factor, y;
};
struct ScaleColumnsGradArgs {  // dx = dy * factor; dfactor W [D] = sum over rows of dy * x, or +=
                               // with accumulate; dx may be dy
  View x, dy, factor, dx, dfactor;
  int32_t accumulate;
};
struct CastArgs {  // y = x in y's dtype; or y += x with accumulate
  View x, y;
  int32_t accumulate;
};
struct FillArgs {
  View y;
  double value;
};
// y = x * mask / (1 - p), mask from Philox(key; step, index); the gradient is the same call on dy.
// The index of an element is tokens[row] * row_width + first_column + its column; tokens i64 [N].
struct DropoutArgs {
  View x, y, tokens;
  uint32_t key0, key1;
  uint64_t step;
  int64_t row_width, first_column;
  double probability;
};
struct GatherRowsArgs {  // y [R, D] = x rows at index i32 [R]
  View x, index, y;
};
// y [N, D] = sum over slots a, in slot order, of weights[n, a] * rows[row_of[n, a]], summed in W;
// row_of i32 [N, A], -1 = none; weights W [N, A], 1 when not given.
struct CombineArgs {
  View rows, row_of, weights, y;
};
// drows[row_of[n, a]] = weights[n, a] * dy[n]; dweights W [N, A] = rows . dy.
struct CombineGradArgs {
  View dy, rows, row_of, weights, drows, dweights;
};
// How the router's logits become scores.  Sigmoid: DeepSeek-V3, arXiv:2412.19437.
enum class ScoreKind : int32_t { kSoftmax = 0, kSigmoid = 1 };
// What kernels add to a sum of scores before they divide by it.
inline constexpr double kScoreEpsilon = 1e-20;
// Routing of N consecutive tokens of a micro-batch of S sequences of T = sequence_length: row n is
// the micro-batch's token first_row + n.  logits W [N, E]; valid i32 [N] (0 = padding,
// routed nowhere: ids -1, weights 0).  scores W [N, E] = softmax or sigmoid of the logits; lse W
// [N] (optional) = logsumexp(logits); totals W [N] = sum of a token's scores + kScoreEpsilon
// (sigmoid), 1 (softmax). Choice: experts form num_groups contiguous groups of equal size; a group
// counts as the sum of its group_best (1 or 2) best scores + bias (bias W [E], optional), and the
// top_groups best groups are open, ties to the lower one.  ids i32 [N, A]: the A best scores + bias
// of open groups in descending order, ties to the lower id, or replay (same shape) when given.
// weights W [N, A] = scale * score, without bias, divided by their sum + kScoreEpsilon first with
// normalize. chosen_scores W [N, A] (optional): the scores of ids. Sums over the valid tokens of a
// sequence, f64: counts [S, E] tokens that chose the expert; group_counts [S, num_groups] tokens
// that chose an expert of the group, each once; score_sums [S, E] of score / total; plain_counts
// [S, E] (optional, with plain_ids i32 [N, A]) tokens that have the expert among their A best
// scores, whatever bias, groups and replay say.
struct RouterArgs {
  View logits, valid, bias, replay;
  View scores, totals, lse, ids, weights, chosen_scores, plain_ids;
  View counts, group_counts, plain_counts, score_sums;
  ScoreKind score;
  int64_t sequence_length, first_row, num_groups, top_groups, group_best;
  int32_t normalize;
  double scale;
};
// dlogits W [N, E] from dweights W [N, A], plus the balance loss's gradient: for a valid token t of
// sequence s, d/d(score_j / total) = score_coef[s, j] (f64 [S, E]) and d/dlse = 2 * z_coef * lse.
// logits and totals are read for sigmoid scores only, logits only where lse is given.
struct RouterGradArgs {
  View logits, scores, totals, valid, ids, weights, lse, dweights, score_coef, dlogits;
  ScoreKind score;
  int64_t sequence_length, first_row;
  int32_t normalize;
  double scale, z_coef;
};
// Token dropping, DeepSeek-V2, arXiv:2405.04434, section 2.2.3.  In each sequence a group of
// experts keeps its first ceil(capacity_factor * T * A / num_groups) assignments, T the sequence's
// valid tokens, in the order (score descending, token, expert); a sequence of protected_rows i32
// [S] keeps all.  ids i32 [N, A] (-1 = none), scores W [N, A] of the assignments, valid i32 [N];
// kept i32 [N, A] = ids, -1 where dropped; dropped f64 [S] how many.  A function of whole
// sequences: where ranks hold parts of one, they gather it first, tokens in order.
struct DropTokensArgs {
  View ids, scores, valid, protected_rows, kept, dropped;
  int64_t sequence_length, num_experts, num_groups;
  double capacity_factor;
};
// Where rows go: sorted by (expert, token, slot).  ids i32 [N, A] (-1 = nowhere); row_of i32 [N,
// A]; token_of i32 [N * A], of which the first offsets[E] are used; offsets i64 [E + 1], host
// memory.
struct DispatchPlanArgs {
  View ids, row_of, token_of;
  int64_t num_experts;
  int64_t* offsets;
};
// One AdamW step on a flat span.  master W (param itself when param is W), m, v, grad W.  grad is
// multiplied by grad_scale first.  bias1 = 1 - beta1^t, bias2 = 1 - beta2^t.  Source: Loshchilov
// and Hutter, arXiv:1711.05101.
struct AdamwArgs {
  View param, master, m, v, grad;
  double learning_rate, beta1, beta2, eps, weight_decay, bias1, bias2, grad_scale;
};
struct SgdArgs {
  View param, master, grad;
  double learning_rate, weight_decay, grad_scale;
};
// How a matrix is held in few bits; docs/numerics.md has the formulas.
enum class Quantization : int32_t { kNone = 0, kNf4 = 1, kInt8 = 2 };
// y M [rows, columns] = the elements of a matrix from (first_row, first_column) on.  Of these are
//   NF4    codes u8 [rows, bytes]: column c of the matrix stands in byte c / 2 - first_column / 2,
//          even ones in the upper half; scales u8 [rows, blocks]: of block c / 64 - first_column /
//          64; nested f32 [1 + groups], of the whole matrix.  An element is Nf4Levels[code] times
//          the largest of its block, nested[0] + DynamicMap[scale] * nested[1 + i / 256], where i =
//          row of the matrix * row_blocks + c / 64 (tensor/code_books.h).
//   int8   codes i8 [rows, columns], scales f32 [rows]; an element is code * scale.
struct DequantizeArgs {
  View codes, scales, nested, y;
  Quantization format;
  int64_t first_row, first_column, row_blocks;
};
struct SumSquaresArgs {  // sums f64 [ceil(n / 4096)]: of squares, over consecutive blocks of 4,096
                         // elements of x [n]
  View x, sums;
};

// What a plugin gets from the program that opens it: it links no Orthant library.
struct BackendHost {
  void (*log)(const char* line);
};

struct BackendDevice {
  char name[128];
  char uuid[64];  // the same text in every process that sees this device
  int64_t memory_bytes, free_bytes;
  int32_t compute_major, compute_minor;
};

// --- Messages between the devices of ranks. -----------------------------------------------------

// Names a communicator that is about to be made; one rank makes it, the others are told.
struct BackendCommId {
  char bytes[128];
};
struct BackendCommArgs {
  BackendCommId id;
  int32_t rank, size;
  const char* name;
};
// Device memory that goes to, or comes from, another rank.
struct BackendMessage {
  int32_t peer;
  void* data;
  int64_t bytes;  // above 0
};
// One set of messages, all under way at once, and a copy of this rank's own (own_bytes may be 0).
struct ExchangeArgs {
  const BackendMessage* sends;
  const BackendMessage* recvs;
  int32_t num_sends, num_recvs;
  const void* own_from;
  void* own_to;
  int64_t own_bytes;
};

// A communicator belongs to the device that the calling thread used when it was made, and is called
// by one thread at a time.  No entry but destroy waits for a peer.  Messages between two ranks are
// matched by their order alone: ranks post exchanges of one communicator in the same order.
// Different communicators do not wait for each other.
struct BackendComm {
  int (*make_id)(const BackendCall*, BackendCommId* id);
  // Begins to make this rank's end; every rank of `size` calls it with the same id.
  int (*create)(const BackendCall*, const BackendCommArgs* args, void** comm);
  // Makes progress; *ready becomes 1 when every rank's end is there.  Fails when the communicator
  // has failed, at any time of its life.
  int (*poll)(const BackendCall*, void* comm, int32_t* ready);
  // Posts an exchange, also before the communicator is ready.  It begins after everything that was
  // called before on the stream.  Memory stays untouched until the ticket is done.
  int (*exchange)(const BackendCall*, void* comm, const ExchangeArgs* args, void** ticket);
  // Makes progress; *done becomes 1 when all messages have come and gone: calls on any stream of
  // the device then see what was received.
  int (*query)(const BackendCall*, void* ticket, int32_t* done);
  // Of a ticket that is done, or whose communicator was aborted; before the communicator goes.
  void (*release)(void* ticket);
  // Ends what is under way; the communicator can only be destroyed then.
  int (*abort)(const BackendCall*, void* comm);
  int (*destroy)(const BackendCall*, void* comm);
};

// Bumped with every change of this file; a plugin of another version is refused.
inline constexpr int32_t kBackendVersion = 8;

struct Backend {
  int32_t version;
  const char* name;
  const char* libraries;  // versions of toolkit and libraries, for `orthant doctor`
  // Number of usable devices (0 with a reason in call->error, such as a missing driver), and what
  // they are.
  int (*device_count)(const BackendCall*, int32_t* count);
  int (*describe_device)(const BackendCall*, int32_t index, BackendDevice* device);
  // All later calls of the calling thread go to this device.
  int (*use_device)(const BackendCall*, int32_t index);
  // Memory.  kind of copy is deduced by the backend; stream-ordered, host copies are complete on
  // return.
  int (*allocate)(const BackendCall*, int64_t bytes, void** block);
  int (*deallocate)(const BackendCall*, void* block);
  // Host memory that copies from and to the device are fastest with.
  int (*allocate_host)(const BackendCall*, int64_t bytes, void** block);
  int (*deallocate_host)(const BackendCall*, void* block);
  int (*copy)(const BackendCall*, void* to, const void* from, int64_t bytes);
  int (*synchronize)(const BackendCall*);
  // The form that this backend's products want of a weight view; *prepared stays null when it wants
  // none.
  int (*prepare)(const BackendCall*, const View* weight, WeightForm form, void** prepared);
  void (*release)(void* prepared);
  int64_t (*prepared_bytes)(const void* prepared);
#define ORTHANT_OPS(X)                        \
  X(matmul, MatmulArgs)                       \
  X(grouped_matmul, GroupedMatmulArgs)        \
  X(embedding, EmbeddingArgs)                 \
  X(embedding_grad, EmbeddingGradArgs)        \
  X(rms_norm, RmsNormArgs)                    \
  X(rms_norm_grad, RmsNormGradArgs)           \
  X(scale_columns, ScaleColumnsArgs)          \
  X(scale_columns_grad, ScaleColumnsGradArgs) \
  X(rotary, RotaryArgs)                       \
  X(copy_heads, CopyHeadsArgs)                \
  X(attention, AttentionArgs)                 \
  X(attention_grad, AttentionGradArgs)        \
  X(paged_attention, PagedAttentionArgs)      \
  X(swiglu, SwigluArgs)                       \
  X(swiglu_grad, SwigluGradArgs)              \
  X(softmax, SoftmaxArgs)                     \
  X(softmax_grad, SoftmaxGradArgs)            \
  X(vocab_sums, VocabSumsArgs)                \
  X(cross_entropy, CrossEntropyArgs)          \
  X(divergence, DivergenceArgs)               \
  X(add, BinaryArgs)                          \
  X(scale, ScaleArgs)                         \
  X(cast, CastArgs)                           \
  X(fill, FillArgs)                           \
  X(dropout, DropoutArgs)                     \
  X(gather_rows, GatherRowsArgs)              \
  X(combine, CombineArgs)                     \
  X(combine_grad, CombineGradArgs)            \
  X(router, RouterArgs)                       \
  X(router_grad, RouterGradArgs)              \
  X(drop_tokens, DropTokensArgs)              \
  X(dispatch_plan, DispatchPlanArgs)          \
  X(adamw, AdamwArgs)                         \
  X(sgd, SgdArgs)                             \
  X(sum_squares, SumSquaresArgs)              \
  X(dequantize, DequantizeArgs)
#define ORTHANT_DECLARE_OP(op, Args) int (*op)(const BackendCall*, const Args*);
  ORTHANT_OPS(ORTHANT_DECLARE_OP)
#undef ORTHANT_DECLARE_OP
  // Null for a backend whose devices cannot talk to each other: ranks exchange through host memory.
  const BackendComm* comm;
};

// What a plugin exports: extern "C" const Backend* orthant_backend_v1(const BackendHost* host); the
// table lives as long as the plugin.
using BackendEntry = const Backend* (*)(const BackendHost* host);
inline constexpr const char* kBackendEntryName = "orthant_backend_v1";

// The table of a kind of device; Error(kDevice) when there is none.
const Backend& backend_of(DeviceType device);
// The same, with the calling thread turned to that device: every call that is about memory or
// tensors of a device goes through it, on whatever thread.
const Backend& backend_on(Device device);
const Backend& cpu_backend();
const Backend& meta_backend();

}  // namespace orthant
