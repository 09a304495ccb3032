// SPDX-License-Identifier: Apache-2.0
// Where the files of a tokenizer are.
#include "data/tokenizer_files.h"

#include <filesystem>

#include "base/durable_file.h"
#include "base/error.h"
#include "data/bpe/json_place.h"
#include "data/byte_reader.h"
#include "data/sentencepiece.h"
#include "data/tokenizer_json.h"

namespace orthant {
namespace {

constexpr const char* kEndOfText = "<|endoftext|>";

bool is_file(const std::string& path) { return std::filesystem::is_regular_file(path); }

// What stands beside a tokenizer's file, or nothing.
std::string config_beside(const std::string& path) {
  const std::string config = folder_of(path) + "/tokenizer_config.json";
  return is_file(config) ? read_whole_file(config) : "";
}

// The lines of merges.txt behind its version.
Json merges_of(const std::string& path) {
  Json merges = Json::array();
  const std::string content = read_whole_file(path);
  ORTHANT_CHECK(valid_utf8(content) == content, kData, path, ": is not UTF-8");
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    std::string line = content.substr(at, end - at);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && !(at == 0 && line.starts_with("#version"))) merges.push_back(line);
    at = end + 1;
  }
  return merges;
}

}  // namespace

std::unique_ptr<SequenceTokenizer> load_tokenizer_json(const std::string& path) {
  return parse_tokenizer_json(
      {.tokenizer = read_whole_file(path), .config = config_beside(path), .label = path});
}

std::unique_ptr<SequenceTokenizer> load_gpt2_tokenizer(const std::string& vocab_path,
                                                       const std::string& merges_path) {
  const Json vocab = parse_json(read_whole_file(vocab_path), vocab_path);
  Json root = {{"added_tokens", Json::array()},
               {"normalizer", nullptr},
               {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
               {"post_processor", nullptr},
               {"decoder", {{"type", "ByteLevel"}}},
               {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges_of(merges_path)}}}};
  const JsonPlace place(vocab, vocab_path);
  if (place.has(kEndOfText))
    root["added_tokens"].push_back(
        {{"id", vocab[kEndOfText]}, {"content", kEndOfText}, {"special", true}});
  return parse_tokenizer_json({.tokenizer = root.dump(),
                               .config = config_beside(vocab_path),
                               .label = concat(vocab_path, " with merges.txt")});
}

std::unique_ptr<Tokenizer> load_tokenizer_folder(const std::string& folder) {
  const auto in_folder = [&](const char* name) { return concat(folder, "/", name); };
  if (is_file(in_folder("tokenizer.json"))) return load_tokenizer_json(in_folder("tokenizer.json"));
  if (is_file(in_folder("tokenizer.model")))
    return load_sentencepiece(in_folder("tokenizer.model"));
  const std::string vocab = in_folder("vocab.json"), merges = in_folder("merges.txt");
  ORTHANT_CHECK(is_file(vocab) && is_file(merges), kMissingInput, folder,
                ": holds no tokenizer; want tokenizer.json, tokenizer.model, or vocab.json and "
                "merges.txt");
  return load_gpt2_tokenizer(vocab, merges);
}

}  // namespace orthant
