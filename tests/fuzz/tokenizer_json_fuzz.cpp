// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a tokenizer.json make a tokenizer or Error(kData), and what is
// made encodes any text, in one piece as in two (README.md says how to run it).
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "data/tokenizer_json.h"

namespace orthant {
namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// The file, and behind its last line the text.
void run(const std::string& file, const std::string& text) {
  const auto tokenizer = parse_tokenizer_json({.tokenizer = file, .config = "", .label = "f.json"});
  std::vector<int32_t> ids = tokenizer->encode(text);
  tokenizer->decode(tokenizer->encode_with_added(text));
  const EncodedPart part = tokenizer->encode_part({.text = text, .want_bytes = text.size() / 2});
  check(part.bytes <= text.size(), "a part is longer than its text");
  if (part.bytes == 0) return;
  std::vector<int32_t> joined = part.ids;
  const std::vector<int32_t> rest = tokenizer->encode(text.substr(part.bytes), true);
  joined.insert(joined.end(), rest.begin(), rest.end());
  check(joined == ids, "the parts do not join to the whole");
}

}  // namespace
}  // namespace orthant

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string all(reinterpret_cast<const char*>(data), size);
  const size_t newline = std::min(all.rfind('\n'), size);
  try {
    orthant::run(all.substr(0, newline), all.substr(std::min(newline + 1, size)));
  } catch (const orthant::Error& error) {
    orthant::check(error.kind() == orthant::ErrorKind::kData, error.what());
  }
  return 0;
}
