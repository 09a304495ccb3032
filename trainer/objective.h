// SPDX-License-Identifier: Apache-2.0
// What training is for: what the last stage does with the rows that come out of the model.
//
// An objective gives each row a loss and makes the gradient by the rows while it does so.  A step
// adds the losses of all rows of all ranks and divides once, by what the objective counts: never a
// mean of means, so that neither accumulation nor layout changes what is computed.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/micro_batch.h"
#include "model/transformer.h"

namespace orthant {

// Of one micro-batch; all tensors f64, by local row (parallel/token_rows.h).
struct ObjectiveRows {
  Var loss;  // [1]: the sum of `losses`, and what else trains; backward starts here, with 1
  Tensor losses;
  std::vector<Tensor> sums;  // in the order of sum_names()
  // What it hands to other loops of these rows, by name, for their MicroBatch::local_rows.
  std::map<std::string, Tensor> made = {};
};

class Objective {
 public:
  virtual ~Objective() = default;

  // What a micro-batch adds to the number that the step's loss and gradients are divided by.
  virtual double count(const MicroBatch& batch) const = 0;
  // Numbers beside the loss that are added up over the step.
  virtual std::vector<std::string> sum_names() const { return {}; }
  // rows: the stream behind the final norm.  Collective over the ranks that share the micro-batch,
  // which get the same losses.
  virtual ObjectiveRows run(const Transformer& last_stage, const Var& rows, Pass& pass,
                            const MicroBatch& batch) const = 0;
};

// In training the model's MtpLayer, where it has one, adds mtp_loss_weight times its rows' losses,
// which are divided by the same number, as in arXiv:2412.19437, equation 24.  kFurtherLoss, the
// last of the sums, is that of these products.
inline constexpr const char* kFurtherLoss = "mtp_loss";
void add_further_loss(const Transformer& last_stage, const Var& rows, Pass& pass,
                      const MicroBatch& batch, ObjectiveRows& result);

// The mean of -log p(label) over labelled tokens.  Where the micro-batches have a token column
// "weights", it is a weighted mean, and the number of labelled tokens is the sum of their weights.
//
// predicts_further: add_further_loss.
class LanguageModeling final : public Objective {
 public:
  explicit LanguageModeling(bool predicts_further = false) : predicts_further_(predicts_further) {}
  static constexpr const char* kWeights = "weights";
  double count(const MicroBatch& batch) const override;
  std::vector<std::string> sum_names() const override;
  ObjectiveRows run(const Transformer& last_stage, const Var& rows, Pass& pass,
                    const MicroBatch& batch) const override;

 private:
  bool predicts_further_;
};

}  // namespace orthant
