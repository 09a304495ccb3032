// SPDX-License-Identifier: Apache-2.0
#include "launch/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "launch/mpirun_filter.h"
#include "launch/processes.h"

namespace orthant {
namespace {

// Between two looks at the ranks.
constexpr int kTickMilliseconds = 200;
// mpirun cleans up behind the ranks, and may hang at that for good.
constexpr double kGraceSeconds = 5, kGraceOfTheKilledSeconds = 2;

// The file of that name in the folders of PATH; "" where there is none.
std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = concat(folder.empty() ? "." : folder, "/", name);
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

void set_environment() {
  constexpr bool kReplace = true;
  if (geteuid() == 0) {
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", kReplace);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", kReplace);
  }
  if (find_program("ssh").empty()) setenv("OMPI_MCA_plm", "isolated", kReplace);
  // Containers often forbid reading another process's memory; Open MPI then copies through shared
  // memory.
  setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", !kReplace);
}

int code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

class Job {
 public:
  int run(std::vector<std::string> command);

 private:
  void take_signals();
  void start(std::vector<std::string> command);
  [[noreturn]] void become_mpirun(std::vector<std::string> command, int errors);
  void read_signals();
  void reap();
  void pass_errors();
  void tick();
  int signal_ranks(int number) const;
  void end_orphans();
  int exit_code() const;

  sigset_t signals_before_ = {};
  int signals_ = -1, errors_ = -1;  // files
  MpirunFilter filter_;
  pid_t mpirun_ = 0;
  bool mpirun_has_ended_ = false;
  int code_ = 0;  // mpirun's
  int last_signal_ = 0;
  bool is_killed_ = false;          // by a second interrupt
  double quiet_since_seconds_ = 0;  // no rank has been there; 0: none has come yet
};

// From here on they come through a file: a handler might interrupt anything.
void Job::take_signals() {
  sigset_t taken;
  sigemptyset(&taken);
  for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGCHLD}) sigaddset(&taken, number);
  struct sigaction hangup = {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaddset(&taken, SIGHUP);
  signals_ = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
  // Nor shall a terminal that is gone end this process before the ranks.
  sigaddset(&taken, SIGPIPE);
  sigprocmask(SIG_BLOCK, &taken, &signals_before_);
  signal(SIGCHLD, SIG_DFL);
}

void Job::start(std::vector<std::string> command) {
  std::array<int, 2> ends;
  ORTHANT_CHECK(signals_ >= 0 && pipe2(ends.data(), O_CLOEXEC) == 0, kDevice,
                "launch: ", std::strerror(errno));
  errors_ = ends[0];
  fcntl(errors_, F_SETFL, O_NONBLOCK);
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // what mpirun leaves behind becomes a child of this process
  mpirun_ = fork();
  ORTHANT_CHECK(mpirun_ >= 0, kDevice, "launch: mpirun: ", std::strerror(errno));
  if (mpirun_ == 0) become_mpirun(std::move(command), ends[1]);
  close(ends[1]);
}

// In a session of its own, so that Ctrl-C on a terminal comes here alone; its ranks are known by it.
void Job::become_mpirun(std::vector<std::string> command, int errors) {
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, STDIN_FILENO);
  dup2(errors, STDERR_FILENO);
  sigprocmask(SIG_SETMASK, &signals_before_, nullptr);
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  execv(arguments[0], arguments.data());
  _exit(127);
}

void Job::read_signals() {
  signalfd_siginfo info;
  while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
    const int number = static_cast<int>(info.ssi_signo);
    if (number == SIGCHLD) continue;  // reap() looks
    if (last_signal_ != 0 && number == SIGINT) {
      is_killed_ = true;
      quiet_since_seconds_ = now_seconds();
    }
    last_signal_ = number;
  }
}

void Job::reap() {
  int status = 0;
  for (pid_t id = waitpid(-1, &status, WNOHANG); id > 0; id = waitpid(-1, &status, WNOHANG)) {
    if (id != mpirun_) continue;
    mpirun_has_ended_ = true;
    code_ = code_of(status);
  }
}

void Job::pass_errors() {
  const auto show = [](const std::string& text) {
    for (size_t done = 0; done < text.size();) {
      const ssize_t size = write(STDERR_FILENO, text.data() + done, text.size() - done);
      if (size < 0 && errno != EINTR) return;  // nobody reads; mpirun shall not notice
      if (size > 0) done += static_cast<size_t>(size);
    }
  };
  std::array<char, 65536> bytes;
  ssize_t size = read(errors_, bytes.data(), bytes.size());
  if (size <= 0) show(filter_.release());
  for (; size > 0; size = read(errors_, bytes.data(), bytes.size()))
    show(filter_.pass({bytes.data(), static_cast<size_t>(size)}));
}

// To all that mpirun started here, which is the rest of its session; returns how many there are.
// Not to mpirun: what comes too early is lost in it, and what comes while it ends makes it crash.
// Ranks on other hosts hear of a stop from those here, and mpirun cleans up behind the killed.
int Job::signal_ranks(int number) const {
  int count = 0;
  for (const Process& p : all_processes()) {
    if (p.session != mpirun_ || p.id == mpirun_ || p.is_zombie) continue;
    ++count;
    if (p.name != "ssh") kill(p.id, number);
  }
  return count;
}

// Signals are sent again each time, for ranks that start late.
void Job::tick() {
  const double now = now_seconds();
  const bool any = signal_ranks(is_killed_ ? SIGKILL : last_signal_ ? SIGUSR1 : 0) > 0;
  if (any) quiet_since_seconds_ = now;
  const double grace = is_killed_ ? kGraceOfTheKilledSeconds : kGraceSeconds;
  if (quiet_since_seconds_ > 0 && now - quiet_since_seconds_ > grace) kill(mpirun_, SIGKILL);
}

// Those that mpirun left behind; each may leave others.
void Job::end_orphans() {
  for (const double until = now_seconds() + kGraceSeconds; now_seconds() < until;) {
    int children = 0;
    for (const Process& p : all_processes()) {
      if (p.parent != getpid()) continue;
      ++children;
      kill(p.id, SIGKILL);
    }
    if (children == 0) return;
    usleep(1000);
    reap();
  }
}

int Job::exit_code() const {
  const char* name = code_ > 128 ? sigdescr_np(code_ - 128) : nullptr;
  // It was on its way through here: as if it had ended this.
  if (name && last_signal_) return 128 + last_signal_;
  // Of a rank that dies before all have started mpirun often says nothing, nor can it of itself.
  if (name && !filter_.mpirun_spoke())
    log::error("launch: exit code ", code_, ": a rank, or mpirun itself, ended by signal ",
               code_ - 128, " (", name, ")");
  return code_;
}

int Job::run(std::vector<std::string> command) {
  take_signals();
  start(std::move(command));
  for (double next_seconds = 0; !mpirun_has_ended_;) {
    std::array<pollfd, 2> files = {pollfd{signals_, POLLIN, 0}, pollfd{errors_, POLLIN, 0}};
    poll(files.data(), files.size(), kTickMilliseconds);
    read_signals();
    pass_errors();
    reap();
    if (files[0].revents == 0 && now_seconds() < next_seconds) continue;
    if (!mpirun_has_ended_) tick();
    next_seconds = now_seconds() + 1e-3 * kTickMilliseconds;
  }
  end_orphans();
  pass_errors();
  pass_errors();
  return exit_code();
}

}  // namespace

int launch_ranks(int ranks, const std::string& program, const std::vector<std::string>& arguments) {
  const std::string mpirun = find_program("mpirun");
  ORTHANT_CHECK(!mpirun.empty(), kDevice,
                "launch: no mpirun in PATH; install Open MPI (Debian, Ubuntu: openmpi-bin)");
  set_environment();
  std::vector<std::string> command = {mpirun, "--oversubscribe",     "--bind-to", "none",
                                      "-n",   std::to_string(ranks), program};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return Job().run(std::move(command));
}

}  // namespace orthant
