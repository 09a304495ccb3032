// SPDX-License-Identifier: Apache-2.0
// What a teacher says of the labels of a run's data: an HDF5 file, so that a teacher that thought
// once need not be there again.
//
//   ids        [labels * top_k] i32, the tokens that it finds likeliest at each label, in order
//   log_probs  [labels * (top_k + 1)] f32 or f64, theirs, and behind them that of all others
//              together, at the temperature; at least -1e30
//   attributes format "orthant-teacher", format_version 1, created_by; labels, top_k, vocab_size,
//              temperature; what it is of: data (XXH3-128 of all examples, in order), tokenizer,
//              teacher (XXH3-128 of its weights), precision; checksum (XXH3-128 of both datasets)
//
// Labels are numbered over the examples of all sources in their order, then the held-out ones
// (SupervisedSource::first_label): packing, batches and epochs do not matter.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace orthant {

struct TeacherFileInfo {
  int64_t labels = 0, top_k = 0, vocab_size = 0;
  double temperature = 1.0;
  DType dtype = DType::kF32;  // of log_probs
  std::string data, tokenizer, teacher, precision;
};

// The file appears, complete, on commit().  Error(kCannotWrite), from all functions.
class TeacherFileWriter {
 public:
  TeacherFileWriter(const std::string& path, const TeacherFileInfo& info);
  ~TeacherFileWriter();
  // Of labels first, first + 1, ...: as many as the columns have rows; each label once.
  void add(int64_t first, std::span<const int32_t> ids, std::span<const double> log_probs);
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class TeacherFile {
 public:
  // Error(kMissingInput), kData: no such file, or a damaged one.
  explicit TeacherFile(const std::string& path);
  ~TeacherFile();
  const TeacherFileInfo& info() const;
  // Reads all of it.  Error(kData): its content is not what was written.
  void verify() const;
  // Rows of labels: ids [places, top_k] and log_probs [places, top_k + 1]; a place < 0 gives ids of
  // -1 and zeros.  Error(kData).
  void read(std::span<const int64_t> places, std::span<int32_t> ids,
            std::span<double> log_probs) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orthant
