# SPDX-License-Identifier: Apache-2.0
"""Planted bugs: conversations on their way to labels."""
from mutant import Mutant

TEXTS = {"target": "test_data", "filter": "ConversationTexts*"}
ROWS = {"target": "test_data", "filter": "Supervised*:Packing*"}
READER = {"target": "test_data", "filter": "ExampleReader*:Conversation.*"}
PLACES = {"target": "test_data", "filter": "PlacedIds*"}
DATA = {"target": "test_trainer", "filter": "SupervisedData*:FinetuneConfig*"}

MUTANTS = [
    # Spans.
    Mutant("the token that ends a turn is not trained", "ConversationTexts::end_turn", "end = next;\n      turn.has_end = true;", "end = placed.places[t];\n      turn.has_end = true;", **TEXTS),
    Mutant("the line feed behind a turn's end is trained", "ConversationTexts::end_turn", "turn.text.resize(turn.span.end);",
           "turn.span.end += turn.text.size() > turn.span.end;\n  turn.text.resize(turn.span.end);", **TEXTS),
    Mutant("an end that the next turn writes is not trained", "ConversationTexts::end_turn", "if (is_end(tail.ids[t])) {", "if (is_end(tail.ids[t]) && turn.text.empty()) {", **TEXTS),
    Mutant("the generation prompt is trained", "ConversationTexts::own_turn", "turn.span = {behind_empty_thought(turn.text, prompt.size()), turn.text.size()};",
           "turn.span = {behind_empty_thought(turn.text, prompt.size()) - 1, turn.text.size()};", **TEXTS),
    Mutant("an empty thought is trained", "behind_empty_thought", "return std::max(begin, at);", "return begin;", **TEXTS),
    Mutant("an earlier turn is trained as later ones leave it", "ConversationTexts::texts", "if (is_done[t] || !text.text.starts_with(turns[t].text)) continue;",
           "if (is_done[t]) continue;", **TEXTS),
    Mutant("a turn is trained in two texts", "ConversationTexts::texts", "if (is_done[last]) continue;", "is_done[last] = false;", **TEXTS),
    Mutant("a turn that is not to be trained is", "ConversationTexts::texts", "if (c.trains[i] || loss_on_ == LossOn::kAll)", "if (c.trains[i] || loss_on_ != LossOn::kLastTurn)", **TEXTS),
    Mutant("a token that ends in a span is trained", "encode_example", "span != text.spans.end() && place >= span->begin",
           "span != text.spans.end() && (t + 1 < placed.ids.size() ? placed.places[t + 1] : text.text.size()) > span->begin", **TEXTS),
    Mutant("the end of a plain document is not trained", "encode_example", "example.trained.push_back(1);", "example.trained.push_back(0);", **TEXTS),
    # Places of tokens.
    Mutant("merged tokens begin where their second half does", "merge_short", "if (has_begins) begins.erase(begins.begin() + static_cast<std::ptrdiff_t>(best) + 1);",
           "if (has_begins) begins.erase(begins.begin() + static_cast<std::ptrdiff_t>(best));", **PLACES),
    Mutant("places are those of the rewritten text", "PipelineRun::origin_of", "place = step->origin(place);", "step->origin(place);", **PLACES),
    # Rows.
    Mutant("a row predicts the next example", "place_example", "batch.doc_start[base + i] = static_cast<int32_t>(at);", "batch.doc_start[base + i] = 0;", **ROWS),
    Mutant("labels are those of the token itself", "place_example", "trained[i + 1] ? ids[i + 1]", "trained[i] ? ids[i + 1]", **ROWS),
    Mutant("an item waits for ever behind others", "pack_rows", "within.find({lengths[static_cast<size_t>(first)], -first})", "std::prev(within.end())", **ROWS),
    Mutant("every epoch has the first one's order", "SupervisedRows::draw", "permute(mixture_key_, static_cast<uint64_t>(epoch), place", "permute(mixture_key_, static_cast<uint64_t>(epoch * 0), place", **ROWS),
    Mutant("a part of a source is the same part each epoch", "SupervisedRows::draw", "const int64_t nth = epoch * count + drawn - first_[s];", "const int64_t nth = drawn - first_[s] + 0 * epoch * count;", **ROWS),
    Mutant("ranks take turns at the rows", "SupervisedBatches::step_share", "micro_batch(first + rank * share + at)", "micro_batch(first + at * num_ranks + rank * options_.micro_batch_size)", **ROWS),
    Mutant("held-out rows behind the last are there again", "SupervisedEvaluation::batch", "if (row >= num_rows_) break;", "if (row >= num_rows_ && row > 1000) break;", **ROWS),
    # Reading.
    Mutant("rows that are refused are left out unasked", "ExampleReader::take", "!is_bad_line(note.reason)", "is_left_out(note.reason)", **READER),
    Mutant("an example of one token too many is taken", "ExampleReader::add_example", "static_cast<size_t>(options_.sequence_length) + 1;", "static_cast<size_t>(options_.sequence_length) + 2;", **READER),
    Mutant("what is held out depends on the line", "ExampleReader::make_examples", "place_of(conversation) < fraction", "place_of(conversation) * 0 + static_cast<double>(line.number % 100) / 100 < fraction", **READER),
    Mutant("a prompt's answers are trained", "conversation_of_prompt", "c.trains.assign(prompt.size(), false);", "c.trains.assign(prompt.size(), true);", **READER),
    Mutant("a source's weight is not part of the data", "read_all", 'concat(examples->fingerprint(), " ", source.weight, "\\n")', 'concat(examples->fingerprint(), "\\n")', **DATA),
]
