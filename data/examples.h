// SPDX-License-Identifier: Apache-2.0
// Tokenised examples of supervised training, in memory: five bytes a token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/conversation_texts.h"
#include "data/tokenizer.h"

namespace orthant {

struct Example {
  std::vector<int32_t> ids;
  std::vector<uint8_t> trained;  // of each id, whether it is predicted and counts; never the first
};

// The ids of the text, behind `begin` where it is plain, and the end of a document behind that.  A
// token is trained where it begins in a span.  What follows the last trained token is left out.
Example encode_example(const TrainedText& text, const Tokenizer& tokenizer,
                       std::span<const int32_t> begin);
// Keeps the first `size` ids, up to the last trained one.
void cut_example(Example& example, size_t size);

class Examples {
 public:
  struct Origin {
    int32_t file = 0;  // in files()
    int64_t line = 0;
  };
  int32_t add_file(const std::string& path);
  void add(const Example& example, Origin origin);

  int64_t size() const { return static_cast<int64_t>(origins_.size()); }
  std::span<const int32_t> ids(int64_t i) const { return part(ids_, i); }
  std::span<const uint8_t> trained(int64_t i) const { return part(trained_, i); }
  // Places of a row that it takes: its last id is a label only.
  int64_t num_inputs(int64_t i) const { return static_cast<int64_t>(ids(i).size()) - 1; }
  int64_t num_trained(int64_t i) const;
  int64_t num_trained_before(int64_t i) const {  // of the examples before it
    return trained_before_[static_cast<size_t>(i)];
  }
  std::string where(int64_t i) const;  // "FILE:LINE"
  // Over all of them:
  int64_t num_tokens() const { return static_cast<int64_t>(ids_.size()); }
  int64_t num_trained() const;
  int64_t most_inputs() const;
  std::string fingerprint() const;  // of ids and of what is trained, whatever the files are called

 private:
  template <class T>
  std::span<const T> part(const std::vector<T>& all, int64_t i) const {
    const auto begin = begins_[static_cast<size_t>(i)], end = begins_[static_cast<size_t>(i) + 1];
    return std::span(all).subspan(begin, end - begin);
  }

  std::vector<int32_t> ids_;
  std::vector<uint8_t> trained_;
  std::vector<size_t> begins_{0};
  std::vector<int64_t> trained_before_{0};
  std::vector<Origin> origins_;
  std::vector<std::string> files_;
};

}  // namespace orthant
