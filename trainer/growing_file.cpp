// SPDX-License-Identifier: Apache-2.0
#include "trainer/growing_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/durable_file.h"
#include "base/error.h"
#include "checkpoint/file_io.h"
#include "checkpoint/json_strict.h"

namespace orthant {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxJournalBytes = int64_t{1} << 30;

}  // namespace

GrowingFile::GrowingFile(const std::string& path, std::string work)
    : path_(path), place_(output_place(path).path), work_(std::move(work)) {
  if (!output_place(path).is_replaced) {
    straight_.emplace(path);
    return;
  }
  try {
    open_partial();
  } catch (...) {
    close_files();
    throw;
  }
}

GrowingFile::~GrowingFile() {
  // Where nothing is finished there is nothing to go on with.
  if (fd_ >= 0 && done_.parts == 0) {
    unlink(partial().c_str());
    unlink(journal().c_str());
  }
  close_files();
}

void GrowingFile::close_files() {
  for (int* fd : {&fd_, &journal_fd_}) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
  }
}

void GrowingFile::open_partial() {
  fd_ = open(partial().c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (fd_ < 0) throw_cannot_write(path_, "write", errno);
  // A file system without locks has none that is held.
  const bool is_held = flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  struct stat ours {
  }, named{};
  const bool is_there =
      fstat(fd_, &ours) == 0 && stat(partial().c_str(), &named) == 0 && ours.st_ino == named.st_ino;
  ORTHANT_CHECK(!is_held && is_there, kCannotWrite, path_, ": another process is writing it");
  if (ours.st_size == 0) unlink(journal().c_str());
  journal_fd_ = open(journal().c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (journal_fd_ < 0) throw_cannot_write(path_, "write", errno);
  read_journal();
  ORTHANT_CHECK(ours.st_size >= bytes_, kData, partial(), ": want ", bytes_, " bytes, as ",
                journal(), " says, got ", ours.st_size, "; remove both to begin again");
  cut(fd_, bytes_);
}

// Up to its last whole line.
void GrowingFile::read_journal() {
  const std::string path = journal();
  std::string text = read_text_file(path, kMaxJournalBytes);
  text.resize(text.find_last_of('\n') + 1);
  cut(journal_fd_, std::ssize(text));
  if (text.empty()) return append(journal_fd_, Json{{"work", work_}}.dump() + "\n");
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  const std::string work = json_string(json_member(parse_json(line, path), "work", path), path);
  while (std::getline(lines, line)) {
    const nlohmann::json state = parse_json(line, path);
    const auto count = [&](const char* key) {
      return json_count(json_member(state, key, path), path);
    };
    done_ = {.parts = count("parts"),
             .checksum = json_string(json_member(state, "checksum", path), path),
             .texts = count("texts")};
    bytes_ = count("bytes");
  }
  ORTHANT_CHECK(work == work_, kCannotWrite, path_, ": ", partial(), " holds ", done_.texts,
                " texts of other work: the model, the options or the layout were others; give the "
                "command that began it once more, or remove ",
                partial(), " and ", path, " to begin again");
}

void GrowingFile::cut(int fd, int64_t bytes) const {
  if (ftruncate(fd, bytes) != 0 || lseek(fd, bytes, SEEK_SET) != bytes)
    throw_cannot_write(path_, "write", errno);
}

void GrowingFile::append(int fd, const std::string& text) const {
  if (const int error = write_all(fd, text)) throw_cannot_write(path_, "write", error);
  if (fdatasync(fd) != 0) throw_cannot_write(path_, "write", errno);
}

void GrowingFile::add(const std::string& text, const WorkDone& done) {
  if (straight_) return straight_->write(text);
  append(fd_, text);
  bytes_ += static_cast<int64_t>(text.size());
  const Json state = {
      {"parts", done.parts}, {"texts", done.texts}, {"checksum", done.checksum}, {"bytes", bytes_}};
  append(journal_fd_, state.dump() + "\n");
  done_ = done;
}

void GrowingFile::commit() {
  if (straight_) return straight_->commit();
  if (rename(partial().c_str(), place_.c_str()) != 0) throw_cannot_write(path_, "write", errno);
  close_files();
  unlink(journal().c_str());
  sync_folder(folder_of(place_));
}

}  // namespace orthant
