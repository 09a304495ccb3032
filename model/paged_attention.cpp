// SPDX-License-Identifier: Apache-2.0
#include "model/paged_attention.h"

#include "tensor/ops/call.h"

namespace orthant {

void attend_pages(const AttentionShape& shape, const Tensor& x, const LayerCache& cache,
                  std::span<const DecodeStep::Part> parts, size_t values, const Tensor& o) {
  const LayerCache::Table table = cache.table(parts);
  View values_view = cache.first_head(table.page, values);
  values_view.shape[1] = shape.v_dim;
  ops::call(&Backend::paged_attention, "paged_attention", {&x, &table.page, &o},
            PagedAttentionArgs{.q = ops::columns_of(x, 0, shape.q_end()),
                               .k = cache.first_head(table.page, 0),
                               .v = values_view,
                               .o = ops::view_of(o),
                               .sequences = ops::view_of(table.sequences),
                               .pages = ops::view_of(table.pages),
                               .page_rows = LayerCache::kPageRows,
                               .k_step = cache.head_step(0),
                               .v_step = cache.head_step(values),
                               .heads = shape.heads,
                               .kv_heads = shape.kv_heads,
                               .qk_dim = shape.qk_dim,
                               .v_dim = shape.v_dim,
                               .window = shape.window,
                               .scale = shape.scale,
                               .k_transposed = cache.row().parts[0].transposed});
}

}  // namespace orthant
