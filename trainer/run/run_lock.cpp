// SPDX-License-Identifier: Apache-2.0
// The lock is flock() on run.lock, which the system drops with the process that holds it; the
// content says who that is.  Where a file system has no flock(), the content alone decides.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

struct Holder {
  std::string host;
  int64_t pid = 0;
  std::string born;   // start of the process in the kernel's ticks: tells a reused number apart
  std::string since;  // for people

  std::string text() const { return concat("process ", pid, " on ", host, " (since ", since, ")"); }
};

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

// Field 22 of /proc/PID/stat; the second field is a name in parentheses that may hold anything.
std::string process_start(int64_t pid) {
  std::ifstream file(concat("/proc/", pid, "/stat"));
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return "";
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int number = 3; number <= 22; ++number) fields >> field;
  return field;
}

std::string time_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  std::array<char, 64> buffer;
  const size_t length = std::strftime(buffer.data(), buffer.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  return std::string(buffer.data(), length);
}

bool is_alive(const Holder& holder) {
  if (holder.pid <= 0) return false;
  if (kill(static_cast<pid_t>(holder.pid), 0) != 0 && errno == ESRCH) return false;
  const std::string born = process_start(holder.pid);
  return born.empty() || holder.born.empty() || born == holder.born;
}

// An empty or damaged file has no holder: pid 0.
Holder read_holder(int fd) {
  std::array<char, 1024> buffer;
  const ssize_t got = pread(fd, buffer.data(), buffer.size(), 0);
  std::istringstream lines(std::string(buffer.data(), got > 0 ? static_cast<size_t>(got) : 0));
  Holder holder;
  std::string key;
  while (lines >> key) {
    if (key == "host") lines >> holder.host;
    if (key == "pid") lines >> holder.pid;
    if (key == "born") lines >> holder.born;
    if (key == "since") lines >> holder.since;
  }
  return holder;
}

void write_holder(int fd, const std::string& path) {
  const std::string text = concat("host ", host_name(), "\npid ", getpid(), "\nborn ",
                                  process_start(getpid()), "\nsince ", time_text(), "\n");
  const bool done = ftruncate(fd, 0) == 0 &&
                    pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
  if (done) return;
  const int error = errno;
  close(fd);
  throw_error(ErrorKind::kCannotWrite, concat(path, ": cannot write: ", std::strerror(error)));
}

enum class Flock { kTaken, kHeld, kUnsupported };

Flock try_flock(int fd) {
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return Flock::kTaken;
  return errno == EWOULDBLOCK || errno == EINTR ? Flock::kHeld : Flock::kUnsupported;
}

}  // namespace

RunLock::RunLock(const RunPaths& paths, double wait_seconds) : path_(paths.lock()) {
  fd_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    throw_error(ErrorKind::kCannotWrite,
                concat(path_, ": cannot open the lock: ", std::strerror(errno)));
  }
  // A process that is just ending gets a moment.
  const double deadline = now_seconds() + wait_seconds;
  Flock result = try_flock(fd_);
  while (result == Flock::kHeld && now_seconds() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    result = try_flock(fd_);
  }
  const Holder holder = read_holder(fd_);
  const bool here = holder.host == host_name();
  const bool held = result == Flock::kHeld || (result == Flock::kUnsupported && holder.pid != 0 &&
                                               (!here || is_alive(holder)));
  if (held) {
    close(fd_);
    const std::string who = holder.pid == 0 ? "another process" : holder.text();
    const std::string hint = result == Flock::kUnsupported && !here
                                 ? concat(", or remove ", path_, " if that run is over")
                                 : "";
    throw_error(ErrorKind::kCannotWrite,
                concat(paths.dir, ": in use by ", who,
                       "; wait for it, stop it, or set another run.dir or run.name", hint));
  }
  if (holder.pid != 0) {
    note_ = concat(paths.dir, ": took over the lock of ", holder.text(), ", which ",
                   here ? "is gone" : "does not hold it any more");
    log::warn(note_);
  }
  write_holder(fd_, path_);
}

RunLock::~RunLock() {
  // Emptied before the lock is dropped, so that the next run finds no holder; never removed, since
  // a run that waits has it open.
  if (ftruncate(fd_, 0) != 0) {
    // The next run will find our number, and that we are gone.
  }
  close(fd_);
}

}  // namespace orthant
