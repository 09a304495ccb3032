// SPDX-License-Identifier: Apache-2.0
#include "data/document_encoder.h"

#include <algorithm>
#include <exception>

#include "base/context.h"
#include "base/error.h"
#include "base/parallel_for.h"

namespace orthant {
namespace {

// Text behind a piece that its end is looked for in, before all there is.
constexpr size_t kLookaheadBytes = size_t{16} << 10;
constexpr size_t kBytesPerThread = size_t{4} << 20;

}  // namespace

void DocumentEncoder::text(Split split, std::string_view text) {
  if (text.empty()) return;
  Queue& queue = waiting_[static_cast<size_t>(split)];
  if (queue.empty() || queue.back().ends) queue.emplace_back();
  Document& document = queue.back();
  document.text += text;
  document.piece_ends.push_back(document.text.size());
  waiting_bytes_ += text.size();
  if (waiting_bytes_ >= kBytesPerThread * static_cast<size_t>(std::max(1, context().num_threads)))
    encode_waiting();
}

void DocumentEncoder::end_document() {
  for (Queue& queue : waiting_)
    if (!queue.empty()) queue.back().ends = true;
}

void DocumentEncoder::finish() {
  encode_waiting();
  for (const Queue& queue : waiting_)
    ORTHANT_CHECK(queue.empty(), kInternal, "DocumentEncoder: a document has not ended");
}

// The last piece of a document that goes on waits: what follows may change its last words.
void DocumentEncoder::add_jobs(const Document& document, std::vector<Job>& jobs) const {
  if (!document.ends && document.text.size() < document.retry_bytes) return;
  size_t begin = 0;
  for (const size_t end : document.piece_ends) {
    if (end == document.text.size() && !document.ends) return;
    jobs.push_back({.document = &document, .begin = begin, .end = end});
    begin = end;
  }
}

// Encodes the piece from `begin` on, which may be behind where the piece began.
void DocumentEncoder::encode(Job& job, size_t begin) const {
  const Document& document = *job.document;
  const std::string_view all = std::string_view(document.text).substr(begin);
  job.begin = begin;
  for (size_t size = std::min(all.size(), job.end - begin + kLookaheadBytes);; size = all.size()) {
    job.part = tokenizer_.encode_part({.text = all.substr(0, size),
                                       .want_bytes = job.end - begin,
                                       .continues = document.continues || begin > 0,
                                       .ends = document.ends && size == all.size()});
    if (job.part.bytes > 0 || size == all.size()) break;
  }
  check_text(job);
}

void DocumentEncoder::check_text(Job& job) const {
  const std::string_view text =
      std::string_view(job.document->text).substr(job.begin, job.part.bytes);
  const bool continues = job.document->continues || job.begin > 0;
  job.gives_text_back = tokenizer_.decode(job.part.ids, continues) == text;
}

// Lets a piece that was encoded too early begin at `place`; false where it may not begin there.
bool DocumentEncoder::join(Job& job, size_t place) const {
  const size_t bytes = place - job.begin;
  for (const EncodedPart::Cut& cut : job.part.first_cuts) {
    if (cut.bytes != bytes) continue;
    job.part.ids.erase(job.part.ids.begin(),
                       job.part.ids.begin() + static_cast<std::ptrdiff_t>(cut.num_ids));
    job.part.bytes -= bytes;
    job.begin = place;
    check_text(job);
    return true;
  }
  return false;
}

// Hands a document's parts over, joined, and keeps of it what could not be encoded yet.
void DocumentEncoder::take(Split split, Document& document, std::span<Job> jobs) {
  size_t place = 0;
  for (Job& job : jobs) {
    if (place >= job.end) continue;  // a word went on behind the piece
    const bool is_joined = place == job.begin || (job.part.bytes > 0 && join(job, place));
    if (!is_joined) encode(job, place);
    if (job.part.bytes == 0) {
      document.retry_bytes = 2 * document.text.size();
      break;
    }
    use_({.split = split,
          .ids = job.part.ids,
          .text = std::string_view(document.text).substr(place, job.part.bytes),
          .gives_text_back = job.gives_text_back});
    place += job.part.bytes;
  }
  document.text.erase(0, place);
  std::vector<size_t> ends;
  for (const size_t end : document.piece_ends)
    if (end > place) ends.push_back(end - place);
  document.piece_ends = std::move(ends);
  document.continues = document.continues || place > 0;
  if (!document.ends) return;
  ORTHANT_CHECK(document.text.empty(), kInternal, "DocumentEncoder: a document did not end");
  use_({.split = split, .gives_text_back = true, .ends_document = true});
}

void DocumentEncoder::encode_waiting() {
  waiting_bytes_ = 0;
  std::vector<Job> jobs;
  for (const Queue& queue : waiting_)
    for (const Document& document : queue) add_jobs(document, jobs);
  std::vector<std::exception_ptr> failures(jobs.size());
  parallel_for_each(static_cast<int64_t>(jobs.size()), [&](int64_t i) {
    const auto index = static_cast<size_t>(i);
    try {
      encode(jobs[index], jobs[index].begin);
    } catch (...) {  // thrown again on the calling thread
      failures[index] = std::current_exception();
    }
  });
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  std::span<Job> rest = jobs;
  for (const Split split : {Split::kTrain, Split::kValidation}) {
    Queue& queue = waiting_[static_cast<size_t>(split)];
    for (Document& document : queue) {
      size_t count = 0;
      while (count < rest.size() && rest[count].document == &document) ++count;
      take(split, document, rest.first(count));
      rest = rest.subspan(count);
    }
    std::erase_if(queue, [](const Document& document) { return document.ends; });
  }
}

}  // namespace orthant
