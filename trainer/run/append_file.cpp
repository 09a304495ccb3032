// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/log.h"

namespace orthant {

AppendFile::AppendFile(std::string path) : path_(std::move(path)) {
  fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  ORTHANT_CHECK(fd_ >= 0, kCannotWrite, path_, ": cannot write: ", std::strerror(errno));
}

AppendFile::~AppendFile() { close(fd_); }

void AppendFile::append(std::string_view record, const std::string& what) {
  const off_t size_before = lseek(fd_, 0, SEEK_END);
  size_t done = 0;
  int error = 0;
  while (done < record.size() && error == 0) {
    const ssize_t wrote = ::write(fd_, record.data() + done, record.size() - done);
    if (wrote >= 0) {
      done += static_cast<size_t>(wrote);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (error == 0) return;
  const bool torn = done > 0 && size_before >= 0;
  const bool mended = !torn || ftruncate(fd_, size_before) == 0;
  if (warned_) return;
  warned_ = true;
  log::warn(path_, ": cannot write: ", std::strerror(error), "; training goes on, ", what,
            " and what follows may be missing", mended ? "" : ", and that record is torn");
}

}  // namespace orthant
