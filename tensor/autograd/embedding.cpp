// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"
#include "tensor/ops/elementwise.h"

namespace orthant {

using ops::view_of;

Var embedding(const Tensor& ids, Weight& table) {
  check_weight("embedding", table.shape().rank() == 2 && ids.dtype() == DType::kI32, ids, table);
  Shape shape = ids.shape();
  shape.push_back(table.shape()[1]);
  const Tensor out = Tensor::empty(shape, table.dtype(), table.device());
  {
    const Operand rows = table.elements();
    ops::call(
        &Backend::embedding, "embedding", {&rows.view(), &ids, &out},
        EmbeddingArgs{.table = view_of(rows.view()), .ids = view_of(ids), .out = view_of(out)});
  }
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
