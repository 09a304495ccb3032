// SPDX-License-Identifier: Apache-2.0
#include "data/corpus.h"

#include <algorithm>
#include <thread>

#include "base/checksum.h"
#include "data/corpus_file.h"
#include "data/hdf5_thread.h"
#include "tests/data/files.h"

namespace orthant {
namespace {

// A corpus of 1,025 training tokens (and 51 for validation) that each test damages in its own way.
std::string good_corpus() {
  std::string text;
  for (int i = 0; i < 1074; ++i) text.push_back(static_cast<char>('a' + i * 7 % 26));
  return prepared("good", {write_file("good.txt", text)}, 50.0 / 1074);
}

// Runs `edit` on the open file, on the HDF5 thread.
void edit(const std::string& path, const std::function<void(hid_t file)>& change) {
  on_hdf5_thread([&] {
    Hdf5Id file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    ASSERT_TRUE(file.valid());
    change(file);
    EXPECT_TRUE(file.close());
  });
}

// Puts another dataset in the place of NAME.
void replace(hid_t file, const char* name, hid_t type, std::vector<hsize_t> dims,
             const std::function<void(hid_t creation)>& set = {}) {
  H5Ldelete(file, name, H5P_DEFAULT);
  const Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  if (set) set(creation);
  const Hdf5Id space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                     H5Sclose);
  const Hdf5Id dataset(H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT),
                       H5Dclose);
  EXPECT_TRUE(dataset.valid());
  std::vector<uint64_t> zeros(4096);
  if (dims[0] <= 4096)
    H5Dwrite(dataset, H5T_NATIVE_UINT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data());
}

void expect_refused(const std::string& path, const std::vector<std::string>& parts) {
  std::vector<std::string> all = parts;
  all.push_back(path);
  expect_error(ErrorKind::kData, all, [&] { Corpus::open(path, Split::kTrain); });
}

// Offset in the file of the tokens of a split.
int64_t tokens_offset(const std::string& path, const char* name = "train/tokens") {
  int64_t offset = 0;
  on_hdf5_thread([&] {
    const Hdf5Id file = hdf5_open(path);
    const Hdf5Id dataset(H5Dopen2(file, name, H5P_DEFAULT), H5Dclose);
    offset = static_cast<int64_t>(H5Dget_offset(dataset));
  });
  return offset;
}

TEST(Corpus, ReadsAnyRange) {
  const std::string path = good_corpus();
  const auto corpus = Corpus::open(path, Split::kTrain);
  EXPECT_EQ(corpus->num_tokens(), 1025);
  EXPECT_EQ(corpus->num_bytes(), 1024);
  EXPECT_EQ(corpus->num_documents(), 1);
  EXPECT_EQ(corpus->vocab_size(), 257);
  EXPECT_EQ(corpus->end_of_document(), 256);
  EXPECT_EQ(corpus->tokenizer_name(), "byte");
  EXPECT_EQ(corpus->fingerprint().size(), 32u);
  EXPECT_EQ(corpus->fingerprint(), Corpus::open(path, Split::kValidation)->fingerprint());
  std::vector<int32_t> three(3);
  corpus->read(1022, three);
  EXPECT_EQ(three, (std::vector<int32_t>{'a' + 1022 * 7 % 26, 'a' + 1023 * 7 % 26, 256}));
  corpus->read(1025, {});
  expect_error(ErrorKind::kInternal, {path, "1023"}, [&] { corpus->read(1023, three); });
  expect_error(ErrorKind::kInternal, {path, "-1"}, [&] { corpus->read(-1, three); });
}

TEST(Corpus, ReadsAcrossBlocks) {
  std::string text((1 << 20) * 2 + 77, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31 % 251);
  const std::string path = prepared("big", {write_file("big.txt", text)}, 0);
  const auto corpus = Corpus::open(path, Split::kTrain);
  for (const int64_t offset : {0, (1 << 20) - 2, (1 << 21) - 1, (1 << 21) + 70}) {
    std::vector<int32_t> tokens(7);
    corpus->read(offset, tokens);
    for (size_t i = 0; i < tokens.size(); ++i)
      EXPECT_EQ(tokens[i], (offset + static_cast<int64_t>(i)) * 31 % 251);
  }
  corpus->verify();

  // Damage in the second block is found when that block is read, and not before.
  std::string bytes = read_bytes(path);
  bytes[static_cast<size_t>(tokens_offset(path) + 2 * (1 << 20) + 10)] ^= 4;
  write_bytes(path, bytes);
  const auto damaged = Corpus::open(path, Split::kTrain);
  std::vector<int32_t> tokens(7);
  damaged->read(100, tokens);
  const std::vector<std::string> parts = {path, "'train/tokens', block 1", "checksum"};
  expect_error(ErrorKind::kData, parts, [&] { damaged->read((1 << 20) - 3, tokens); });
  expect_error(ErrorKind::kData, parts, [&] { damaged->verify(); });
}

TEST(Corpus, ServesSeveralThreads) {
  const std::string path = good_corpus();
  const auto shared = Corpus::open(path, Split::kTrain);
  const std::vector<int32_t> want = all_tokens(path, Split::kTrain);
  std::vector<int> wrong(4);
  std::vector<std::jthread> threads;
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      const auto own = Corpus::open(path, Split::kTrain);
      for (size_t i = 0; i < 200; ++i) {
        std::vector<int32_t> tokens(20);
        const size_t offset = (i * 37 + t) % 1000;
        (i % 2 ? own : shared)->read(static_cast<int64_t>(offset), tokens);
        wrong[t] +=
            !std::equal(tokens.begin(), tokens.end(), want.begin() + static_cast<int64_t>(offset));
      }
    });
  threads.clear();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(Corpus, MissingFileAndMissingSplit) {
  expect_error(ErrorKind::kMissingInput, {"none.h5"},
               [] { Corpus::open("/x/none.h5", Split::kTrain); });
  const std::string path = prepared("t", {write_file("t.txt", "text")}, 0);
  expect_error(ErrorKind::kData, {path, "no validation split"},
               [&] { Corpus::open(path, Split::kValidation); });
}

TEST(Corpus, RefusesWhatIsNoCorpus) {
  expect_refused(write_file("a.h5", ""), {"not an HDF5 file"});
  expect_refused(write_file("b.h5", "some text that is no HDF5"), {"not an HDF5 file"});
  expect_refused(write_file("c.h5", std::string("\x89HDF\r\n\x1a\n", 8) + std::string(500, 'x')),
                 {"damaged"});
  expect_refused(test_folder(), {"not a file"});
  const std::string other = test_folder() + "/other.h5";
  on_hdf5_thread([&] { hdf5_create(other); });
  expect_refused(other, {"'format'"});
}

TEST(Corpus, TruncatedFileIsRefusedAtEveryLength) {
  const std::string path = good_corpus(), bytes = read_bytes(path);
  for (size_t size = 0; size < bytes.size(); size += 97)
    expect_refused(write_file("cut.h5", bytes.substr(0, size)), {});
}

// A byte of the file, flipped: either an error that names the file, or the very same content (in
// bytes that HDF5 leaves unused).  Nothing crashes, nothing else is read.  Every third byte of
// HDF5's own structures, every 16th of the tokens.
TEST(Corpus, NoFlippedByteChangesWhatIsRead) {
  const std::string path = good_corpus(), bytes = read_bytes(path);
  const std::vector<int32_t> train = all_tokens(path, Split::kTrain);
  const std::string fingerprint = inspect_corpus(path).fingerprint;
  const int64_t begin = tokens_offset(path), end = begin + 2 * 1025;
  int64_t flips = 0, harmless = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(bytes.size()); ++i) {
    if (i % (i >= begin && i < end ? 16 : 3) != 0) continue;
    const auto put = [&](int flip) {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(i);
      file.put(static_cast<char>(bytes[static_cast<size_t>(i)] ^ flip));
    };
    put(1 << i % 8);
    ++flips;
    try {
      const auto corpus = Corpus::open(path, Split::kTrain);
      std::vector<int32_t> tokens(1025);
      ASSERT_EQ(corpus->num_tokens(), 1025) << "byte " << i;
      corpus->read(0, tokens);
      EXPECT_EQ(tokens, train) << "byte " << i;
      EXPECT_EQ(corpus->fingerprint(), fingerprint) << "byte " << i;
      ++harmless;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), 65) << "byte " << i << ": " << error.what();
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    }
    put(0);
  }
  EXPECT_GT(flips, 1500);
  EXPECT_LT(harmless, flips / 2);
  EXPECT_EQ(read_bytes(path), bytes);
}

TEST(Corpus, RefusesWrongTypeAndShape) {
  const std::string path = good_corpus(), bytes = read_bytes(path);
  const auto with = [&](hid_t type, std::vector<hsize_t> dims, const std::string& reason) {
    write_bytes(path, bytes);
    edit(path, [&](hid_t file) { replace(file, "train/tokens", type, dims); });
    expect_refused(path, {"'train/tokens'", reason});
  };
  hid_t i32 = 0, f32 = 0, big = 0, u16 = 0;
  on_hdf5_thread(
      [&] { i32 = H5T_STD_I32LE, f32 = H5T_IEEE_F32LE, big = H5T_STD_U16BE, u16 = H5T_STD_U16LE; });
  with(i32, {1025}, "wrong type");
  with(f32, {1025}, "wrong type");
  with(big, {1025}, "wrong type");
  with(u16, {1025, 1}, "one dimension");
  with(u16, {1000}, "want 1025 tokens, got 1000");
  with(u16, {hsize_t{1} << 60}, "do not lie inside the file");  // declared, never stored
}

TEST(Corpus, RefusesWhatPointsOutsideOrIsFiltered) {
  const std::string path = good_corpus(), bytes = read_bytes(path);
  const std::string other = test_folder() + "/copy.h5";
  write_bytes(other, bytes);
  write_file("raw.bin", std::string(4096, 'r'));
  const auto with = [&](const std::vector<std::string>& parts,
                        const std::function<void(hid_t)>& f) {
    write_bytes(path, bytes);
    edit(path, f);
    expect_refused(path, parts);
  };
  hid_t u16 = 0;
  on_hdf5_thread([&] { u16 = H5T_STD_U16LE; });
  with({"'train/tokens'", "external link"}, [&](hid_t file) {
    H5Ldelete(file, "train/tokens", H5P_DEFAULT);
    H5Lcreate_external(other.c_str(), "/train/tokens", file, "train/tokens", H5P_DEFAULT,
                       H5P_DEFAULT);
  });
  with({"group 'train'", "external link"}, [&](hid_t file) {
    H5Ldelete(file, "train", H5P_DEFAULT);
    H5Lcreate_external(other.c_str(), "/train", file, "train", H5P_DEFAULT, H5P_DEFAULT);
  });
  with({"'train/tokens'", "soft"}, [&](hid_t file) {
    H5Lmove(file, "train/tokens", file, "train/elsewhere", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/train/elsewhere", file, "train/tokens", H5P_DEFAULT, H5P_DEFAULT);
  });
  with({"'train/tokens'", "other files"}, [&](hid_t file) {
    replace(file, "train/tokens", u16, {1025}, [&](hid_t creation) {
      H5Pset_external(creation, (test_folder() + "/raw.bin").c_str(), 0, 4096);
    });
  });
  with({"'train/tokens'", "refused"}, [&](hid_t file) {
    replace(file, "train/tokens", u16, {1025}, [&](hid_t creation) {
      const hsize_t size = 1025;
      const Hdf5Id space(H5Screate_simple(1, &size, nullptr), H5Sclose);
      H5Pset_virtual(creation, space, other.c_str(), "/train/tokens", space);
    });
  });
  with({"'train/tokens'", "refused"}, [&](hid_t file) {
    replace(file, "train/tokens", u16, {1025}, [&](hid_t creation) {
      const hsize_t chunk = 128;
      H5Pset_chunk(creation, 1, &chunk);
      H5Pset_deflate(creation, 6);
    });
  });
  with({"'train/tokens'", "missing"},
       [&](hid_t file) { H5Ldelete(file, "train/tokens", H5P_DEFAULT); });
  with({"'train/block_checksums'", "missing"},
       [&](hid_t file) { H5Ldelete(file, "train/block_checksums", H5P_DEFAULT); });
  with({"train", "validation"}, [&](hid_t file) {
    H5Ldelete(file, "train", H5P_DEFAULT);
    H5Ldelete(file, "validation", H5P_DEFAULT);
  });
}

TEST(Corpus, RefusesAHeaderThatDoesNotFit) {
  const std::string path = good_corpus(), bytes = read_bytes(path);
  const auto with = [&](const char* name, int64_t value, const std::vector<std::string>& parts) {
    write_bytes(path, bytes);
    edit(path, [&](hid_t file) {
      H5Adelete(file, name);
      hdf5_set_attribute(file, name, value, path);
    });
    expect_refused(path, parts);
  };
  with("format_version", 2, {"format version", "got 2"});
  with("block_tokens", 64, {"block_tokens"});
  with("vocab_size", 256, {"end_of_document 256"});
  with("vocab_size", -5, {"vocab_size -5"});
  with("vocab_size", 70000, {"'train/tokens'", "wrong type"});
  with("vocab_size", 300, {"content_hash"});
  with("tokenizer", 1, {"'tokenizer'", "text"});
  write_bytes(path, bytes);
  edit(path, [&](hid_t file) { H5Adelete(file, "vocab_size"); });
  expect_refused(path, {"no attribute 'vocab_size'"});
}

// A file made with all checksums right, by someone else's faulty program.
TEST(Corpus, RefusesTokensOutsideTheVocabulary) {
  const std::string path = good_corpus();
  CorpusInfo info;
  BlockChecksums checksums;
  on_hdf5_thread([&] {
    const OpenCorpus good = open_corpus(path);
    info = good.info;
    checksums = good.checksums;
  });
  edit(path, [&](hid_t file) {
    std::vector<uint16_t> tokens(1025, 65);
    tokens[700] = 257;
    const uint64_t sum = xxh3_64(tokens.data(), tokens.size() * 2);
    const Hdf5Id data(H5Dopen2(file, "train/tokens", H5P_DEFAULT), H5Dclose);
    const Hdf5Id sums(H5Dopen2(file, "train/block_checksums", H5P_DEFAULT), H5Dclose);
    hdf5_write(data, H5T_NATIVE_UINT16, 0, 1025, tokens.data(), path);
    hdf5_write(sums, H5T_NATIVE_UINT64, 0, 1, &sum, path);
    checksums[0] = {sum};
    H5Adelete(file, "content_hash");
    hdf5_set_attribute(file, "content_hash", content_hash(info, checksums), path);
  });
  const auto corpus = Corpus::open(path, Split::kTrain);
  std::vector<int32_t> tokens(2);
  expect_error(ErrorKind::kData, {path, "'train/tokens', block 0", "token 700", "got 257"},
               [&] { corpus->read(0, tokens); });
}

TEST(Hdf5Thread, PassesErrorsOnAndNests) {
  expect_error(ErrorKind::kData, {"from inside"},
               [] { on_hdf5_thread([] { throw_error(ErrorKind::kData, "from inside"); }); });
  int depth = 0;
  on_hdf5_thread([&] { on_hdf5_thread([&] { ++depth; }); });
  EXPECT_EQ(depth, 1);
}

}  // namespace
}  // namespace orthant
