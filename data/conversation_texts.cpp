// SPDX-License-Identifier: Apache-2.0
#include "data/conversation_texts.h"

#include <algorithm>
#include <ctime>

#include "base/error.h"

namespace orthant {

using nlohmann::ordered_json;

// An assistant turn at the end of its own text.
struct ConversationTexts::Turn {
  size_t message = 0;
  std::string text;  // up to the turn's end
  TextSpan span;     // of it, what is trained
  bool trains = true, has_end = false;
};

namespace {

// Dates that templates ask for (strftime_now) are this one, which Llama's have as their default:
// today's would give other data at a resume.
std::string fixed_date(const std::string& format) {
  std::tm day = {};
  day.tm_year = 124, day.tm_mon = 6, day.tm_mday = 26, day.tm_wday = 5, day.tm_yday = 207;
  std::string text(format.size() + 256, '\0');
  text.resize(std::strftime(text.data(), text.size(), format.c_str(), &day));
  return text;
}

size_t common_prefix(const std::string& a, const std::string& b) {
  const size_t size = std::min(a.size(), b.size());
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(size), b.begin()).first -
      a.begin());
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// Behind an empty <think></think> that the generation prompt has begun or the turn begins with.
size_t behind_empty_thought(const std::string& text, size_t begin) {
  constexpr std::string_view kOpen = "<think>", kClose = "</think>";
  size_t at = text.rfind(kOpen, text.find_first_not_of(" \t\r\n", begin));
  if (at == std::string::npos) return begin;
  at = text.find_first_not_of(" \t\r\n", at + kOpen.size());
  if (at == std::string::npos || text.compare(at, kClose.size(), kClose) != 0) return begin;
  at = std::min(text.find_first_not_of('\n', at + kClose.size()), text.size());
  return std::max(begin, at);
}

ordered_json first(const Conversation& c, size_t count) {
  const auto begin = c.messages.begin();
  return ordered_json::array_t(begin, begin + static_cast<std::ptrdiff_t>(count));
}

std::string tail_of(const std::string& text) {
  constexpr size_t kMost = 60;
  size_t at = text.size() - std::min(text.size(), kMost);
  while (at < text.size() && utf8_size(std::string_view(text).substr(at)) == 0) ++at;
  return excerpt_of(text.substr(at));
}

// The spans with those of `left_out` taken out of them; both in order.
std::vector<TextSpan> without(TextSpan whole, const std::vector<TextSpan>& left_out) {
  std::vector<TextSpan> kept;
  for (const TextSpan& out : left_out) {
    if (out.begin > whole.begin) kept.push_back({whole.begin, std::min(out.begin, whole.end)});
    whole.begin = std::max(whole.begin, out.end);
  }
  if (whole.begin < whole.end) kept.push_back(whole);
  return kept;
}

}  // namespace

const EnumNames<LossOn>& loss_on_names() {
  static const EnumNames<LossOn> names = {
      {LossOn::kAssistant, "assistant"}, {LossOn::kLastTurn, "last_turn"}, {LossOn::kAll, "all"}};
  return names;
}

ConversationTexts::ConversationTexts(const ChatTemplates* templates, const Tokenizer& tokenizer,
                                     std::vector<int32_t> end_ids, LossOn loss_on)
    : templates_(templates),
      tokenizer_(tokenizer),
      end_ids_(std::move(end_ids)),
      loss_on_(loss_on) {
  end_ids_.push_back(tokenizer.end_of_document());
  if (templates_) check_template();
}

// Templates for images go over lists of parts; of a text they write nothing, and raise nothing.
void ConversationTexts::check_template() const {
  constexpr const char* kText = "an answer";
  const ordered_json messages = {{{"role", "user"}, {"content", "a question"}},
                                 {{"role", "assistant"}, {"content", kText}}};
  std::string text;
  try {
    text = render(messages, {}, Asks::kNo);
  } catch (const RowFault&) {
    return;  // rows will say
  }
  ORTHANT_CHECK(
      text.find(kText) != std::string::npos, kConfig,
      "finetune.chat_template: want a template that writes the text of a message, got one "
      "that leaves it out (it may want lists of parts)");
}

bool ConversationTexts::is_end(int32_t id) const {
  return std::find(end_ids_.begin(), end_ids_.end(), id) != end_ids_.end();
}

std::string ConversationTexts::render(const ordered_json& messages, const ordered_json& tools,
                                      Asks asks) const {
  ordered_json variables = templates_->special_tokens();
  if (asks == Asks::kForNoThoughts) variables["enable_thinking"] = false;
  try {
    return templates_->choose(!tools.is_null())
        .render(messages, {.add_generation_prompt = asks != Asks::kNo,
                           .tools = tools,
                           .variables = variables,
                           .strftime_now = fixed_date});
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kData) throw;
    throw RowFault{RowReason::kTemplate, error.what()};
  }
}

ConversationTexts::Turn ConversationTexts::own_turn(const Conversation& c, size_t message) const {
  std::string prompt = render(first(c, message), c.tools, Asks::kYes);
  Turn turn{.message = message, .trains = c.trains[message]};
  turn.text = render(first(c, message + 1), c.tools, Asks::kNo);
  const std::string thinks = prompt;
  if (!turn.text.starts_with(prompt))
    prompt = render(first(c, message), c.tools, Asks::kForNoThoughts);
  if (!turn.text.starts_with(prompt)) {
    prompt = thinks;
    const size_t common = common_prefix(prompt, turn.text);
    throw RowFault{RowReason::kNotContinued,
                   concat("messages[", message, "]: the template's generation prompt ends in ",
                          tail_of(prompt), ", but renders the turn as ",
                          excerpt_of(valid_utf8(
                              turn.text.substr(whole_characters(turn.text.substr(0, common)), 60))),
                          " from there on; want a template that goes on from its prompt "
                          "(finetune.chat_template)")};
  }
  turn.span = {behind_empty_thought(turn.text, prompt.size()), turn.text.size()};
  end_turn(c, turn);
  return turn;
}

// What the template writes behind the turn when another message follows; empty where it cannot be
// told.
std::string ConversationTexts::following(const Conversation& c, const Turn& turn) const {
  ordered_json messages = first(c, turn.message + 1);
  const bool calls = messages.back().contains("tool_calls");
  messages.push_back(turn.message + 1 < c.messages.size()
                         ? c.messages[turn.message + 1]
                         : ordered_json{{"role", calls ? "tool" : "user"}, {"content", "x"}});
  try {
    const std::string text = render(messages, c.tools, Asks::kNo);
    return text.starts_with(turn.text) ? text.substr(turn.text.size()) : "";
  } catch (const RowFault&) {
    return "";
  }
}

// Cuts the text behind the token that ends the turn, or adds it.
void ConversationTexts::end_turn(const Conversation& c, Turn& turn) const {
  const size_t begin = turn.span.begin;
  const std::string_view written = std::string_view(turn.text).substr(begin);
  const PlacedIds placed = tokenizer_.encode_placed(written, /*with_added=*/true);
  size_t next = written.size(), end = next;
  // The last token that ends it: content may spell one, and some templates write the next prompt
  // behind it.  Of several with nothing but white space between, the first: the model stops there.
  for (size_t t = placed.ids.size(); t-- > 0; next = placed.places[t]) {
    if (is_end(placed.ids[t])) {
      end = next;
      turn.has_end = true;
    } else if (turn.has_end &&
               !is_blank(written.substr(placed.places[t], next - placed.places[t]))) {
      break;
    }
  }
  if (!turn.has_end) {
    const std::string more = following(c, turn);
    const PlacedIds tail = tokenizer_.encode_placed(more, /*with_added=*/true);
    for (size_t t = 0; t < tail.ids.size(); ++t) {
      const size_t behind = t + 1 < tail.ids.size() ? tail.places[t + 1] : more.size();
      if (is_end(tail.ids[t])) {
        turn.text += more.substr(0, behind);
        end += behind;
        turn.has_end = true;
      }
      if (turn.has_end || !is_blank(std::string_view(more).substr(0, behind))) break;
    }
  }
  turn.span.end = begin + end;
  turn.text.resize(turn.span.end);
}

std::vector<TrainedText> ConversationTexts::texts(const Conversation& c) const {
  if (c.is_plain) {
    const std::string text = c.prompt + c.completion;
    const size_t begin = loss_on_ == LossOn::kAll ? 0 : c.prompt.size();
    return {{.text = text, .spans = {{begin, text.size()}}, .is_plain = true}};
  }
  ORTHANT_CHECK(templates_ != nullptr, kMissingInput,
                "fine-tuning: the model came without a chat template, which rows of messages need; "
                "give one as finetune.chat_template");
  std::vector<Turn> turns;
  for (size_t i = c.messages.size(); i-- > 0;) {  // the last one first
    if (c.messages[i]["role"] != "assistant") continue;
    if (c.trains[i] || loss_on_ == LossOn::kAll) turns.push_back(own_turn(c, i));
    if (loss_on_ == LossOn::kLastTurn) break;
  }
  std::vector<TrainedText> texts;
  std::vector<bool> is_done(turns.size());
  for (size_t last = 0; last < turns.size(); ++last) {
    if (is_done[last]) continue;
    TrainedText text{.text = turns[last].text};
    std::vector<TextSpan> untrained;
    for (size_t t = turns.size(); t-- > last;) {  // in the order of the text
      if (is_done[t] || !text.text.starts_with(turns[t].text)) continue;
      is_done[t] = true;
      (turns[t].trains ? text.spans : untrained).push_back(turns[t].span);
      text.lacks_end = text.lacks_end || !turns[t].has_end;
    }
    if (loss_on_ == LossOn::kAll) {  // what another text has trained in the same context is done
      size_t begin = 0;
      for (const TrainedText& other : texts)
        begin = std::max(begin, common_prefix(other.text, text.text));
      text.spans = without({begin, text.text.size()}, untrained);
    }
    texts.push_back(std::move(text));
  }
  std::reverse(texts.begin(), texts.end());
  return texts;
}

}  // namespace orthant
