// SPDX-License-Identifier: Apache-2.0
#include "launch/launcher.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "launch/launched_rank.h"
#include "launch/mpirun.h"
#include "launch/mpirun_filter.h"
#include "launch/processes.h"

namespace orthant {
namespace {

// Between two looks at the ranks.
constexpr int kTickMilliseconds = 200;
// mpirun cleans up behind the ranks, and may hang at that for good.
constexpr double kGraceSeconds = 5, kGraceOfTheKilledSeconds = 2;
// A program's line of dashes may begin a paragraph of mpirun's; that comes at once.
constexpr double kParagraphSeconds = 1;

int code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

class Job {
 public:
  Job(int ranks, const RankEnds& ends) : ranks_(ranks), ends_(ends) {}
  int run(std::vector<std::string> command);

 private:
  void take_signals();
  void start(std::vector<std::string> command);
  [[noreturn]] void become_mpirun(std::vector<std::string> command, int errors);
  void read_signals();
  void reap();
  void read_ends();
  bool read_errors();  // whether there was something
  void show_errors();
  void tick();
  void wait_and_look();
  int signal_ranks(int number) const;
  void end_orphans();
  int exit_code() const;

  int ranks_, num_ended_ = 0;
  const RankEnds& ends_;
  sigset_t signals_before_ = {};
  int signals_ = -1, errors_ = -1;  // files
  MpirunFilter filter_;
  std::string shown_;           // what is still to be written to stderr
  double read_at_seconds_ = 0;  // the last time that mpirun wrote something
  double next_tick_seconds_ = 0;
  pid_t self_ = getpid(), mpirun_ = 0;
  std::set<pid_t> strangers_;  // children that this process had before
  std::optional<int> mpirun_status_;
  std::optional<RankEnd> failure_;  // the first rank's that did not end well
  int last_signal_ = 0;
  bool is_killed_ = false;          // by a second interrupt
  bool is_over_ = false;            // the others are ended because of the failure
  double quiet_since_seconds_ = 0;  // no rank has been there; 0: none yet
  double failed_at_seconds_ = 0;
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
  for (const Process& p : all_processes())
    if (p.parent == self_) strangers_.insert(p.id);
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // what mpirun leaves behind becomes a child of this process
  mpirun_ = fork();
  ORTHANT_CHECK(mpirun_ >= 0, kDevice, "launch: mpirun: ", std::strerror(errno));
  if (mpirun_ == 0) become_mpirun(std::move(command), ends[1]);
  close(ends[1]);
  filter_ = MpirunFilter(mpirun_);
}

// In a process group of its own: Ctrl-C on a terminal comes to the launcher alone.  Not in a
// session of its own: where the kernel shares processors out by session, ranks that spin may keep
// others, the launcher too, from running for minutes.
void Job::become_mpirun(std::vector<std::string> command, int errors) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != self_) _exit(1);  // it had gone before
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, STDIN_FILENO);
  dup2(errors, STDERR_FILENO);
  sigprocmask(SIG_SETMASK, &signals_before_, nullptr);
  become(std::move(command));
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
  for (pid_t id = waitpid(-1, &status, WNOHANG); id > 0; id = waitpid(-1, &status, WNOHANG))
    if (id == mpirun_) mpirun_status_ = status;
}

void Job::read_ends() {
  for (auto end = ends_.next(); end; end = ends_.next()) {
    ++num_ended_;
    if (quiet_since_seconds_ == 0) quiet_since_seconds_ = now_seconds();  // it may go unseen
    if (end->status == 0 || failure_) continue;
    failure_ = end;
    failed_at_seconds_ = now_seconds();
  }
}

// Whole pieces that a pipe takes at once: this process must not wait for who reads its errors.
void Job::show_errors() {
  pollfd file = {STDERR_FILENO, POLLOUT, 0};
  poll(&file, 1, -1);  // waits at the end only
  constexpr size_t kPiece = PIPE_BUF;
  const ssize_t size = write(STDERR_FILENO, shown_.data(), std::min(shown_.size(), kPiece));
  if (size < 0 && (errno == EINTR || errno == EAGAIN)) return;
  // Where nobody reads, mpirun shall not notice.
  shown_.erase(0, size < 0 ? shown_.npos : static_cast<size_t>(size));
}

bool Job::read_errors() {
  std::array<char, 65536> bytes;
  const ssize_t size = read(errors_, bytes.data(), bytes.size());
  if (size <= 0) return false;
  shown_ += filter_.pass({bytes.data(), static_cast<size_t>(size)});
  read_at_seconds_ = now_seconds();
  return true;
}

// To all that mpirun started here; returns how many there are.
// Not to mpirun: what comes too early is lost in it, and what comes while it ends makes it crash.
// Ranks on other hosts hear of a stop from those here, and mpirun cleans up behind the killed.
int Job::signal_ranks(int number) const {
  const std::vector<Process> started = living_descendants(mpirun_);
  for (const Process& p : started)
    if (p.name != "ssh") kill(p.id, number);
  return static_cast<int>(started.size());
}

// Signals are sent again each time, for ranks that start late.
void Job::tick() {
  const double now = now_seconds();
  // The others have had time to say what they have to say of it; what has saved ends in its own.
  const bool has_saved = failure_ && WIFEXITED(failure_->status) &&
                         WEXITSTATUS(failure_->status) == static_cast<int>(ErrorKind::kInterrupted);
  if (failure_ && !has_saved && now - failed_at_seconds_ > kGraceSeconds) is_over_ = true;
  const bool kills = is_killed_ || is_over_;
  if (signal_ranks(kills ? SIGKILL : last_signal_ ? SIGUSR1 : 0) > 0) quiet_since_seconds_ = now;
  const double grace = is_killed_ ? kGraceOfTheKilledSeconds : kGraceSeconds;
  if (quiet_since_seconds_ > 0 && now - quiet_since_seconds_ > grace) kill(mpirun_, SIGKILL);
}

// Those that mpirun left behind; each may leave others.
void Job::end_orphans() {
  for (const double until = now_seconds() + kGraceSeconds; now_seconds() < until;) {
    int children = 0;
    for (const Process& p : all_processes()) {
      if (p.parent != self_ || strangers_.contains(p.id)) continue;
      ++children;
      kill(p.id, SIGKILL);
    }
    if (children == 0) return;
    usleep(1000);
    reap();
  }
}

// mpirun's own, where a rank was killed or called MPI_Abort; else that of the first rank.
int Job::exit_code() const {
  if (num_ended_ == ranks_ && !failure_) return 0;  // whatever became of mpirun behind them
  const bool mpirun_died = WIFSIGNALED(*mpirun_status_);
  int code = code_of(*mpirun_status_);
  std::string who = mpirun_died ? "mpirun" : "a rank";
  const bool is_lost = code == 1 && last_signal_;  // what mpirun says of ranks killed as they start
  if (failure_ && (code == 0 || mpirun_died || is_lost || is_over_))
    code = code_of(failure_->status);
  if (failure_ && code == code_of(failure_->status)) who = concat("rank ", failure_->rank);
  const char* name = code > 128 ? sigdescr_np(code - 128) : nullptr;
  if (last_signal_ && (name || code == 1))
    return 128 + last_signal_;  // as if it ended this process
  // Of a rank that dies before all have started mpirun often says nothing, nor can it of itself.
  if (name && !filter_.named_a_death())
    log::error("launch: ", who, " was ended by signal ", code - 128, " (", name, ")");
  return code;
}

void Job::wait_and_look() {
  const bool is_shown = shown_.empty();  // else mpirun's next words can wait
  std::array<pollfd, 3> files = {
      pollfd{signals_, POLLIN, 0}, pollfd{ends_.file(), POLLIN, 0},
      is_shown ? pollfd{errors_, POLLIN, 0} : pollfd{STDERR_FILENO, POLLOUT, 0}};
  poll(files.data(), files.size(), kTickMilliseconds);
  read_signals();
  read_ends();
  reap();
  if (files[2].revents && is_shown) read_errors();
  if (files[2].revents && !is_shown) show_errors();
  if (now_seconds() - read_at_seconds_ > kParagraphSeconds) shown_ += filter_.release();
  const bool is_signalled = files[0].revents != 0;
  if (mpirun_status_ || (!is_signalled && now_seconds() < next_tick_seconds_)) return;
  tick();
  next_tick_seconds_ = now_seconds() + 1e-3 * kTickMilliseconds;
}

int Job::run(std::vector<std::string> command) {
  take_signals();
  start(std::move(command));
  while (!mpirun_status_) wait_and_look();
  end_orphans();
  if (WIFSIGNALED(*mpirun_status_)) remove_session_folder(mpirun_);
  read_ends();
  while (read_errors()) {
  }
  shown_ += filter_.release();
  while (!shown_.empty()) show_errors();
  return exit_code();
}

}  // namespace

int launch_ranks(int ranks, const std::string& program, const std::vector<std::string>& arguments) {
  const std::string file = find_program(program);
  ORTHANT_CHECK(!file.empty(), kMissingInput, "launch: ", program, ": no program of that name");
  const RankEnds ends;
  std::vector<std::string> words = {
      own_program(), "launch", "--as-rank-of", ends.address(), "--program", file, "--"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return Job(ranks, ends).run(mpirun_command(ranks, words));
}

std::string own_program() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

}  // namespace orthant
