// SPDX-License-Identifier: Apache-2.0
// A prepared corpus: the tokens of one split of an .h5 file that `prepare` wrote.
//
// Opening refuses everything that is not such a file: external and soft links, external storage,
// virtual or filtered datasets, wrong types, sizes that the file cannot hold.  Every block of
// 1,048,576 tokens is checked against its checksum before the first token of it is handed out.
// Errors are Error(kData) naming file, dataset and block; a file that does not exist is
// Error(kMissingInput).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace orthant {

enum class Split { kTrain, kValidation };
const char* split_name(Split split);  // "train", "validation"

// Where a part of a corpus came from.
struct CorpusSource {
  std::string path;  // as given to prepare
  int64_t bytes = 0;
  std::string xxh3_128;   // of the file as it was
  int64_t bad_lines = 0;  // of .jsonl, left out
  bool operator==(const CorpusSource&) const = default;
};

// Sizes of one split; all zero for a split that the file does not have.
struct SplitInfo {
  int64_t num_tokens = 0;  // end-of-document tokens included
  int64_t num_bytes = 0;   // of text, which has no end-of-document
  int64_t num_documents = 0;
  bool operator==(const SplitInfo&) const = default;
};

// What stands in the header of a corpus (`orthant inspect corpus`).
struct CorpusInfo {
  int64_t format_version = 0;
  std::string created_by;  // "orthant 0.1.0"
  std::string tokenizer;   // name for make_tokenizer
  int32_t vocab_size = 0;
  int32_t end_of_document = 0;
  double validation_fraction = 0.0;  // what prepare was asked for
  std::string fingerprint;  // 32 hexadecimal digits: the hash of everything below and above
                            // that training depends on (not of paths or creator)
  SplitInfo train, validation;
  std::vector<CorpusSource> sources;
};

// Reads and checks the header only, no tokens.
CorpusInfo inspect_corpus(const std::string& path);

class Corpus {
 public:
  // Error(kData) also when the file has no such split.
  static std::shared_ptr<Corpus> open(const std::string& path, Split split);
  ~Corpus();
  Corpus(const Corpus&) = delete;
  Corpus& operator=(const Corpus&) = delete;

  const std::string& path() const;
  Split split() const;
  int64_t num_tokens() const;
  int64_t num_bytes() const;  // of text
  int64_t num_documents() const;
  int32_t vocab_size() const;
  int32_t end_of_document() const;
  const std::string& tokenizer_name() const;
  // The hash of the file's content: equal for equal tokens and tokenizer, whatever the path.
  const std::string& fingerprint() const;
  const CorpusInfo& info() const;

  // out[i] = token offset + i.  The range must lie in [0, num_tokens): Error(kInternal) otherwise.
  // Any thread may call; the work is done on the HDF5 thread.
  void read(int64_t offset, std::span<int32_t> out);
  // Checks every block that was not read yet (`orthant verify corpus`).
  void verify();

 private:
  struct Impl;
  explicit Corpus(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace orthant
