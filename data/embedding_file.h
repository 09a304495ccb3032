// SPDX-License-Identifier: Apache-2.0
// Writes vectors of documents into an HDF5 file, which appears, complete, on commit():
//   embeddings  [documents, width] f32
//   lines       [documents] i64, the line that each document stands in, from 1
//   attributes  format "orthant-embeddings", format_version 1, created_by, and what is given
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace orthant {

struct EmbeddingFileOptions {
  std::string path;
  int64_t documents = 0, width = 0;
  struct Attribute {
    std::string name, value;
  };
  std::vector<Attribute> attributes;
};

class EmbeddingFile {
 public:
  // Error(kCannotWrite), from all functions.
  explicit EmbeddingFile(const EmbeddingFileOptions& options);
  ~EmbeddingFile();
  // The next document's; as many as were announced.
  void add(int64_t line, std::span<const double> vector);
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orthant
