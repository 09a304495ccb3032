// SPDX-License-Identifier: Apache-2.0
#include "data/embedding_file.h"

#include "data/hdf5.h"
#include "data/hdf5_thread.h"
#include "tests/data/files.h"

namespace orthant {
namespace {

TEST(EmbeddingFile, HoldsRowsLinesAndWhatWasGiven) {
  const std::string path = test_folder() + "/e.h5";
  constexpr int64_t kRows = 5000, kWidth = 70;  // in several writes
  EmbeddingFile file({path, kRows, kWidth, {{"pooling", "mean"}}});
  std::vector<double> row(kWidth);
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < kWidth; ++c)
      row[static_cast<size_t>(c)] = static_cast<double>(r) + static_cast<double>(c) / 128;
    file.add(2 * r + 1, row);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  file.commit();
  on_hdf5_thread([&] {
    const Hdf5Id in = hdf5_open(path);
    EXPECT_EQ(hdf5_text_attribute(in, "format", path), "orthant-embeddings");
    EXPECT_EQ(hdf5_text_attribute(in, "pooling", path), "mean");
    const Hdf5Id matrix(H5Dopen2(in, "embeddings", H5P_DEFAULT), H5Dclose);
    const Hdf5Id space(H5Dget_space(matrix), H5Sclose), type(H5Dget_type(matrix), H5Tclose);
    hsize_t extent[2] = {};
    ASSERT_EQ(H5Sget_simple_extent_dims(space, extent, nullptr), 2);
    EXPECT_EQ(extent[0], hsize_t{kRows});
    EXPECT_EQ(extent[1], hsize_t{kWidth});
    EXPECT_GT(H5Tequal(type, H5T_IEEE_F32LE), 0);
    std::vector<float> values(kRows * kWidth);
    H5Dread(matrix, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t c = 0; c < kWidth; ++c)
        ASSERT_EQ(values[static_cast<size_t>(r * kWidth + c)],
                  static_cast<float>(r) + static_cast<float>(c) / 128);
    const Hdf5Array lines = hdf5_open_array(
        in, "lines", H5T_STD_I64LE, static_cast<int64_t>(std::filesystem::file_size(path)), path);
    std::vector<int64_t> places(kRows);
    hdf5_read(lines.id, H5T_NATIVE_INT64, 0, kRows, places.data(), path);
    for (int64_t r = 0; r < kRows; ++r) ASSERT_EQ(places[static_cast<size_t>(r)], 2 * r + 1);
  });
}

TEST(EmbeddingFile, IsNotThereUnlessAllDocumentsAre) {
  const std::string path = test_folder() + "/e.h5";
  {
    EmbeddingFile file({path, 2, 3, {}});
    const std::vector<double> row(3);
    file.add(1, row);
    expect_error(ErrorKind::kData, {"e.h5", "want 2 documents", "got 1"}, [&] { file.commit(); });
  }
  EXPECT_TRUE(std::filesystem::is_empty(test_folder()));
}

}  // namespace
}  // namespace orthant
