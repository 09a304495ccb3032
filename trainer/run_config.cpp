// SPDX-License-Identifier: Apache-2.0
#include "trainer/run_config.h"

namespace orthant {

const EnumNames<DType>& precision_names() {
  static const EnumNames<DType> names = {
      {DType::kF64, "fp64"}, {DType::kF32, "fp32"}, {DType::kBF16, "bf16"}};
  return names;
}

void RunConfig::fields(FieldVisitor& v) {
  v.may_change_on_resume([&] {
    v.field("device", device, one_of({"cpu", "cuda", "auto"}), "where the model runs");
  });
  v.field("precision", precision, precision_names(),
          "of weights and activations; sums and master weights are wider");
  const auto block = [&v](const char* name, const char* help, auto& section) {
    v.block(name, help, [&section](FieldVisitor& inner) { section.fields(inner); });
  };
  block("run", "the run itself", run);
  block("model", "the model, in the key names of a Hugging Face config.json", model);
  block("moe", "routing and balance of the experts", moe);
  v.may_change_on_resume([&] { block("parallel", "how the ranks share the work", parallel); });
  block("batch", "batch sizes", batch);
  block("data", "training and validation data", data);
  block("lora", "adapters of low rank, which train in place of the model", lora);
  block("quantization", "frozen weights in few bits, beside adapters", quantization);
  block("optimizer", "how weights are updated", optimizer);
  block("schedule", "the learning rate over the steps", schedule);
  v.may_change_on_resume([&] {
    block("evaluation", "validation loss during the run", evaluation);
    block("checkpoint", "what is saved, and when", checkpoint);
    block("logging", "what is printed", logging);
    block("generation", "samples", generation);
  });
}

}  // namespace orthant
