// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "base/clock.h"
#include "base/context.h"
#include "base/log.h"

namespace orthant {
namespace {

template <class... Values>
std::string format(const char* pattern, Values... values) {
  std::array<char, 128> buffer;
  std::snprintf(buffer.data(), buffer.size(), pattern, values...);
  return buffer.data();
}

// "3.0e-4" rather than "3.0e-04".
std::string short_exponent(double value) {
  std::string text = format("%.1e", value);
  const size_t digits = text.find('e') + 2;
  if (digits < text.size() - 1 && text[digits] == '0') text.erase(digits, 1);
  return text;
}

std::string compact_bytes(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (value >= 1024.0 * 1024 * 1024) return format("%.1fGiB", value / (1024.0 * 1024 * 1024));
  return format("%.0fMiB", value / (1024.0 * 1024));
}

std::string flops_text(double tflops) {
  if (tflops >= 100) return format("TFLOP/s %.0f", tflops);
  if (tflops >= 0.1) return format("TFLOP/s %.*f", tflops >= 10 ? 1 : 2, tflops);
  return format("GFLOP/s %.2f", tflops * 1e3);
}

// The one bar of this process.  `mutex` is taken by whoever writes to the terminal: the training
// thread for a redraw, or a logging thread from before its line until after it.
struct Bar {
  std::mutex mutex;
  std::string text;  // empty: not shown
};
Bar& bar() {
  static Bar* bar = new Bar;  // never destroyed: other threads may log while the process ends
  return *bar;
}

void put(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}
constexpr const char* kClearLine = "\r\x1b[K";

void before_log_line() {
  bar().mutex.lock();
  if (!bar().text.empty()) put(kClearLine);
}
void after_log_line() {
  if (!bar().text.empty()) put(bar().text);
  bar().mutex.unlock();
}

void draw(const std::string& text) {
  const std::lock_guard lock(bar().mutex);
  bar().text = text;
  put(kClearLine + text);
}

int terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

bool terminal_wants_bar() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool dumb = term && std::string_view(term) == "dumb";
  return isatty(STDERR_FILENO) && !(no_color && *no_color) && !dumb;
}

}  // namespace

std::string with_thousands(int64_t value) {
  std::string text = std::to_string(value);
  const size_t first = text[0] == '-' ? 1 : 0;
  for (size_t at = text.size(); at > first + 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

std::string counted(int64_t number, const char* noun) {
  return concat(with_thousands(number), " ", noun, number == 1 ? "" : "s");
}

std::string clock_text(double seconds) {
  constexpr double kLongest = 1e9;  // 30 years: nothing that is worth a number
  if (!(seconds >= 0) || seconds > kLongest) return "-:--:--";
  const long long whole = std::llround(seconds);
  return format("%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string prepare_progress_text(double fraction, double tokens_per_second) {
  const std::string share = concat(static_cast<int>(fraction * 100), "%");
  const int64_t rate = std::llround(tokens_per_second);
  return rate == 0 ? share : concat(share, ", ", with_thousands(rate), " tokens/s");
}

std::string progress_line(const StepMetrics& m, int64_t max_steps, double eta_seconds) {
  std::string line = concat("step ", m.step, "/", max_steps, format(" loss %.3f", m.loss), " lr ",
                            short_exponent(m.learning_rate), format(" gnorm %.2f", m.grad_norm));
  if (has_other_losses(m)) line += format(" lm %.3f", m.lm_loss);
  if (m.validation_loss) line += format(" val %.3f", *m.validation_loss);
  // Through the first pass it would say no more than the step does.
  if (m.epochs && *m.epochs > 1) line += format(" epochs %.2f", *m.epochs);
  if (m.tokens_per_second > 0 && m.tokens_per_second < 1e15) {
    line += concat(" tok/s ", with_thousands(std::llround(m.tokens_per_second)));
  }
  if (m.model_tflops > 0) line += " " + flops_text(m.model_tflops);
  if (m.mfu > 0) line += format(" MFU %.1f%%", m.mfu * 100);
  if (m.expert_load_max_over_mean) line += format(" imbalance %.2f", *m.expert_load_max_over_mean);
  if (m.dropped_fraction && *m.dropped_fraction > 0) {
    line += format(" dropped %.1f%%", *m.dropped_fraction * 100);
  }
  for (const auto& [name, value] : m.extra) line += concat(" ", name, format(" %.4g", value));
  if (m.memory_peak_bytes > 0) line += " mem " + compact_bytes(m.memory_peak_bytes);
  return line + " eta " + clock_text(eta_seconds);
}

std::string progress_bar(const StepMetrics& m, int64_t max_steps, double eta_seconds, int width) {
  const double share =
      max_steps > 0
          ? std::clamp(static_cast<double>(m.step) / static_cast<double>(max_steps), 0.0, 1.0)
          : 0.0;
  const std::string facts =
      concat(format(" %3.0f%%", std::floor(share * 100)), " step ", m.step, "/", max_steps,
             format(" loss %.3f", m.loss), " eta ", clock_text(eta_seconds));
  constexpr int kLeast = 10, kMost = 50;
  const int room = std::min(width - static_cast<int>(facts.size()) - 2, kMost);
  if (room < kLeast) return facts.substr(1, static_cast<size_t>(std::max(width, 0)));
  const auto cells = static_cast<size_t>(room);
  const auto done = static_cast<size_t>(share * room);
  std::string body = std::string(done, '=') + (done < cells ? ">" : "");
  body.resize(cells, ' ');
  return concat("[", body, "]", facts);
}

void StepTimer::add(double seconds, int64_t samples) {
  constexpr size_t kRecent = 31;
  constexpr int kSettling = 3;  // steps whose length says nothing about those to come
  constexpr double kPause = 1.5;
  const auto size = static_cast<double>(std::max<int64_t>(samples, 1));
  recent_.push_back(seconds / size);
  if (recent_.size() > kRecent) recent_.pop_front();
  std::vector<double> sorted(recent_.begin(), recent_.end());
  const auto middle = sorted.begin() + (std::ssize(sorted) - 1) / 2;
  std::nth_element(sorted.begin(), middle, sorted.end());
  typical_ = *middle;
  if (++num_steps_ <= kSettling) return;
  samples_ += size;
  if (seconds > kPause * typical_ * size) pauses_ += seconds - typical_ * size;
}

double StepTimer::remaining(int64_t samples) const {
  if (recent_.empty()) return -1;
  const double pauses = samples_ > 0 ? pauses_ / samples_ : 0.0;
  return (typical_ + pauses) * static_cast<double>(std::max<int64_t>(samples, 0));
}

Progress::Progress(const ProgressOptions& options) : options_(options) {
  owns_bar_ = options.bar && context().rank == 0 && terminal_wants_bar();
  if (owns_bar_) log::set_console_hooks(&before_log_line, &after_log_line);
}

Progress::~Progress() {
  if (!owns_bar_) return;
  log::set_console_hooks(nullptr, nullptr);
  draw("");
}

void Progress::step(const StepMetrics& metrics) {
  const double now = now_seconds();
  const bool first = last_call_ < 0;
  const int64_t samples = options_.samples_after(metrics.step);
  timer_.add(first ? metrics.step_ms / 1e3 : now - last_call_,
             samples - options_.samples_after(metrics.step - 1));
  last_call_ = now;
  const double eta = timer_.remaining(options_.samples_after(options_.max_steps) - samples);
  const bool last = metrics.step == options_.max_steps;
  const int64_t interval = std::max<int64_t>(options_.log_interval, 1);
  const bool line = first || last || metrics.step % interval == 0;
  if (owns_bar_) {
    constexpr double kRedrawSeconds = 0.1;
    if (line || now - last_draw_ > kRedrawSeconds) {
      draw(progress_bar(metrics, options_.max_steps, eta, terminal_width() - 1));
      last_draw_ = now;
    }
  }
  if (line) log::info(progress_line(metrics, options_.max_steps, eta));
}

}  // namespace orthant
