// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/post_processor.h"

#include "data/bpe/added_tokens.h"

namespace orthant {
namespace {

void append_ids(const JsonPlace& ids, std::vector<int32_t>& out) {
  for (size_t i = 0; i < ids.size(); ++i)
    out.push_back(static_cast<int32_t>(ids.at(i).number(kMaxTokenId)));
}

SequenceFrame parse_template(const JsonPlace& place) {
  SequenceFrame frame;
  bool is_behind = false;
  const JsonPlace parts = place.at("single");
  for (size_t i = 0; i < parts.size(); ++i) {
    const JsonPlace part = parts.at(i);
    if (part.has("Sequence")) {
      if (is_behind) part.refuse("want one Sequence, got two");
      is_behind = true;
      continue;
    }
    const JsonPlace ids =
        place.at("special_tokens").at(part.at("SpecialToken").text("id")).at("ids");
    append_ids(ids, is_behind ? frame.behind : frame.before);
  }
  if (!is_behind) parts.refuse("want one Sequence, got none");
  return frame;
}

}  // namespace

SequenceFrame parse_post_processor(const JsonPlace& place) {
  if (place.is_null()) return {};
  const std::string& type = place.text("type");
  if (type == "ByteLevel") return {};
  if (type == "TemplateProcessing") return parse_template(place);
  if (type != "Sequence") place.at("type").refuse_name(type);
  SequenceFrame all;
  const JsonPlace parts = place.at("processors");
  for (size_t i = 0; i < parts.size(); ++i) {
    const SequenceFrame frame = parse_post_processor(parts.at(i));
    all.before.insert(all.before.begin(), frame.before.begin(), frame.before.end());
    all.behind.insert(all.behind.end(), frame.behind.begin(), frame.behind.end());
  }
  return all;
}

}  // namespace orthant
