// SPDX-License-Identifier: Apache-2.0
#include "data/corpus_writer.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/durable_file.h"
#include "data/corpus_file.h"
#include "data/hdf5_thread.h"

namespace orthant {
namespace {

void add(SplitInfo& sum, const SplitInfo& more) {
  sum.num_tokens += more.num_tokens;
  sum.num_bytes += more.num_bytes;
  sum.num_documents += more.num_documents;
}

constexpr size_t index(Split split) { return static_cast<size_t>(split); }

}  // namespace

CorpusWriter::CorpusWriter(std::string output, const Tokenizer& tokenizer, const CorpusParts& parts)
    : output_(std::move(output)), parts_(parts.parts) {
  info_.format_version = kCorpusFormatVersion;
  info_.created_by = kCreatedBy;
  info_.tokenizer = tokenizer.name();
  info_.vocab_size = tokenizer.vocab_size();
  info_.end_of_document = tokenizer.end_of_document();
  make_folders(folder_of(output_), output_);
  ORTHANT_CHECK(!std::filesystem::is_directory(output_), kCannotWrite, output_, ": is a folder");
  const int64_t width = token_bytes(info_.vocab_size);
  for (size_t lane = 0; lane < parts.lanes; ++lane)
    lanes_.push_back({.spools = {TokenSpool(output_, width), TokenSpool(output_, width)}});
}

void CorpusWriter::begin_part(size_t part, size_t lane) {
  Lane& into = lanes_[lane];
  into.part = part;
  parts_[part].lane = lane;
  for (size_t split = 0; split < 2; ++split)
    parts_[part].begin[split] = into.spools[split].num_tokens();
}

void CorpusWriter::append(size_t lane, Split split, std::span<const int32_t> tokens,
                          int64_t text_bytes) {
  Lane& into = lanes_[lane];
  into.spools[index(split)].append(tokens);
  add(parts_[into.part].size[index(split)],
      {.num_tokens = static_cast<int64_t>(tokens.size()), .num_bytes = text_bytes});
}

void CorpusWriter::end_document(size_t lane, Split split) {
  append(lane, split, std::span(&info_.end_of_document, 1), 0);
  ++parts_[lanes_[lane].part].size[index(split)].num_documents;
}

SplitInfo CorpusWriter::total(Split split) const {
  SplitInfo sum;
  for (const Part& part : parts_) add(sum, part.size[index(split)]);
  return sum;
}

// Copies one split, part by part, from the spools into the file and returns the checksums of its
// blocks.
std::vector<uint64_t> CorpusWriter::write_split(int64_t group, Split split,
                                                const std::string& path) {
  const std::string label = dataset_label(path, split, "tokens");
  const int64_t size = split_info(info_, split).num_tokens, width = token_bytes(info_.vocab_size);
  const Hdf5Id tokens =
      hdf5_create_array(group, "tokens", token_file_type(info_.vocab_size), size, label);
  std::vector<uint64_t> checksums;
  std::vector<unsigned char> raw;
  auto part = parts_.begin();
  int64_t taken = 0;  // of the part
  for (int64_t begin = 0; begin < size; begin += kBlockTokens) {
    const int64_t count = std::min(kBlockTokens, size - begin);
    raw.resize(static_cast<size_t>(count * width));
    for (int64_t done = 0; done < count;) {
      const int64_t n = std::min(count - done, part->size[index(split)].num_tokens - taken);
      lanes_[part->lane].spools[index(split)].read(part->begin[index(split)] + taken, n,
                                                   raw.data() + done * width);
      done += n;
      taken += n;
      if (taken < part->size[index(split)].num_tokens) continue;
      ++part;
      taken = 0;
    }
    checksums.push_back(xxh3_64(raw.data(), raw.size()));
    hdf5_write(tokens, token_memory_type(info_.vocab_size), begin, count, raw.data(), label);
  }
  const std::string sums_label = dataset_label(path, split, "block_checksums");
  const int64_t blocks = static_cast<int64_t>(checksums.size());
  const Hdf5Id sums =
      hdf5_create_array(group, "block_checksums", H5T_STD_U64LE, blocks, sums_label);
  hdf5_write(sums, H5T_NATIVE_UINT64, 0, blocks, checksums.data(), sums_label);
  return checksums;
}

void CorpusWriter::write_file(const std::string& path) {
  Hdf5Id file = hdf5_create(path);
  BlockChecksums checksums;
  for (const Split split : {Split::kTrain, Split::kValidation}) {
    const SplitInfo& info = split_info(info_, split);
    if (info.num_tokens == 0) continue;
    const Hdf5Id group = hdf5_create_group(file, split_name(split), path);
    checksums[static_cast<size_t>(split)] = write_split(group, split, path);
    hdf5_set_attribute(group, "num_tokens", info.num_tokens, path);
    hdf5_set_attribute(group, "num_bytes", info.num_bytes, path);
    hdf5_set_attribute(group, "num_documents", info.num_documents, path);
  }
  nlohmann::ordered_json sources = nlohmann::ordered_json::array();
  for (const CorpusSource& source : info_.sources) {
    sources.push_back(
        {{"path", source.path}, {"bytes", source.bytes}, {"xxh3_128", source.xxh3_128}});
    if (source.bad_lines > 0) sources.back()["bad_lines"] = source.bad_lines;
  }
  const std::string text =
      sources.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  const int64_t text_size = static_cast<int64_t>(text.size());
  Hdf5Id array = hdf5_create_array(file, "sources", H5T_STD_U8LE, text_size, path);
  hdf5_write(array, H5T_NATIVE_UINT8, 0, text_size, text.data(), path);
  array.close();

  info_.fingerprint = content_hash(info_, checksums);
  hdf5_set_attribute(file, "format", std::string(kCorpusFormatName), path);
  hdf5_set_attribute(file, "format_version", kCorpusFormatVersion, path);
  hdf5_set_attribute(file, "created_by", info_.created_by, path);
  hdf5_set_attribute(file, "tokenizer", info_.tokenizer, path);
  hdf5_set_attribute(file, "vocab_size", int64_t{info_.vocab_size}, path);
  hdf5_set_attribute(file, "end_of_document", int64_t{info_.end_of_document}, path);
  hdf5_set_attribute(file, "validation_fraction", info_.validation_fraction, path);
  hdf5_set_attribute(file, "block_tokens", kBlockTokens, path);
  hdf5_set_attribute(file, "content_hash", info_.fingerprint, path);
  if (!file.close()) throw_hdf5(ErrorKind::kCannotWrite, path, "cannot be completed");
}

CorpusInfo CorpusWriter::commit(std::vector<CorpusSource> sources, double validation_fraction) {
  info_.sources = std::move(sources);
  info_.validation_fraction = validation_fraction;
  int64_t bytes = 0;
  for (const Split split : {Split::kTrain, Split::kValidation}) {
    split_info(info_, split) = total(split);
    bytes += total(split).num_tokens * token_bytes(info_.vocab_size);
  }
  for (Lane& lane : lanes_)
    for (TokenSpool& spool : lane.spools) spool.flush();
  // HDF5 does not survive a full disk well, so ask before.
  std::error_code code;
  const auto space = std::filesystem::space(folder_of(output_), code);
  ORTHANT_CHECK(code || space.available > static_cast<uintmax_t>(bytes), kCannotWrite, output_,
                ": want ", human_bytes(static_cast<double>(bytes)), " of free disk, there are ",
                human_bytes(static_cast<double>(space.available)));
  FileReplacement file(output_);
  on_hdf5_thread([&] { write_file(file.temporary()); });
  file.commit();
  return info_;
}

}  // namespace orthant
