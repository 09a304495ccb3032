// SPDX-License-Identifier: Apache-2.0
// Writes on from prompts with a model whose stages are on any number of ranks.
//
// So many sequences at once have places; when one is done, the next request takes its place.  A
// prompt goes through the model once: requests with the same one begin with what is cached of it,
// and feed its last token alone.  Long prompts go in pieces, beside the others' new tokens.  Each
// request may have another of the model's adapters.
//
// With P pipeline ranks the places are cut into P groups that travel round robin: while one is in
// the last stage, the next is in the stage before.  A round is a pass of every group through all
// stages; each rank runs it chunk by chunk (a chunk: its n-th stage), group by group.  The last
// stage chooses each sequence's next token and tells the other stages, which need it when the group
// comes round again.
//
// Invariants:
//  (D1) All ranks of a pipeline know the same of a group when it enters their first stage: its
//       tokens of all rounds before.  So each knows by itself what comes in and goes out, who is
//       done, and which requests begin.
//  (D2) What a rank does is ordered by (round, chunk, group), and what it needs was made earlier in
//       this order: no rank waits in a circle.  Sends are waited for a round late, when what came
//       back shows that they have arrived.
//  (D3) Where ranks with other sequences hold experts of this model, all go through every round,
//       also with no tokens, until nobody has any left.
//
// Context-parallel ranks all compute the whole, with the same bits.
#pragma once

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "model/transformer.h"

namespace orthant {

struct DecodeRequest {
  std::vector<int32_t> prompt;  // a token at least
  int64_t max_new_tokens = 0;
  int64_t adapter = -1;  // NewTokens::adapter
};

struct DecodeCallbacks {
  // The place-th new token of a request, or less than 0 to end it.  Called on every rank that holds
  // the last stage, with the same logits [V]: they must choose alike.
  std::function<int32_t(int64_t request, int64_t place, std::vector<double> logits)> choose;
  // A token that was chosen, on every rank, when it comes to know it; false: it was the last.  All
  // ranks must say the same; may be empty.
  std::function<bool(int64_t request, int32_t token)> on_token = {};
};

struct DecoderOptions {
  LatentForm latent = LatentForm::kAbsorbed;
  int64_t max_sequences = 64;      // at once
  int64_t max_prompt_rows = 2048;  // tokens of prompts that go through a stage at once
};

class Decoder {
 public:
  // This rank's stages, in the order of the model; they must outlive it.  Collective over the
  // pipeline.
  explicit Decoder(std::vector<const Transformer*> stages, const DecoderOptions& options = {});
  const Transformer& stage() const { return *stages_.front(); }

  // New tokens by request.  Ranks that share the model's sequences (pipeline, context, tensor) give
  // the same requests.  Past the model's longest sequence one goes on from its last half.
  // Collective over these, and over all ranks where experts are shared by more of them.
  std::vector<std::vector<int32_t>> run(const std::vector<DecodeRequest>& requests,
                                        const DecodeCallbacks& callbacks) const;

 private:
  friend class DecodeRun;
  enum class What { kStream, kTokens };
  using Channel = std::pair<What, std::pair<int, int>>;  // from a rank to another

  int num_stages() const { return static_cast<int>(rank_of_.size()); }
  int last_rank() const { return rank_of_.back(); }

  std::vector<const Transformer*> stages_;
  DecoderOptions options_;
  Group pipeline_;
  std::vector<int> rank_of_;           // by stage of the model
  std::vector<int> stage_of_;          // by chunk of this rank
  std::map<Channel, Group> channels_;  // groups of two: rank 0 sends
  bool meets_others_;                  // (D3)
};

}  // namespace orthant
