// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"
#include "tensor/ops/elementwise.h"

namespace orthant {

using ops::view_of;

Var embedding(const Tensor& ids, Weight& table) {
  const Tensor& value = table.value();
  ORTHANT_OP_CHECK("embedding", value.rank() == 2 && ids.dtype() == DType::kI32, ids, value);
  Shape shape = ids.shape();
  shape.push_back(value.dim(1));
  const Tensor out = Tensor::empty(shape, value.dtype(), value.device());
  ops::call(&Backend::embedding, "embedding", {&value, &ids, &out},
            EmbeddingArgs{.table = view_of(value), .ids = view_of(ids), .out = view_of(out)});
  return record(
      "embedding", {}, out,
      [ids, &table](const Tensor& dout) -> Grads {
        weight_grad([ids, dout, &table] {
          table.add_gradient([&](const Tensor& dtable, bool accumulate) {
            if (!accumulate) ops::fill(dtable, 0.0);
            ops::call(&Backend::embedding_grad, "embedding_grad", {&ids, &dout, &dtable},
                      EmbeddingGradArgs{
                          .ids = view_of(ids), .dout = view_of(dout), .dtable = view_of(dtable)});
          });
        });
        return {};
      },
      table.trainable());
}

}  // namespace orthant
