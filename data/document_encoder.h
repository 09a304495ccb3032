// SPDX-License-Identifier: Apache-2.0
// Documents to tokens on all threads, in order.
//
// Text comes in pieces and waits until there is work for every thread.  Each piece is encoded from
// where it begins, to the first place behind its end at which its document may be cut
// (EncodedPart).  That place is where the next piece should have begun: its ids are taken from
// there on, and only where it found no cut at that place is it encoded again.  So ids do not depend
// on the number of threads, and with a tokenizer.json nor on the pieces.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/corpus.h"
#include "data/tokenizer.h"

namespace orthant {

class DocumentEncoder {
 public:
  // The next part of a split's document, or its end, which is not among the ids.
  struct Output {
    Split split;
    std::span<const int32_t> ids{};
    std::string_view text{};
    bool gives_text_back = true;  // decoding the ids gives the text to the byte
    bool ends_document = false;
  };
  using Use = std::function<void(const Output& output)>;

  // `use` is called on the calling thread, for each split in the order of its text.
  DocumentEncoder(const Tokenizer& tokenizer, Use use)
      : tokenizer_(tokenizer), use_(std::move(use)) {}

  // Goes on with the split's document, or begins one.  Memory: what a few pieces for each thread
  // take, or a document where the tokenizer cannot cut it.
  void text(Split split, std::string_view text);
  // Ends the document, in every split that has a part of it.
  void end_document();
  // Encodes what waits; before it, all documents must have ended.
  void finish();

 private:
  // A document, or what is left of it.
  struct Document {
    std::string text;
    std::vector<size_t> piece_ends;
    bool continues = false;
    bool ends = false;
    size_t retry_bytes = 0;  // no cut was found; not tried again before it is that long
  };
  // A piece of it, and what it became.
  struct Job {
    const Document* document;
    size_t begin, end;
    EncodedPart part;
    bool gives_text_back = false;
  };
  using Queue = std::deque<Document>;

  void encode_waiting();
  void add_jobs(const Document& document, std::vector<Job>& jobs) const;
  void encode(Job& job, size_t begin) const;
  void check_text(Job& job) const;
  bool join(Job& job, size_t place) const;
  void take(Split split, Document& document, std::span<Job> jobs);

  const Tokenizer& tokenizer_;
  Use use_;
  std::array<Queue, 2> waiting_;  // by split; the last one may go on
  size_t waiting_bytes_ = 0;
};

}  // namespace orthant
