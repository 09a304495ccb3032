// SPDX-License-Identifier: Apache-2.0
// How fast a tokenizer encodes a text, on one thread and on all.
//   tokenizer_bench TOKENIZER FILE [--serve]
// The text is encoded in pieces of 64 KiB, as if each were a document.  Seconds are those of the
// processor on one thread, which other programs disturb less, and of the clock on all.  --serve:
// for every line on standard input once more, on one thread; prints seconds and ids
// (bench/tokenizer.py).
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "data/document_encoder.h"
#include "data/tokenizer.h"

namespace orthant {
namespace {

constexpr size_t kPieceBytes = size_t{64} << 10;

struct Run {
  double seconds = 0;
  size_t ids = 0;
};

double processor_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

template <class F>
void for_each_piece(std::string_view text, const F& use) {
  while (!text.empty()) {
    const size_t newline = text.rfind('\n', kPieceBytes);
    const size_t size = newline == std::string_view::npos ? text.size() : newline + 1;
    use(text.substr(0, size));
    text.remove_prefix(size);
  }
}

Run one_thread(const Tokenizer& tokenizer, std::string_view text) {
  Run run;
  const double begin = processor_seconds();
  for_each_piece(text, [&](std::string_view piece) { run.ids += tokenizer.encode(piece).size(); });
  run.seconds = processor_seconds() - begin;
  return run;
}

Run all_threads(const Tokenizer& tokenizer, std::string_view text) {
  Run run;
  const double begin = now_seconds();
  DocumentEncoder encoder(
      tokenizer, [&](const DocumentEncoder::Output& output) { run.ids += output.ids.size(); });
  for_each_piece(text, [&](std::string_view piece) {
    encoder.text(Split::kTrain, piece);
    encoder.end_document();
  });
  encoder.finish();
  run.seconds = now_seconds() - begin;
  return run;
}

int run(const std::string& spec, const std::string& path, bool serves) {
  const auto tokenizer = make_tokenizer(spec);
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  ORTHANT_CHECK(!text.empty(), kMissingInput, path, ": no such file, or nothing in it");
  if (serves) {
    for (std::string line; std::getline(std::cin, line);) {
      const Run done = one_thread(*tokenizer, text);
      std::printf("%.6f %zu\n", done.seconds, done.ids);
      std::fflush(stdout);
    }
    return 0;
  }
  for (const bool all : {false, true}) {
    Run best{.seconds = 1e30};
    for (int round = 0; round < 7; ++round) {
      const Run done = all ? all_threads(*tokenizer, text) : one_thread(*tokenizer, text);
      if (done.seconds < best.seconds) best = done;
    }
    std::printf("%d thread%s: %.1f MB/s, %zu ids of %zu bytes%s\n", all ? context().num_threads : 1,
                all ? "s" : " ", static_cast<double>(text.size()) / best.seconds / 1e6, best.ids,
                text.size(), all ? ", and decoded again" : "");
  }
  return 0;
}

}  // namespace
}  // namespace orthant

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4 || (argc == 4 && std::string(argv[3]) != "--serve")) {
    std::fprintf(stderr, "usage: tokenizer_bench TOKENIZER FILE [--serve]\n");
    return 2;
  }
  try {
    return orthant::run(argv[1], argv[2], argc == 4);
  } catch (const orthant::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
