// SPDX-License-Identifier: Apache-2.0
#include "data/corpus.h"

#include <algorithm>

#include "base/checksum.h"
#include "data/corpus_file.h"
#include "data/hdf5_thread.h"

namespace orthant {

const char* split_name(Split split) { return split == Split::kTrain ? "train" : "validation"; }

CorpusInfo inspect_corpus(const std::string& path) {
  CorpusInfo info;
  on_hdf5_thread([&] { info = open_corpus(path).info; });
  return info;
}

// `info`, `path` and `split` never change after opening and may be read anywhere; the rest belongs
// to the HDF5 thread.
struct Corpus::Impl {
  std::string path, label;
  Split split = Split::kTrain;
  CorpusInfo info;
  Hdf5Id file, tokens;
  std::vector<uint64_t> checksums;
  std::vector<bool> verified;  // by block
  std::vector<unsigned char> raw;

  int64_t size() const { return split_info(info, split).num_tokens; }
  void read_raw(int64_t offset, int64_t count);
  void verify_block(int64_t block);
  template <class Stored>
  void check_ids(int64_t block, int64_t count) const;
};

// Fills `raw` with the stored bytes of `count` tokens.
void Corpus::Impl::read_raw(int64_t offset, int64_t count) {
  raw.resize(static_cast<size_t>(count * token_bytes(info.vocab_size)));
  hdf5_read(tokens, token_memory_type(info.vocab_size), offset, count, raw.data(), label);
}

template <class Stored>
void Corpus::Impl::check_ids(int64_t block, int64_t count) const {
  const Stored* ids = reinterpret_cast<const Stored*>(raw.data());
  for (int64_t i = 0; i < count; ++i) {
    const int32_t id = static_cast<int32_t>(ids[i]);
    ORTHANT_CHECK(id >= 0 && id < info.vocab_size, kData, label, ", block ", block, ": token ",
                  block * kBlockTokens + i, ": want an id in [0, ", info.vocab_size, "), got ", id);
  }
}

void Corpus::Impl::verify_block(int64_t block) {
  if (verified[static_cast<size_t>(block)]) return;
  const int64_t begin = block * kBlockTokens;
  const int64_t count = std::min(kBlockTokens, size() - begin);
  read_raw(begin, count);
  ORTHANT_CHECK(xxh3_64(raw.data(), raw.size()) == checksums[static_cast<size_t>(block)], kData,
                label, ", block ", block, " (tokens ", begin, " to ", begin + count - 1,
                "): checksum differs: the file is damaged; remove it and prepare it again");
  if (token_bytes(info.vocab_size) == 2)
    check_ids<uint16_t>(block, count);
  else
    check_ids<int32_t>(block, count);
  verified[static_cast<size_t>(block)] = true;
}

Corpus::Corpus(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

std::shared_ptr<Corpus> Corpus::open(const std::string& path, Split split) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->split = split;
  impl->label = dataset_label(path, split, "tokens");
  on_hdf5_thread([&] {
    OpenCorpus opened = open_corpus(path);
    const size_t index = static_cast<size_t>(split);
    ORTHANT_CHECK(
        opened.tokens[index].valid(), kData, path, ": has no ", split_name(split), " split",
        split == Split::kTrain ? ""
                               : "; prepare it with --validation-fraction, or set data.validation");
    impl->info = std::move(opened.info);
    impl->checksums = std::move(opened.checksums[index]);
    impl->verified.assign(impl->checksums.size(), false);
    impl->tokens = std::move(opened.tokens[index]);
    // The other split's dataset is closed with `opened`; the file stays.
    impl->file = std::move(opened.file);
    opened.tokens = {};
  });
  return std::shared_ptr<Corpus>(new Corpus(std::move(impl)));
}

Corpus::~Corpus() {
  on_hdf5_thread([&] {
    impl_->tokens.close();
    impl_->file.close();
  });
}

const std::string& Corpus::path() const { return impl_->path; }
Split Corpus::split() const { return impl_->split; }
int64_t Corpus::num_tokens() const { return impl_->size(); }
int64_t Corpus::num_bytes() const { return split_info(impl_->info, impl_->split).num_bytes; }
int64_t Corpus::num_documents() const {
  return split_info(impl_->info, impl_->split).num_documents;
}
int32_t Corpus::vocab_size() const { return impl_->info.vocab_size; }
int32_t Corpus::end_of_document() const { return impl_->info.end_of_document; }
const std::string& Corpus::tokenizer_name() const { return impl_->info.tokenizer; }
const std::string& Corpus::fingerprint() const { return impl_->info.fingerprint; }
const CorpusInfo& Corpus::info() const { return impl_->info; }

void Corpus::read(int64_t offset, std::span<int32_t> out) {
  const int64_t count = static_cast<int64_t>(out.size());
  ORTHANT_CHECK(offset >= 0 && offset <= num_tokens() && count <= num_tokens() - offset, kInternal,
                impl_->label, ": want ", count, " tokens from ", offset, ", but there are ",
                num_tokens());
  if (count == 0) return;
  on_hdf5_thread([&] {
    const int64_t last = (offset + count - 1) / kBlockTokens;
    for (int64_t block = offset / kBlockTokens; block <= last; ++block) impl_->verify_block(block);
    impl_->read_raw(offset, count);
    if (token_bytes(vocab_size()) == 2)
      std::copy_n(reinterpret_cast<const uint16_t*>(impl_->raw.data()), out.size(), out.data());
    else
      std::copy_n(reinterpret_cast<const int32_t*>(impl_->raw.data()), out.size(), out.data());
  });
}

void Corpus::verify() {
  for (int64_t block = 0; block < num_blocks(num_tokens()); ++block)
    on_hdf5_thread([&] { impl_->verify_block(block); });
}

}  // namespace orthant
