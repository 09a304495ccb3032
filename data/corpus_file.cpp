// SPDX-License-Identifier: Apache-2.0
#include "data/corpus_file.h"

#include <bit>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/checksum.h"

namespace orthant {
namespace {

static_assert(std::endian::native == std::endian::little, "checksums are of little-endian bytes");

constexpr int64_t kMaxSourcesBytes = int64_t{64} << 20;

std::vector<CorpusSource> read_sources(hid_t file, int64_t file_bytes, const std::string& path) {
  const std::string where = concat(path, ": dataset 'sources'");
  const Hdf5Array array = hdf5_open_array(file, "sources", H5T_STD_U8LE, file_bytes, where);
  ORTHANT_CHECK(array.size <= kMaxSourcesBytes, kData, where, ": ", array.size,
                " bytes are too many");
  std::string text(static_cast<size_t>(array.size), '\0');
  hdf5_read(array.id, H5T_NATIVE_UINT8, 0, array.size, text.data(), where);
  std::vector<CorpusSource> sources;
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  ORTHANT_CHECK(json.is_array(), kData, where, ": want a JSON array");
  for (const auto& item : json) {
    const auto has = [&](const char* key, bool number) {
      return item.is_object() && item.contains(key) &&
             (number ? item[key].is_number_integer() : item[key].is_string());
    };
    ORTHANT_CHECK(has("path", false) && has("bytes", true) && has("xxh3_128", false), kData, where,
                  ": want objects with path, bytes and xxh3_128");
    sources.push_back({item["path"].get<std::string>(), item["bytes"].get<int64_t>(),
                       item["xxh3_128"].get<std::string>(),
                       has("bad_lines", true) ? item["bad_lines"].get<int64_t>() : 0});
  }
  return sources;
}

void read_root(hid_t file, CorpusInfo& info, std::string& hash, const std::string& path) {
  const std::string format = hdf5_text_attribute(file, "format", path);
  ORTHANT_CHECK(format == kCorpusFormatName, kData, path, ": attribute 'format': want '",
                kCorpusFormatName, "', got '", format, "'");
  info.format_version = hdf5_int_attribute(file, "format_version", path);
  ORTHANT_CHECK(info.format_version == kCorpusFormatVersion, kData, path, ": format version: want ",
                kCorpusFormatVersion, ", got ", info.format_version,
                "; prepare the corpus again with this version of orthant");
  const int64_t block_tokens = hdf5_int_attribute(file, "block_tokens", path);
  ORTHANT_CHECK(block_tokens == kBlockTokens, kData, path, ": attribute 'block_tokens': want ",
                kBlockTokens, ", got ", block_tokens);
  const int64_t vocab_size = hdf5_int_attribute(file, "vocab_size", path);
  const int64_t end = hdf5_int_attribute(file, "end_of_document", path);
  ORTHANT_CHECK(vocab_size > 0 && vocab_size <= std::numeric_limits<int32_t>::max() && end >= 0 &&
                    end < vocab_size,
                kData, path, ": vocab_size ", vocab_size, " with end_of_document ", end,
                " makes no sense");
  info.vocab_size = static_cast<int32_t>(vocab_size);
  info.end_of_document = static_cast<int32_t>(end);
  info.tokenizer = hdf5_text_attribute(file, "tokenizer", path);
  info.created_by = hdf5_text_attribute(file, "created_by", path);
  info.validation_fraction = hdf5_real_attribute(file, "validation_fraction", path);
  hash = hdf5_text_attribute(file, "content_hash", path);
}

void read_split(OpenCorpus& corpus, Split split, int64_t file_bytes, const std::string& path) {
  const std::string name = split_name(split), where = concat(path, ": group '", name, "'");
  const Hdf5Id group = hdf5_open_group(corpus.file, name, where);
  SplitInfo& info = split_info(corpus.info, split);
  info.num_tokens = hdf5_int_attribute(group, "num_tokens", where);
  info.num_bytes = hdf5_int_attribute(group, "num_bytes", where);
  info.num_documents = hdf5_int_attribute(group, "num_documents", where);
  ORTHANT_CHECK(info.num_bytes >= 0 && info.num_documents >= 0, kData, where, ": negative sizes");

  const std::string tokens_label = dataset_label(path, split, "tokens");
  Hdf5Array tokens = hdf5_open_array(group, "tokens", token_file_type(corpus.info.vocab_size),
                                     file_bytes, tokens_label);
  ORTHANT_CHECK(tokens.size == info.num_tokens, kData, tokens_label, ": want ", info.num_tokens,
                " tokens, got ", tokens.size);
  const std::string sums_label = dataset_label(path, split, "block_checksums");
  const Hdf5Array sums =
      hdf5_open_array(group, "block_checksums", H5T_STD_U64LE, file_bytes, sums_label);
  ORTHANT_CHECK(sums.size == num_blocks(info.num_tokens), kData, sums_label, ": want ",
                num_blocks(info.num_tokens), " checksums, got ", sums.size);
  const size_t index = static_cast<size_t>(split);
  corpus.checksums[index].resize(static_cast<size_t>(sums.size));
  hdf5_read(sums.id, H5T_NATIVE_UINT64, 0, sums.size, corpus.checksums[index].data(), sums_label);
  corpus.tokens[index] = std::move(tokens.id);
}

}  // namespace

std::string dataset_label(const std::string& path, Split split, const char* name) {
  return concat(path, ": dataset '", split_name(split), "/", name, "'");
}

std::string content_hash(const CorpusInfo& info, const BlockChecksums& checksums) {
  Checksum sum;
  const std::string head = concat(kCorpusFormatName, "\n", info.tokenizer, "\n", info.vocab_size,
                                  "\n", info.end_of_document, "\n");
  sum.update(head.data(), head.size());
  for (const Split split : {Split::kTrain, Split::kValidation}) {
    const SplitInfo& s = split_info(info, split);
    const std::string sizes =
        concat(split_name(split), " ", s.num_tokens, " ", s.num_bytes, " ", s.num_documents, "\n");
    sum.update(sizes.data(), sizes.size());
    const std::vector<uint64_t>& blocks = checksums[static_cast<size_t>(split)];
    sum.update(blocks.data(), blocks.size() * sizeof(uint64_t));
  }
  return sum.hex();
}

OpenCorpus open_corpus(const std::string& path) {
  OpenCorpus corpus;
  corpus.file = hdf5_open(path);
  std::error_code code;
  const int64_t file_bytes = static_cast<int64_t>(std::filesystem::file_size(path, code));
  ORTHANT_CHECK(!code, kData, path, ": cannot get its size: ", code.message());
  std::string hash;
  read_root(corpus.file, corpus.info, hash, path);
  for (const Split split : {Split::kTrain, Split::kValidation})
    if (hdf5_has(corpus.file, split_name(split))) read_split(corpus, split, file_bytes, path);
  ORTHANT_CHECK(corpus.info.train.num_tokens + corpus.info.validation.num_tokens > 0, kData, path,
                ": holds neither a train nor a validation split");
  corpus.info.sources = read_sources(corpus.file, file_bytes, path);
  corpus.info.fingerprint = content_hash(corpus.info, corpus.checksums);
  ORTHANT_CHECK(corpus.info.fingerprint == hash, kData, path,
                ": attribute 'content_hash': the header says ", hash, ", sizes and checksums give ",
                corpus.info.fingerprint, ": the file is damaged; remove it and prepare it again");
  return corpus;
}

}  // namespace orthant
