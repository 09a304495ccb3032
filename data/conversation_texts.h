// SPDX-License-Identifier: Apache-2.0
// Conversations as the texts that a model is trained on, with the spans of them that count.
//
// (S1) A turn's context is what inference renders: the messages before it and the generation
//      prompt, where the turn does not go on from that the one for no thoughts (enable_thinking is
//      false).  Its target is what rendering the turn too adds to that, up to the token that ends
//      it, without an empty <think></think> at its beginning.
// (S2) Templates may render an earlier turn differently once later ones exist (without its
//      thoughts).  So the text that ends with a turn trains an earlier one only where it begins
//      with all of that one's own text; what it does not train gets a text of its own.  Every turn
//      is trained in exactly one text.
// (S3) Where the template writes the token that ends a turn with the next turn only, it is that of
//      the turn all the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/chat_template_files.h"
#include "data/conversation.h"
#include "data/tokenizer.h"

namespace orthant {

enum class LossOn { kAssistant, kLastTurn, kAll };
const EnumNames<LossOn>& loss_on_names();  // assistant, last_turn, all

struct TextSpan {
  size_t begin = 0, end = 0;  // bytes
};

struct TrainedText {
  std::string text;
  std::vector<TextSpan> spans;  // that are trained, in order
  bool is_plain = false;        // no special tokens are spelled in it, and a document's end follows
  bool lacks_end = false;       // a turn of it has no token that ends it
};

// Immutable; several threads may ask at once.
class ConversationTexts {
 public:
  // end_ids: tokens that end what the model writes, beside the tokenizer's end of a document.
  // templates: null where no row needs one.  Both must outlive it.  Error(kConfig): the template
  // writes nothing of an assistant's text.
  ConversationTexts(const ChatTemplates* templates, const Tokenizer& tokenizer,
                    std::vector<int32_t> end_ids, LossOn loss_on);

  // In the order of their last turns.  Throws RowFault: the template refuses the conversation, or
  // does not render a turn behind its own generation prompt.
  std::vector<TrainedText> texts(const Conversation& conversation) const;

 private:
  struct Turn;
  enum class Asks { kNo, kYes, kForNoThoughts };  // the generation prompt
  std::string render(const nlohmann::ordered_json& messages, const nlohmann::ordered_json& tools,
                     Asks asks) const;
  void check_template() const;
  Turn own_turn(const Conversation& conversation, size_t message) const;
  void end_turn(const Conversation& conversation, Turn& turn) const;
  std::string following(const Conversation& conversation, const Turn& turn) const;
  bool is_end(int32_t id) const;

  const ChatTemplates* templates_;
  const Tokenizer& tokenizer_;
  std::vector<int32_t> end_ids_;
  LossOn loss_on_;
};

}  // namespace orthant
