// SPDX-License-Identifier: Apache-2.0
#include "data/embedding_file.h"

#include <filesystem>

#include "base/durable_file.h"
#include "base/error.h"
#include "data/corpus_file.h"
#include "data/hdf5.h"
#include "data/hdf5_thread.h"

namespace orthant {
namespace {

constexpr size_t kPendingValues = size_t{1} << 18;

// HDF5 does not survive a full disk well, so ask before.
void check_space(const EmbeddingFileOptions& options) {
  const auto bytes =
      static_cast<uintmax_t>(options.documents) * static_cast<uintmax_t>(4 * options.width + 8);
  std::error_code code;
  const auto space = std::filesystem::space(folder_of(options.path), code);
  ORTHANT_CHECK(code || space.available > bytes, kCannotWrite, options.path, ": want ",
                human_bytes(static_cast<double>(bytes)), " of free disk, there are ",
                human_bytes(static_cast<double>(space.available)));
}

}  // namespace

struct EmbeddingFile::Impl {
  const EmbeddingFileOptions options;
  FileReplacement replacement;
  Hdf5Id file, embeddings, lines;  // used and closed on the HDF5 thread
  int64_t written = 0;
  std::vector<float> values;  // of the documents behind
  std::vector<int64_t> places;

  explicit Impl(const EmbeddingFileOptions& o) : options(o), replacement(o.path) {}
  std::string label() const { return concat(options.path, ": dataset 'embeddings'"); }

  void create() {
    const std::string& path = replacement.temporary();
    file = hdf5_create(path);
    hdf5_set_attribute(file, "format", std::string("orthant-embeddings"), path);
    hdf5_set_attribute(file, "format_version", int64_t{1}, path);
    hdf5_set_attribute(file, "created_by", std::string(kCreatedBy), path);
    for (const auto& [name, value] : options.attributes)
      hdf5_set_attribute(file, name, value, path);
    embeddings = hdf5_create_matrix(file, "embeddings", H5T_IEEE_F32LE, options.documents,
                                    options.width, label());
    lines = hdf5_create_array(file, "lines", H5T_STD_I64LE, options.documents, label());
  }
  void flush() {
    const auto rows = std::ssize(places);
    if (rows == 0) return;
    hdf5_write_rows(embeddings, H5T_NATIVE_FLOAT, written, rows, options.width, values.data(),
                    label());
    hdf5_write(lines, H5T_NATIVE_INT64, written, rows, places.data(), label());
    written += rows;
    values.clear();
    places.clear();
  }
  void finish() {
    flush();
    ORTHANT_CHECK(written == options.documents, kData, options.path, ": want ", options.documents,
                  " documents, as were counted, got ", written, ": did their file change?");
    if (!embeddings.close() || !lines.close() || !file.close())
      throw_hdf5(ErrorKind::kCannotWrite, options.path, "cannot be completed");
  }
};

EmbeddingFile::EmbeddingFile(const EmbeddingFileOptions& options) {
  check_space(options);
  impl_ = std::make_unique<Impl>(options);
  on_hdf5_thread([&] { impl_->create(); });
}

EmbeddingFile::~EmbeddingFile() {
  on_hdf5_thread([&] {
    impl_->embeddings.close();
    impl_->lines.close();
    impl_->file.close();
  });
}

void EmbeddingFile::add(int64_t line, std::span<const double> vector) {
  for (const double value : vector) impl_->values.push_back(static_cast<float>(value));
  impl_->places.push_back(line);
  if (impl_->values.size() >= kPendingValues) on_hdf5_thread([&] { impl_->flush(); });
}

void EmbeddingFile::commit() {
  on_hdf5_thread([&] { impl_->finish(); });
  impl_->replacement.commit();
}

}  // namespace orthant
