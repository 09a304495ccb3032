// SPDX-License-Identifier: Apache-2.0
#include "data/corpus_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/durable_file.h"
#include "data/corpus_file.h"
#include "data/hdf5_thread.h"

namespace orthant {
namespace {

constexpr size_t kPendingBytes = size_t{1} << 20;

// An open file without a name: it is gone when it is closed, whatever happens.
int open_unnamed(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  // Not every file system knows O_TMPFILE.
  std::string name = concat(folder, "/.orthant-spool-XXXXXX");
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named < 0) throw_cannot_write(folder, "make a file there", errno);
  ::unlink(name.c_str());
  return named;
}

template <class Stored>
void store(std::span<const int32_t> tokens, std::vector<unsigned char>& out) {
  const size_t begin = out.size();
  out.resize(begin + tokens.size() * sizeof(Stored));
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Stored value = static_cast<Stored>(tokens[i]);
    std::memcpy(out.data() + begin + i * sizeof(Stored), &value, sizeof(Stored));
  }
}

}  // namespace

CorpusWriter::CorpusWriter(std::string output, const Tokenizer& tokenizer)
    : output_(std::move(output)) {
  info_.format_version = kCorpusFormatVersion;
  info_.created_by = kCreatedBy;
  info_.tokenizer = tokenizer.name();
  info_.vocab_size = tokenizer.vocab_size();
  info_.end_of_document = tokenizer.end_of_document();
  const std::string folder = folder_of(output_);
  make_folders(folder, output_);
  ORTHANT_CHECK(!std::filesystem::is_directory(output_), kCannotWrite, output_, ": is a folder");
  for (Spool& spool : spools_) spool.fd = open_unnamed(folder);
}

CorpusWriter::~CorpusWriter() {
  for (const Spool& spool : spools_)
    if (spool.fd >= 0) ::close(spool.fd);
}

void CorpusWriter::flush(Spool& spool) {
  size_t done = 0;
  while (done < spool.pending.size()) {
    const ssize_t n = ::write(spool.fd, spool.pending.data() + done, spool.pending.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw_cannot_write(output_, "write tokens beside it", errno);
    done += static_cast<size_t>(n);
  }
  spool.flushed_bytes += static_cast<int64_t>(done);
  spool.pending.clear();
}

void CorpusWriter::append(Split split, std::span<const int32_t> tokens, int64_t text_bytes) {
  Spool& spool = spools_[static_cast<size_t>(split)];
  if (token_bytes(info_.vocab_size) == 2)
    store<uint16_t>(tokens, spool.pending);
  else
    store<int32_t>(tokens, spool.pending);
  if (spool.pending.size() >= kPendingBytes) flush(spool);
  SplitInfo& info = split_info(info_, split);
  info.num_tokens += static_cast<int64_t>(tokens.size());
  info.num_bytes += text_bytes;
}

void CorpusWriter::end_document(Split split) {
  append(split, std::span(&info_.end_of_document, 1), 0);
  ++split_info(info_, split).num_documents;
}

// Copies one split from its spool into the file and returns the checksums of its blocks.
std::vector<uint64_t> CorpusWriter::write_split(int64_t group, Split split,
                                                const std::string& path) {
  const std::string label = dataset_label(path, split, "tokens");
  const Spool& spool = spools_[static_cast<size_t>(split)];
  const int64_t size = split_info(info_, split).num_tokens, width = token_bytes(info_.vocab_size);
  const Hdf5Id tokens =
      hdf5_create_array(group, "tokens", token_file_type(info_.vocab_size), size, label);
  std::vector<uint64_t> checksums;
  std::vector<unsigned char> raw;
  for (int64_t begin = 0; begin < size; begin += kBlockTokens) {
    const int64_t count = std::min(kBlockTokens, size - begin);
    raw.resize(static_cast<size_t>(count * width));
    size_t done = 0;
    while (done < raw.size()) {
      const ssize_t n = ::pread(spool.fd, raw.data() + done, raw.size() - done,
                                static_cast<off_t>(begin * width) + static_cast<off_t>(done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) throw_cannot_write(output_, "read back tokens", n < 0 ? errno : EIO);
      done += static_cast<size_t>(n);
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
  for (Spool& spool : spools_) {
    flush(spool);
    bytes += spool.flushed_bytes;
  }
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
