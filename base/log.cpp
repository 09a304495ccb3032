// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <mutex>

#include "base/context.h"

namespace orthant::log {
namespace {

struct State {
  std::mutex mutex;
  std::shared_ptr<spdlog::logger> console;
  std::shared_ptr<spdlog::logger> file;
  bool quiet = false;
  void (*before)() = nullptr;
  void (*after)() = nullptr;
};

State& state() {
  static State* state = [] {
    auto* made = new State;  // never destroyed: other threads may log while the process ends
    made->console =
        std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->console->set_pattern("%v");
    return made;
  }();
  return *state;
}

const char* prefix(Level level) {
  switch (level) {
    case Level::kWarn:
      return "warning: ";
    case Level::kError:
      return "error: ";
    default:
      return "";
  }
}

}  // namespace

void write(Level level, bool every_rank, const std::string& line) {
  const RankContext& rank = context();
  const bool print = every_rank || rank.rank == 0;
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const bool label = every_rank && rank.world_size > 1;
  const std::string text =
      concat(label ? concat("[", rank.label, "] ") : std::string(), prefix(level), line);
  if (s.file) {
    s.file->info("{}", text);
    s.file->flush();
  }
  if (!print || (s.quiet && level == Level::kInfo)) return;
  if (s.before) s.before();
  s.console->info("{}", text);
  s.console->flush();
  if (s.after) s.after();
}

void open_file(const std::string& path) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.file = std::make_shared<spdlog::logger>(
      "file", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
  s.file->set_pattern("%Y-%m-%d %H:%M:%S.%e %v");
}

void set_quiet(bool quiet) { state().quiet = quiet; }

void set_console_hooks(void (*before)(), void (*after)()) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.before = before;
  s.after = after;
}

}  // namespace orthant::log
