// SPDX-License-Identifier: Apache-2.0
// The file format of a corpus, shared by its reader (corpus.cpp) and its writer
// (corpus_writer.cpp).
//
//   /                        attributes: format, format_version, created_by, tokenizer, vocab_size,
//                            end_of_document, validation_fraction, block_tokens, content_hash
//   /sources                 uint8[]: JSON, [{"path", "bytes", "xxh3_128"}, ...]; "bad_lines",
//   their
//                            number, where some were left out
//   /train, /validation      groups; absent when empty. attributes: num_tokens, num_bytes,
//                            num_documents
//   /SPLIT/tokens            [num_tokens] uint16 when vocab_size <= 65536, else int32
//   /SPLIT/block_checksums   [ceil(num_tokens / block_tokens)] uint64, XXH3-64 of each block's
//   bytes
//
// All numbers are little-endian, all datasets contiguous and unfiltered.  content_hash covers
// tokenizer, vocab_size, end_of_document, the sizes of both splits and all block checksums; so it
// stands for every token, yet is checked without reading one.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/hdf5.h"

namespace orthant {

inline constexpr int64_t kCorpusFormatVersion = 1;
inline constexpr int64_t kBlockTokens = int64_t{1} << 20;
inline constexpr const char* kCorpusFormatName = "orthant corpus";
inline constexpr const char* kCreatedBy = "orthant 0.1.0";

// Bytes of one stored token.
inline int64_t token_bytes(int32_t vocab_size) { return vocab_size <= 65536 ? 2 : 4; }
// HDF5 thread only (the macros open the library).
inline hid_t token_file_type(int32_t vocab_size) {
  return token_bytes(vocab_size) == 2 ? H5T_STD_U16LE : H5T_STD_I32LE;
}
inline hid_t token_memory_type(int32_t vocab_size) {
  return token_bytes(vocab_size) == 2 ? H5T_NATIVE_UINT16 : H5T_NATIVE_INT32;
}
inline int64_t num_blocks(int64_t num_tokens) {
  return (num_tokens + kBlockTokens - 1) / kBlockTokens;
}

inline const SplitInfo& split_info(const CorpusInfo& info, Split split) {
  return split == Split::kTrain ? info.train : info.validation;
}
inline SplitInfo& split_info(CorpusInfo& info, Split split) {
  return split == Split::kTrain ? info.train : info.validation;
}

// Block checksums by split (kTrain, kValidation); empty for an absent split.
using BlockChecksums = std::array<std::vector<uint64_t>, 2>;
std::string content_hash(const CorpusInfo& info, const BlockChecksums& checksums);

// A file whose header was read and checked.  Made, used and destroyed on the HDF5 thread.
struct OpenCorpus {
  Hdf5Id file;
  CorpusInfo info;
  BlockChecksums checksums;
  std::array<Hdf5Id, 2> tokens;  // datasets by split; not valid for an absent split
};
OpenCorpus open_corpus(const std::string& path);

std::string dataset_label(const std::string& path, Split split, const char* name);

}  // namespace orthant
