// SPDX-License-Identifier: Apache-2.0
// A run of pre-training as its user describes it: what a YAML file and the command line say.  What
// follows from it for a number of ranks: trainer/run_plan.h.
#pragma once

#include <string>

#include "data/config.h"
#include "layers/quantization_config.h"
#include "model/config.h"
#include "moe/config.h"
#include "optim/config.h"
#include "parallel/config.h"
#include "tensor/dtype.h"
#include "trainer/run_blocks.h"

namespace orthant {

struct RunConfig {
  std::string device = "cpu";
  DType precision = DType::kBF16;
  RunSection run;
  ModelConfig model;
  MoeConfig moe;
  ParallelConfig parallel;
  BatchConfig batch;
  DataConfig data;
  LoraConfig lora;
  QuantizationConfig quantization;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  EvaluationConfig evaluation;
  CheckpointConfig checkpoint;
  LoggingConfig logging;
  GenerationConfig generation;

  void fields(FieldVisitor& v);
};

const EnumNames<DType>& precision_names();  // fp64, fp32, bf16

}  // namespace orthant
