// SPDX-License-Identifier: Apache-2.0
#include "trainer/run_blocks.h"

#include <algorithm>

#include "base/problems.h"

namespace orthant {

const EnumNames<Determinism>& determinism_names() {
  static const EnumNames<Determinism> names = {
      {Determinism::kLayout, "layout"}, {Determinism::kRun, "run"}, {Determinism::kNone, "none"}};
  return names;
}

void RunSection::fields(FieldVisitor& v) {
  v.may_change_on_resume([&] {
    v.field("name", name, required_text(), "name of the run");
    v.field("dir", dir, any_path(), "run directory; empty: runs/NAME");
  });
  v.field("seed", seed, at_least(0), "seed of initial weights, data order, dropout and samples");
  v.may_change_on_resume([&] {
    v.field("max_steps", max_steps, at_least(0), "optimizer steps; may grow when a run is resumed");
    v.field("resume", resume, one_of({"auto", "never"}),
            "auto: go on from the newest valid checkpoint; never: refuse an existing run");
    v.field("accept_changes", accept_changes,
            "go on even where the configuration differs from the checkpoint's");
  });
  v.field(
      "determinism", determinism, determinism_names(),
      "layout: every data-parallel size that divides the lanes gives the same bits; run, none: "
      "a rank adds its micro-batches as one lane; none: on CUDA the gradient of attention may be "
      "summed in any order");
  v.field("reduction_lanes", reduction_lanes, between(1, 65536),
          "largest number of lanes that gradients are summed in");
  v.alias("max_iters", "max_steps");
  v.alias("train_iters", "max_steps");
  v.alias("output_dir", "dir");
}

void RunSection::validate() const {
  Problems problems;
  problems.want(max_steps > 0, "run.max_steps: want the number of steps, got nothing");
  const bool is_plain = name.find_first_not_of(
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                            "abcdefghijklmnopqrstuvwxyz0123456789._-") == std::string::npos;
  problems.want(is_plain && name != "." && name != "..",
                "run.name: want letters, digits, '.', '_' and '-', got '", name,
                "'; run.dir may be any path");
  problems.raise();
}

void BatchConfig::fields(FieldVisitor& v) {
  v.field("micro_batch_size", micro_batch_size, at_least(1),
          "sequences that a rank computes at once");
  v.field("global_batch_size", global_batch_size, at_least(0),
          "sequences of an optimizer step; 0 = one micro-batch a data-parallel rank");
  v.field("sequence_length", sequence_length, at_least(1), "tokens of a sequence");
  v.field("ramp_start", ramp_start, at_least(0),
          "sequences of the first step, where the batch grows to global_batch_size; 0 = no ramp");
  v.field("ramp_increment", ramp_increment, at_least(0), "sequences by which the batch grows");
  v.field("ramp_samples", ramp_samples, between(0, int64_t{1} << 40),
          "sequences over which the batch grows, in equal parts");
  v.alias("per_device_train_batch_size", "micro_batch_size");
  v.alias("train_batch_size", "global_batch_size");
  v.alias("seq_length", "sequence_length");
  v.alias("cutoff_len", "sequence_length");
}

void BatchConfig::validate() const {
  const int64_t below = global_batch_size / micro_batch_size * micro_batch_size;
  ORTHANT_CHECK(global_batch_size % micro_batch_size == 0, kConfig,
                "batch.global_batch_size: ", global_batch_size,
                " is no multiple of micro_batch_size ", micro_batch_size,
                "; the nearest: ", below > 0 ? concat(below, " or ") : "",
                below + micro_batch_size);
  if (ramp_start == 0 && ramp_increment == 0 && ramp_samples == 0) return;
  ORTHANT_CHECK(ramp_start > 0 && ramp_increment > 0 && ramp_samples > 0, kConfig,
                "batch: a ramp wants ramp_start, ramp_increment and ramp_samples, got ", ramp_start,
                ", ", ramp_increment, " and ", ramp_samples);
  ORTHANT_CHECK(
      ramp_start < global_batch_size && (global_batch_size - ramp_start) % ramp_increment == 0,
      kConfig, "batch.ramp_increment: want a whole number of them from ramp_start ", ramp_start,
      " to global_batch_size ", global_batch_size, ", got ", ramp_increment);
}

void BatchConfig::check_ramp(int64_t replicas) const {
  const int64_t unit = micro_batch_size * replicas;
  ORTHANT_CHECK(ramp_start % unit == 0 && ramp_increment % unit == 0, kConfig,
                "batch.ramp_start, batch.ramp_increment: want multiples of micro_batch_size ",
                micro_batch_size, " x ", replicas, " replicas = ", unit, ", got ", ramp_start,
                " and ", ramp_increment,
                "; every batch of the ramp must be shared evenly, the "
                "nearest: ",
                std::max<int64_t>(1, ramp_start / unit) * unit, " and ",
                std::max<int64_t>(1, ramp_increment / unit) * unit);
}

void EvaluationConfig::fields(FieldVisitor& v) {
  v.field("interval", interval, at_least(0),
          "steps between evaluations, the last step included; 0 = never");
  v.field("tokens", tokens, at_least(0), "validation tokens to use; 0 = all");
  v.field("micro_batch_size", micro_batch_size, at_least(0),
          "sequences at once; 0 = batch.micro_batch_size");
  v.alias("eval_steps", "interval");
  v.alias("eval_interval", "interval");
}

void CheckpointConfig::fields(FieldVisitor& v) {
  v.field("interval", interval, at_least(0), "steps between checkpoints; 0 = only the last step");
  v.field("keep", keep, at_least(2), "checkpoints to keep; the newest valid one is never removed");
  v.field("async", asynchronous,
          "write in the background: a step waits for a copy, not for the disk");
  v.alias("save_steps", "interval");
  v.alias("save_interval", "interval");
}

void LoggingConfig::fields(FieldVisitor& v) {
  v.field("interval", interval, at_least(1), "steps between progress lines");
  v.field("progress", progress, one_of({"auto", "off"}),
          "auto: a bar on a terminal, lines elsewhere");
  v.field("tensorboard", tensorboard,
          "write the numbers of metrics.jsonl for TensorBoard too (events.out.tfevents.*)");
  v.field("peak_tflops", peak_tflops, non_negative(),
          "peak of one rank for MFU, in TFLOP/s; 0 = the rate of matrix products measured at the "
          "start");
  v.alias("log_interval", "interval");
  v.alias("logging_steps", "interval");
}

void SamplingConfig::fields(FieldVisitor& v) {
  v.field("max_new_tokens", max_new_tokens, at_least(1), "tokens to generate");
  v.field("temperature", temperature, non_negative(), "0 = always the likeliest token");
  v.field("top_k", top_k, at_least(0), "draw from the k likeliest tokens; 0 = all");
  v.field("top_p", top_p, RealBounds{.low = 0.0, .high = 1.0, .low_open = true},
          "draw from the smallest set with this probability");
  v.field("min_p", min_p, RealBounds{.low = 0.0, .high = 1.0},
          "draw from tokens that are at least so many times as likely as the likeliest");
  v.field("repetition_penalty", repetition_penalty, positive(),
          "tokens that were there, in the prompt too, get logits that are divided by it, or "
          "multiplied where they are negative; 1 = none");
}

void GenerationConfig::fields(FieldVisitor& v) {
  v.field("prompt", prompt, any_text(), "prompt of the samples at the end of a run");
  sampling.fields(v);
  v.field("mla", mla, latent_form_names(),
          "how new tokens see the cache of latent attention: naive: keys and values are made of it "
          "again, with the bits of training; absorbed: the latents themselves, with less work; "
          "compared: "
          "both, to tell how far they are apart");
  v.field("max_sequences", max_sequences, at_least(1), "sequences that are written at once");
  v.field("samples", samples, at_least(0), "samples at the end of a run");
}

}  // namespace orthant
