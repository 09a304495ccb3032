// SPDX-License-Identifier: Apache-2.0
#include "data/teacher_file.h"

#include <algorithm>
#include <filesystem>

#include "base/checksum.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "data/corpus_file.h"
#include "data/hdf5.h"
#include "data/hdf5_thread.h"

namespace orthant {
namespace {

constexpr const char* kFormat = "orthant-teacher";
constexpr int64_t kVersion = 1;
constexpr int64_t kBlockBytes = int64_t{8} << 20;  // that are read at once for the checksum

// HDF5 thread only.
hid_t log_prob_type(DType dtype) { return dtype == DType::kF64 ? H5T_IEEE_F64LE : H5T_IEEE_F32LE; }
std::string label_of(const std::string& path, const char* name) {
  return concat(path, ": dataset '", name, "'");
}

void checksum_of(hid_t array, hid_t type, int64_t size, const std::string& where, Checksum& sum) {
  const auto width = static_cast<int64_t>(H5Tget_size(type));
  std::vector<unsigned char> block(static_cast<size_t>(kBlockBytes));
  for (int64_t at = 0; at < size; at += kBlockBytes / width) {
    const int64_t count = std::min(size - at, kBlockBytes / width);
    hdf5_read(array, type, at, count, block.data(), where);
    sum.update(block.data(), static_cast<size_t>(count * width));
  }
}

}  // namespace

// The datasets of an open file; used and closed on the HDF5 thread.
struct TeacherFileWriter::Impl {
  std::string path;
  TeacherFileInfo info;
  FileReplacement replacement;
  Hdf5Id file, ids, log_probs;
  int64_t written = 0;

  Impl(const std::string& p, const TeacherFileInfo& i) : path(p), info(i), replacement(p) {}

  void check_space() const {
    const auto bytes =
        static_cast<uintmax_t>(info.labels) *
        static_cast<uintmax_t>(4 * info.top_k + size_of(info.dtype) * (info.top_k + 1));
    std::error_code code;
    const auto space = std::filesystem::space(folder_of(path), code);
    ORTHANT_CHECK(code || space.available > bytes, kCannotWrite, path, ": want ",
                  human_bytes(static_cast<double>(bytes)), " of free disk, there are ",
                  human_bytes(static_cast<double>(space.available)));
  }
  void create() {
    const std::string& name = replacement.temporary();
    file = hdf5_create(name);
    hdf5_set_attribute(file, "format", std::string(kFormat), name);
    hdf5_set_attribute(file, "format_version", kVersion, name);
    hdf5_set_attribute(file, "created_by", std::string(kCreatedBy), name);
    hdf5_set_attribute(file, "labels", info.labels, name);
    hdf5_set_attribute(file, "top_k", info.top_k, name);
    hdf5_set_attribute(file, "vocab_size", info.vocab_size, name);
    hdf5_set_attribute(file, "temperature", info.temperature, name);
    hdf5_set_attribute(file, "data", info.data, name);
    hdf5_set_attribute(file, "tokenizer", info.tokenizer, name);
    hdf5_set_attribute(file, "teacher", info.teacher, name);
    hdf5_set_attribute(file, "precision", info.precision, name);
    ids = hdf5_create_array(file, "ids", H5T_STD_I32LE, info.labels * info.top_k, name);
    log_probs = hdf5_create_array(file, "log_probs", log_prob_type(info.dtype),
                                  info.labels * (info.top_k + 1), name);
  }
  void finish() {
    ORTHANT_CHECK(written == info.labels, kInternal, path, ": want ", info.labels, " labels, got ",
                  written);
    Checksum sum;
    checksum_of(ids, H5T_STD_I32LE, info.labels * info.top_k, path, sum);
    checksum_of(log_probs, log_prob_type(info.dtype), info.labels * (info.top_k + 1), path, sum);
    hdf5_set_attribute(file, "checksum", sum.hex(), path);
    if (!ids.close() || !log_probs.close() || !file.close())
      throw_hdf5(ErrorKind::kCannotWrite, path, "cannot be completed");
  }
};

TeacherFileWriter::TeacherFileWriter(const std::string& path, const TeacherFileInfo& info)
    : impl_(std::make_unique<Impl>(path, info)) {
  impl_->check_space();
  on_hdf5_thread([&] { impl_->create(); });
}

TeacherFileWriter::~TeacherFileWriter() {
  on_hdf5_thread([&] {
    impl_->ids.close();
    impl_->log_probs.close();
    impl_->file.close();
  });
}

void TeacherFileWriter::add(int64_t first, std::span<const int32_t> ids,
                            std::span<const double> log_probs) {
  const int64_t k = impl_->info.top_k, rows = std::ssize(ids) / k;
  ORTHANT_CHECK(std::ssize(log_probs) == rows * (k + 1) && first + rows <= impl_->info.labels,
                kInternal, impl_->path, ": ", rows, " rows of labels from ", first, " on");
  on_hdf5_thread([&] {
    hdf5_write(impl_->ids, H5T_NATIVE_INT32, first * k, rows * k, ids.data(), impl_->path);
    hdf5_write(impl_->log_probs, H5T_NATIVE_DOUBLE, first * (k + 1), rows * (k + 1),
               log_probs.data(), impl_->path);
  });
  impl_->written += rows;
}

void TeacherFileWriter::commit() {
  on_hdf5_thread([&] { impl_->finish(); });
  impl_->replacement.commit();
}

struct TeacherFile::Impl {
  std::string path, checksum;
  TeacherFileInfo info;
  Hdf5Id file, ids, log_probs;

  void open() {
    file = hdf5_open(path, "one that orthant distill CONFIG --teacher-log-probs FILE wrote");
    const std::string format = hdf5_text_attribute(file, "format", path);
    ORTHANT_CHECK(format == kFormat, kData, path, ": attribute 'format': want '", kFormat,
                  "', got '", format, "'");
    const int64_t version = hdf5_int_attribute(file, "format_version", path);
    ORTHANT_CHECK(version == kVersion, kData, path, ": format version: want ", kVersion, ", got ",
                  version);
    info.labels = hdf5_int_attribute(file, "labels", path);
    info.top_k = hdf5_int_attribute(file, "top_k", path);
    info.vocab_size = hdf5_int_attribute(file, "vocab_size", path);
    info.temperature = hdf5_real_attribute(file, "temperature", path);
    info.data = hdf5_text_attribute(file, "data", path);
    info.tokenizer = hdf5_text_attribute(file, "tokenizer", path);
    info.teacher = hdf5_text_attribute(file, "teacher", path);
    info.precision = hdf5_text_attribute(file, "precision", path);
    checksum = hdf5_text_attribute(file, "checksum", path);
    info.dtype = info.precision == "fp64" ? DType::kF64 : DType::kF32;
    ORTHANT_CHECK(info.labels > 0 && info.top_k > 0 && info.top_k <= info.vocab_size, kData, path,
                  ": ", info.labels, " labels with the ", info.top_k, " likeliest of ",
                  info.vocab_size, " tokens make no sense");
    ids = open_rows("ids", H5T_STD_I32LE, info.top_k);
    log_probs = open_rows("log_probs", log_prob_type(info.dtype), info.top_k + 1);
  }
  Hdf5Id open_rows(const char* name, hid_t type, int64_t columns) {
    std::error_code code;
    const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path, code));
    ORTHANT_CHECK(!code, kData, path, ": cannot get its size: ", code.message());
    const std::string where = label_of(path, name);
    Hdf5Array array = hdf5_open_array(file, name, type, bytes, where);
    ORTHANT_CHECK(array.size / columns == info.labels && array.size % columns == 0, kData, where,
                  ": want ", info.labels, " rows of ", columns, ", got ", array.size, " elements");
    return std::move(array.id);
  }
  // Of places first, first + 1, ...
  void read_run(int64_t first, int64_t rows, int32_t* id_rows, double* log_prob_rows) const {
    ORTHANT_CHECK(first + rows <= info.labels, kInternal, path, ": labels ", first, " to ",
                  first + rows, " of ", info.labels);
    const int64_t k = info.top_k;
    hdf5_read(ids, H5T_NATIVE_INT32, first * k, rows * k, id_rows, path);
    hdf5_read(log_probs, H5T_NATIVE_DOUBLE, first * (k + 1), rows * (k + 1), log_prob_rows, path);
    for (int64_t i = 0; i < rows * k; ++i)
      ORTHANT_CHECK(id_rows[i] >= 0 && id_rows[i] < info.vocab_size, kData, path, ": label ",
                    first + i / k, ": token ", id_rows[i], " of ", info.vocab_size);
  }
};

TeacherFile::TeacherFile(const std::string& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  on_hdf5_thread([&] { impl_->open(); });
}

TeacherFile::~TeacherFile() {
  on_hdf5_thread([&] { impl_.reset(); });
}

const TeacherFileInfo& TeacherFile::info() const { return impl_->info; }

void TeacherFile::verify() const {
  std::string found;
  on_hdf5_thread([&] {
    const TeacherFileInfo& info = impl_->info;
    Checksum sum;
    checksum_of(impl_->ids, H5T_STD_I32LE, info.labels * info.top_k, impl_->path, sum);
    checksum_of(impl_->log_probs, log_prob_type(info.dtype), info.labels * (info.top_k + 1),
                impl_->path, sum);
    found = sum.hex();
  });
  ORTHANT_CHECK(found == impl_->checksum, kData, impl_->path, ": its content has the checksum ",
                found, ", and was written with ", impl_->checksum, ": write it again");
}

void TeacherFile::read(std::span<const int64_t> places, std::span<int32_t> ids,
                       std::span<double> log_probs) const {
  const auto k = static_cast<size_t>(impl_->info.top_k);
  std::fill(ids.begin(), ids.end(), -1);
  std::fill(log_probs.begin(), log_probs.end(), 0.0);
  on_hdf5_thread([&] {
    for (size_t begin = 0, end = 0; begin < places.size(); begin = end) {
      end = begin + 1;
      if (places[begin] < 0) continue;
      while (end < places.size() && places[end] == places[end - 1] + 1) ++end;
      impl_->read_run(places[begin], static_cast<int64_t>(end - begin), ids.data() + begin * k,
                      log_probs.data() + begin * (k + 1));
    }
  });
}

}  // namespace orthant
