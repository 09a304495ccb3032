// SPDX-License-Identifier: Apache-2.0
#include "data/cache.h"

#include <filesystem>

#include "base/checksum.h"
#include "base/error.h"
#include "base/log.h"
#include "data/corpus_file.h"
#include "data/prepare.h"
#include "data/text_reader.h"
#include "data/tokenizer.h"

namespace orthant {
namespace {

// "dir/name.jsonl.gz" -> "name", in characters that are safe in a file name.
std::string stem_of(const std::string& path) {
  std::string stem = std::filesystem::path(path).filename().string();
  stem = stem.substr(0, stem.find('.', 1));
  for (char& c : stem)
    if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '-')
      c = '_';
  return stem;
}

void remind_of_bad_lines(const std::string& path, const std::string& cached) {
  int64_t bad_lines = 0;
  for (const CorpusSource& source : inspect_corpus(cached).sources) bad_lines += source.bad_lines;
  if (bad_lines > 0)
    log::warn(path, ": ", bad_lines, bad_lines == 1 ? " bad line was" : " bad lines were",
              " left out when it was prepared into ", cached, " (data.bad_lines)");
}

}  // namespace

bool is_corpus_path(const std::string& path, const std::string& format) {
  return format == "hdf5" ||
         (format == "auto" && (path.ends_with(".h5") || path.ends_with(".hdf5")));
}

std::string ensure_prepared(const std::string& path, const CacheOptions& options) {
  ORTHANT_CHECK(std::filesystem::exists(path), kMissingInput, path, ": no such file");
  if (is_corpus_path(path, options.format)) return path;
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options.tokenizer);
  // What ends a document may stand beside a tokenizer.json, which alone is its name.
  const std::string key = concat(kCorpusFormatVersion, "\n", fingerprint_file(path).xxh3_128, "\n",
                                 tokenizer->name(), "\n", tokenizer->end_of_document(), "\n",
                                 options.validation_only ? -1.0 : options.validation_fraction, "\n",
                                 static_cast<int>(text_format(path, options.format)),
                                 options.bad_lines == BadLines::kSkip ? "\nskip" : "",
                                 options.redact ? "\nredact" : "");
  const std::string hash = xxh3_128_hex(key.data(), key.size()).substr(0, 16);
  const std::string cached = concat(options.cache_dir, "/", stem_of(path), "-", hash, ".h5");
  if (std::filesystem::exists(cached)) {  // whole: it appeared by a rename
    if (options.bad_lines == BadLines::kSkip) remind_of_bad_lines(path, cached);
    return cached;
  }
  log::info("preparing ", path, " into ", cached);
  PrepareOptions prepare_options;
  (options.validation_only ? prepare_options.validation_inputs : prepare_options.inputs) = {path};
  prepare_options.output = cached;
  prepare_options.tokenizer = options.tokenizer;
  prepare_options.validation_fraction = options.validation_fraction;
  prepare_options.format = options.format;
  prepare_options.bad_lines = options.bad_lines;
  prepare_options.redact = options.redact;
  prepare_options.progress = options.progress;
  const PrepareReport report = prepare(prepare_options);
  for (const std::string& line : report.notes.lines()) log::warn("preparing: ", line);
  return cached;
}

}  // namespace orthant
