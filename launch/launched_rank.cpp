// SPDX-License-Identifier: Apache-2.0
#include "launch/launched_rank.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/log.h"

namespace orthant {
namespace {

constexpr socklen_t kNameBegin = offsetof(sockaddr_un, sun_path) + 1;  // behind a 0: no file

const sockaddr* plain(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

void tell(const std::string& name, const RankEnd& end) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (name.size() > sizeof(address.sun_path) - 1) return;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  while (sendto(file, &end, sizeof(end), 0, plain(address),
                kNameBegin + static_cast<socklen_t>(name.size())) < 0 &&
         errno == EINTR) {
  }
  close(file);
}

// mpirun names the rank and the signal, and ends the others.
void die_of(int number) {
  const rlimit no_core = {0, 0};  // the program has left one
  setrlimit(RLIMIT_CORE, &no_core);
  signal(number, SIG_DFL);
  raise(number);
}

}  // namespace

// The kernel picks a name that is free.
RankEnds::RankEnds() : file_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  socklen_t size = sizeof(address);
  ORTHANT_CHECK(file_ >= 0 && bind(file_, plain(address), sizeof(sa_family_t)) == 0 &&
                    getsockname(file_, reinterpret_cast<sockaddr*>(&address), &size) == 0,
                kDevice, "launch: no socket for the ranks: ", std::strerror(errno));
  address_.assign(address.sun_path + 1, size - kNameBegin);
}

RankEnds::~RankEnds() { close(file_); }

std::optional<RankEnd> RankEnds::next() const {
  RankEnd end;
  if (recv(file_, &end, sizeof(end), 0) != sizeof(end)) return std::nullopt;
  return end;
}

void become(std::vector<std::string> words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execv(pointers[0], pointers.data());
}

void run_as_rank(const std::string& address, const std::string& program,
                 const std::vector<std::string>& arguments) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // nothing outlives mpirun
  const pid_t self = getpid(), child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self) _exit(1);  // it had gone before
    std::vector<std::string> words = {program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    become(words);
    log::error("launch: ", program, ": ", std::strerror(errno));
    _exit(127);
  }
  // What mpirun and the launcher send is for the program.
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT})
    signal(number, SIG_IGN);
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  RankEnd end = {.rank = rank ? std::atoi(rank) : 0, .status = 127 << 8};
  while (child > 0 && waitpid(child, &end.status, 0) < 0 && errno == EINTR) {
  }
  tell(address, end);
  if (WIFSIGNALED(end.status)) die_of(WTERMSIG(end.status));
  _exit(0);
}

}  // namespace orthant
