// SPDX-License-Identifier: Apache-2.0
// The tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json.
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "trainer/hub/gguf_model.h"
#include "trainer/hub/gguf_pieces.h"

namespace orthant {
namespace {

using Json = nlohmann::json;
using Texts = std::vector<std::string>;

constexpr const char* kSpace = "\xE2\x96\x81";  // U+2581
constexpr size_t kMaxTokens = 1 << 22;
constexpr size_t kMaxPieceBytes = 1024;

// tokenizer.ggml.token_type.
enum TokenType { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// How words are split, by tokenizer.ggml.pre: as the tokenizer.json of the models does it that the
// name stands for.
struct Split {
  const char* name;
  const char* pattern;  // Isolated; null: none
  bool splits_digits = false, is_gpt2 = false;
  bool ignores_merges = false, normalizes = false, begins = false;
};
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr Split kSplits[] = {
    {.name = "gpt-2", .pattern = nullptr, .is_gpt2 = true},
    {.name = "smollm", .pattern = nullptr, .splits_digits = true, .is_gpt2 = true},
    {.name = "llama-bpe", .pattern = kLlama3, .ignores_merges = true, .begins = true},
    {.name = "llama3", .pattern = kLlama3, .ignores_merges = true, .begins = true},
    {.name = "llama-v3", .pattern = kLlama3, .ignores_merges = true, .begins = true},
    {.name = "qwen2", .pattern = kQwen2, .normalizes = true},
};

class TokenizerOf {
 public:
  explicit TokenizerOf(const GgufReader& file) : file_(file) {
    const auto* model = file.value<std::string>(key("model"));
    ORTHANT_CHECK(model, kData, what("model"), ": is missing; a file without a tokenizer is not ",
                  "read");
    is_pieces_ = *model == "llama";
    ORTHANT_CHECK(is_pieces_ || *model == "gpt2", kConfig, what("model"),
                  ": want gpt2 or llama, got '", *model, "', which is not read");
    if (!is_pieces_) split_ = &find_split();
    read_tokens();
    check_normalization();
  }

  std::string tokenizer() const {
    Json root = {{"version", "1.0"},
                 {"added_tokens", added_tokens()},
                 {"normalizer", normalizer()},
                 {"pre_tokenizer", pre_tokenizer()},
                 {"post_processor", post_processor()},
                 {"decoder", decoder()}};
    Json vocab = Json::object();
    for (size_t id = 0; id < tokens_->size(); ++id)
      if (type_of(id) != kUnused) vocab[(*tokens_)[id]] = id;
    root["model"] = {{"type", "BPE"},
                     {"vocab", std::move(vocab)},
                     {"merges", merges()},
                     {"unk_token", unknown()},
                     {"fuse_unk", is_pieces_},
                     {"byte_fallback", is_pieces_},
                     {"ignore_merges", split_ && split_->ignores_merges}};
    return root.dump();
  }

  std::string config() const {
    Json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"add_bos_token", adds_bos()}};
    for (const auto& [theirs, ours] : {std::pair{"bos", "bos_token"},
                                       {"eos", "eos_token"},
                                       {"unknown", "unk_token"},
                                       {"padding", "pad_token"}})
      if (const auto id = special(theirs)) json[ours] = (*tokens_)[*id];
    add_templates(json);
    return json.dump(2) + "\n";
  }

 private:
  static std::string key(const std::string& name) { return "tokenizer.ggml." + name; }
  std::string what(const std::string& name) const {
    return concat(file_.path(), ": metadata ", key(name));
  }

  const Split& find_split() const {
    const auto* pre = file_.value<std::string>(key("pre"));
    ORTHANT_CHECK(pre, kConfig, what("pre"), ": is missing, so nothing says how words are split");
    std::string known;
    for (const Split& split : kSplits) {
      if (*pre == split.name) return split;
      known += concat(known.empty() ? "" : ", ", split.name);
    }
    throw_error(ErrorKind::kConfig, concat(what("pre"), ": want one of ", known, ", got '", *pre,
                                           "', whose words are not split here"));
  }

  void read_tokens() {
    tokens_ = file_.value<Texts>(key("tokens"));
    ORTHANT_CHECK(tokens_ && !tokens_->empty() && tokens_->size() <= kMaxTokens, kData,
                  what("tokens"), ": want 1 to ", kMaxTokens, " texts, got ",
                  tokens_ ? tokens_->size() : 0);
    types_ = file_.value<std::vector<int64_t>>(key("token_type"));
    ORTHANT_CHECK(types_ && types_->size() == tokens_->size(), kData, what("token_type"),
                  ": want one for each of ", tokens_->size(), " tokens, got ",
                  types_ ? types_->size() : 0);
    std::unordered_map<std::string_view, size_t> seen;
    for (size_t id = 0; id < tokens_->size(); ++id) {
      const std::string& token = (*tokens_)[id];
      const int64_t type = type_of(id), last = is_pieces_ ? kByte : kUnused;
      ORTHANT_CHECK(kNormal <= type && type <= last, kData, what("token_type"), ": of token ", id,
                    ": want 1 to ", last, ", got ", type);
      if (type == kUnused) continue;
      ORTHANT_CHECK(!token.empty(), kData, what("tokens"), ": token ", id, " is empty");
      const auto [at, is_new] = seen.emplace(token, id);
      ORTHANT_CHECK(is_new, kData, what("tokens"), ": '", token, "' is there twice, as ",
                    at->second, " and ", id);
    }
  }
  int64_t type_of(size_t id) const { return (*types_)[id]; }

  // Text is taken as it is, but for the space before it.
  void check_normalization() const {
    for (const char* name : {"remove_extra_whitespaces", "precompiled_charsmap"}) {
      const auto found = file_.metadata().find(key(name));
      if (found == file_.metadata().end()) continue;
      const bool* flag = std::get_if<bool>(&found->second);
      const auto* map = std::get_if<std::vector<int64_t>>(&found->second);
      ORTHANT_CHECK((flag && !*flag) || (map && map->empty()), kConfig, what(name),
                    ": a text that is changed before it is encoded is not built");
    }
    ORTHANT_CHECK(is_pieces_ || !flag("add_space_prefix", false), kConfig, what("add_space_prefix"),
                  ": is not built for byte-level tokens");
  }

  bool flag(const char* name, bool otherwise) const {
    const bool* given = file_.value<bool>(key(name));
    return given ? *given : otherwise;
  }
  bool adds_bos() const {
    return special("bos") && flag("add_bos_token", is_pieces_ || split_->begins);
  }

  // SentencePiece files that do not say it mean 1 and 2.
  std::optional<size_t> special(const std::string& name) const {
    const std::optional<int64_t> id = gguf_token_id(file_, name);
    if (!id && is_pieces_ && tokens_->size() > 2 && (name == "bos" || name == "eos"))
      return name == "bos" ? 1 : 2;
    if (!id) return std::nullopt;
    ORTHANT_CHECK(*id < std::ssize(*tokens_) && type_of(static_cast<size_t>(*id)) != kUnused, kData,
                  what(name + "_token_id"), ": want the id of one of ", tokens_->size(),
                  " tokens, got ", *id);
    return static_cast<size_t>(*id);
  }

  Json unknown() const {
    if (!is_pieces_) return nullptr;
    for (size_t id = 0; id < tokens_->size(); ++id)
      if (type_of(id) == kUnknown) return (*tokens_)[id];
    return nullptr;
  }

  Json added_tokens() const {
    Json added = Json::array();
    for (size_t id = 0; id < tokens_->size(); ++id) {
      const int64_t type = type_of(id);
      if (type != kControl && type != kUserDefined && type != kUnknown) continue;
      const std::string& content = (*tokens_)[id];
      ORTHANT_CHECK(type != kUserDefined || !is_pieces_ || content.find(kSpace) == content.npos,
                    kConfig, what("tokens"), ": token ", id, ", '", content,
                    "', is user-defined and has a space, which is not built");
      added.push_back({{"id", id},
                       {"content", content},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", type != kUserDefined}});
    }
    return added;
  }

  Json normalizer() const {
    if (!is_pieces_) return split_->normalizes ? Json{{"type", "NFC"}} : Json();
    Json spaces = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}};
    if (!flag("add_space_prefix", true)) return spaces;
    return {{"type", "Sequence"},
            {"normalizers", {{{"type", "Prepend"}, {"prepend", kSpace}}, std::move(spaces)}}};
  }

  Json pre_tokenizer() const {
    if (is_pieces_) return nullptr;
    Json parts = Json::array();
    if (split_->splits_digits) parts.push_back({{"type", "Digits"}, {"individual_digits", true}});
    if (split_->pattern)
      parts.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", split_->pattern}}},
                       {"behavior", "Isolated"},
                       {"invert", false}});
    parts.push_back({{"type", "ByteLevel"},
                     {"add_prefix_space", false},
                     {"trim_offsets", true},
                     {"use_regex", split_->is_gpt2}});
    return {{"type", "Sequence"}, {"pretokenizers", std::move(parts)}};
  }

  Json post_processor() const {
    if (!adds_bos()) return nullptr;
    const size_t id = *special("bos");
    const std::string& bos = (*tokens_)[id];
    const Json first = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
    const auto text = [](const char* which, int type) {
      return Json{{"Sequence", {{"id", which}, {"type_id", type}}}};
    };
    const Json second = {{"SpecialToken", {{"id", bos}, {"type_id", 1}}}};
    return {{"type", "TemplateProcessing"},
            {"single", Json::array({first, text("A", 0)})},
            {"pair", Json::array({first, text("A", 0), second, text("B", 1)})},
            {"special_tokens",
             {{bos, {{"id", bos}, {"ids", Json::array({id})}, {"tokens", Json::array({bos})}}}}}};
  }

  Json decoder() const {
    if (!is_pieces_)
      return {{"type", "ByteLevel"},
              {"add_prefix_space", true},
              {"trim_offsets", true},
              {"use_regex", true}};
    Json parts = {{{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}},
                  {{"type", "ByteFallback"}},
                  {{"type", "Fuse"}}};
    if (flag("add_space_prefix", true))
      parts.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    return {{"type", "Sequence"}, {"decoders", std::move(parts)}};
  }

  Json merges() const { return is_pieces_ ? merges_by_score() : merges_as_given(); }

  Json merges_as_given() const {
    const auto* merges = file_.value<Texts>(key("merges"));
    ORTHANT_CHECK(merges, kData, what("merges"), ": is missing");
    return *merges;
  }

  Json merges_by_score() const {
    const auto* scores = file_.value<std::vector<double>>(key("scores"));
    ORTHANT_CHECK(scores && scores->size() == tokens_->size(), kData, what("scores"),
                  ": want one for each of ", tokens_->size(), " tokens, got ",
                  scores ? scores->size() : 0);
    std::vector<ScoredPiece> pieces;
    for (size_t id = 0; id < tokens_->size(); ++id) {
      if (type_of(id) != kNormal) continue;
      const std::string& text = (*tokens_)[id];
      ORTHANT_CHECK(text.size() <= kMaxPieceBytes && std::isfinite((*scores)[id]), kData,
                    what("tokens"), ": token ", id, ": want at most ", kMaxPieceBytes,
                    " bytes and a finite score, got ", text.size(), " and ", (*scores)[id]);
      pieces.push_back({text, (*scores)[id]});
    }
    Json merges = Json::array();
    for (const auto& [left, right] : merges_of_pieces(pieces, what("scores")))
      merges.push_back(Json::array({left, right}));
    return merges;
  }

  // The model's own, and others by name ("tool_use").
  void add_templates(Json& json) const {
    constexpr const char* kKey = "tokenizer.chat_template";
    Json named = Json::array();
    const auto* plain = file_.value<std::string>(kKey);
    if (plain) named.push_back({{"name", "default"}, {"template", *plain}});
    if (const auto* names = file_.value<Texts>("tokenizer.chat_templates"))
      for (const std::string& name : *names)
        if (const auto* text = file_.value<std::string>(concat(kKey, ".", name)))
          named.push_back({{"name", name}, {"template", *text}});
    if (named.size() == 1 && plain) json["chat_template"] = *plain;
    if (named.size() > 1 || (!named.empty() && !plain)) json["chat_template"] = named;
  }

  const GgufReader& file_;
  bool is_pieces_ = false;         // SentencePiece's, else byte-level
  const Split* split_ = nullptr;   // of byte-level ones
  const Texts* tokens_ = nullptr;  // by id
  const std::vector<int64_t>* types_ = nullptr;
};

}  // namespace

std::string gguf_tokenizer(const GgufReader& file) { return TokenizerOf(file).tokenizer(); }
std::string gguf_tokenizer_config(const GgufReader& file) { return TokenizerOf(file).config(); }

}  // namespace orthant
