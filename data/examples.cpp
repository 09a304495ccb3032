// SPDX-License-Identifier: Apache-2.0
#include "data/examples.h"

#include <algorithm>
#include <numeric>

#include "base/checksum.h"
#include "base/error.h"

namespace orthant {

Example encode_example(const TrainedText& text, const Tokenizer& tokenizer,
                       std::span<const int32_t> begin) {
  const PlacedIds placed = tokenizer.encode_placed(text.text, /*with_added=*/!text.is_plain);
  Example example;
  if (text.is_plain) example.ids.assign(begin.begin(), begin.end());
  example.trained.assign(example.ids.size(), 0);
  auto span = text.spans.begin();
  for (size_t t = 0; t < placed.ids.size(); ++t) {
    const size_t place = placed.places[t];
    while (span != text.spans.end() && span->end <= place) ++span;
    example.ids.push_back(placed.ids[t]);
    example.trained.push_back(span != text.spans.end() && place >= span->begin);
  }
  if (text.is_plain) {
    example.ids.push_back(tokenizer.end_of_document());
    example.trained.push_back(1);
  }
  if (!example.trained.empty()) example.trained.front() = 0;  // nothing predicts it
  cut_example(example, example.ids.size());
  return example;
}

void cut_example(Example& example, size_t size) {
  size = std::min(size, example.ids.size());
  while (size > 0 && example.trained[size - 1] == 0) --size;
  example.ids.resize(size);
  example.trained.resize(size);
}

int32_t Examples::add_file(const std::string& path) {
  files_.push_back(path);
  return static_cast<int32_t>(files_.size()) - 1;
}

void Examples::add(const Example& example, Origin origin) {
  ORTHANT_CHECK(example.ids.size() >= 2 && example.ids.size() == example.trained.size(), kInternal,
                "examples: want at least two ids, got ", example.ids.size());
  ids_.insert(ids_.end(), example.ids.begin(), example.ids.end());
  trained_.insert(trained_.end(), example.trained.begin(), example.trained.end());
  begins_.push_back(ids_.size());
  origins_.push_back(origin);
  trained_before_.push_back(trained_before_.back() + num_trained(size() - 1));
}

int64_t Examples::num_trained(int64_t i) const {
  const std::span<const uint8_t> flags = trained(i);
  return std::accumulate(flags.begin(), flags.end(), int64_t{0});
}

int64_t Examples::num_trained() const {
  return std::accumulate(trained_.begin(), trained_.end(), int64_t{0});
}

int64_t Examples::most_inputs() const {
  int64_t most = 0;
  for (int64_t i = 0; i < size(); ++i) most = std::max(most, num_inputs(i));
  return most;
}

std::string Examples::where(int64_t i) const {
  const Origin& origin = origins_[static_cast<size_t>(i)];
  return concat(files_[static_cast<size_t>(origin.file)], ":", origin.line);
}

std::string Examples::fingerprint() const {
  Checksum sum;
  sum.update(begins_.data(), begins_.size() * sizeof(size_t));
  sum.update(ids_.data(), ids_.size() * sizeof(int32_t));
  sum.update(trained_.data(), trained_.size());
  return sum.hex();
}

}  // namespace orthant
