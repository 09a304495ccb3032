// SPDX-License-Identifier: Apache-2.0
#include "base/context.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/processors.h"

namespace orthant {
namespace {

thread_local RankContext* installed = nullptr;

RankContext& process_context() {
  static RankContext context{.num_threads = default_num_threads()};
  return context;
}

}  // namespace

RankContext& context() { return installed ? *installed : process_context(); }

ContextScope::ContextScope(RankContext& context) : previous_(installed) { installed = &context; }
ContextScope::~ContextScope() { installed = previous_; }

int default_num_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const int wanted = std::atoi(text);
    if (wanted > 0) return wanted;
  }
  return processors().usable();
}

bool failpoint(const char* site, int64_t step) {
  const RankContext& rank = context();
  if (rank.failpoint.empty()) return false;
  std::istringstream spec(rank.failpoint);
  std::string field;
  std::getline(spec, field, ':');
  if (field != site) return false;
  while (std::getline(spec, field, ':')) {
    if (field.starts_with("rank=")) {
      if (std::atoi(field.c_str() + 5) != rank.rank) return false;
    } else if (field.starts_with("step=")) {
      if (std::atoll(field.c_str() + 5) != step) return false;
    } else if (field == "kill9") {
      kill(getpid(), SIGKILL);
    } else if (field == "stop") {
      kill(getpid(), SIGSTOP);
    } else if (field == "throw") {
      throw Error(ErrorKind::kInternal, concat("fail point ", rank.failpoint));
    } else if (field.starts_with("sleep=")) {
      std::this_thread::sleep_for(std::chrono::milliseconds(std::atoi(field.c_str() + 6)));
    } else if (field == "nan") {
      return true;
    }
  }
  return false;
}

}  // namespace orthant
