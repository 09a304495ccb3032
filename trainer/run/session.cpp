// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/session.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "base/clock.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/reader.h"
#include "tensor/cpu/isa.h"
#include "trainer/agree.h"

namespace orthant {
namespace {

// The step of the newest checkpoint that this directory is known to have had; 0: none.
int64_t noted_step(const RunPaths& paths) {
  std::ifstream in(paths.saved_step());
  int64_t step = 0;
  return in >> step ? step : 0;
}

int64_t last_metrics_step(const RunPaths& paths) {
  if (!std::filesystem::exists(paths.metrics())) return 0;
  const std::vector<StepMetrics> steps = read_metrics(paths.metrics());
  return steps.empty() ? 0 : steps.back().step;
}

}  // namespace

RunSession::RunSession(const SessionOptions& options, const Group& world)
    : options_(options), world_(world), paths_{options.dir} {
  first_rank_does(world_, [&] {
    create_run_dir(paths_);
    lock_ = std::make_unique<RunLock>(paths_);
    return std::string();
  });
  check_same_directory();
  log::open_file(paths_.log_file(world_.rank()));
  seconds_before_data_ = now_seconds() - options_.start_seconds;
  manifest_ = find_newest_valid(world_, paths_.checkpoints());
  check_vanished();
}

RunSession::~RunSession() = default;

void RunSession::check_same_directory() const {
  if (world_.size() == 1) return;
  const std::string token = paths_.dir + "/.seen-by-all-ranks";
  first_rank_does(world_, [&] {
    replace_file(token, "");
    return std::string();
  });
  every_rank_does(world_, [&] {
    constexpr double kPatience =
        10;  // of a network file system that looks again only after a while
    const double begin = now_seconds();
    while (!std::filesystem::exists(token)) {
      ORTHANT_CHECK(now_seconds() - begin < kPatience, kCannotWrite, "run.dir: ", paths_.dir,
                    ": this rank does not see what rank 0 wrote there; want one directory that all "
                    "ranks share");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  });
  if (is_first()) std::filesystem::remove(token);
}

void RunSession::check_vanished() const {
  first_rank_does(world_, [&] {
    const int64_t noted = noted_step(paths_), found = manifest_ ? manifest_->step : 0;
    ORTHANT_CHECK(manifest_ || noted == 0, kData, "run.dir: ", paths_.dir,
                  " saved a checkpoint of step ", noted, ", but ", paths_.checkpoints(),
                  " holds none: is it mounted?  Bring them back, or use another run.dir to begin "
                  "again; nothing was changed");
    if (noted > found)
      log::warn("run.dir: ", paths_.dir, " had saved step ", noted,
                ", but the newest checkpoint that can be used is step ", found,
                ": the run goes on from there");
    const int64_t recorded = manifest_ ? 0 : last_metrics_step(paths_);
    if (recorded > 0)
      log::warn("run.dir: ", paths_.dir, " shows ", counted(recorded, "step"),
                " and no checkpoint was saved: the run begins again");
    return std::string();
  });
}

void RunSession::read(const FieldList& state) const {
  if (manifest_) read_state(manifest_->extra, manifest_->directory + "/manifest.json", state);
}

void RunSession::check_same_run() const {
  ORTHANT_CHECK(options_.may_resume, kConfig, "run.dir: ", paths_.dir,
                " holds a checkpoint of step ", manifest_->step,
                ", and run.resume is never; use another run.dir, or run.resume: auto to go on");
  std::string changed;
  for (const std::string& difference : identity_.changes(manifest_->configuration))
    changed += "\n  " + difference;
  if (!changed.empty()) {
    const std::string text =
        concat("run.dir: ", paths_.dir, " holds a checkpoint of step ", manifest_->step,
               " of a run that differs (then -> now):", changed);
    ORTHANT_CHECK(options_.accept_changes, kConfig, text,
                  "\nuse another run.dir, or run.accept_changes: true to go on with the changes");
    log::warn(text);
  }
  const std::string isa(cpu::name_of(cpu::active_isa()));
  const auto written_at = manifest_->extra.find("isa");
  if (written_at != manifest_->extra.end() && written_at->second != isa) {
    log::warn("the checkpoint was written at instruction-set level ", written_at->second,
              ", this job runs at ", isa,
              ": the run goes on, but not with the same bits (ORTHANT_ISA=", written_at->second,
              " keeps them where offered)");
  }
}

void RunSession::resume() {
  check_same_run();
  std::vector<CheckpointTensor> wanted;
  for (const SavedTensors& saved : saved_) {
    std::vector<CheckpointTensor> tensors = saved.tensors();
    std::move(tensors.begin(), tensors.end(), std::back_inserter(wanted));
  }
  load_tensors(world_, *manifest_, wanted, {.unused_prefixes = {}, .verify_files = false});
  for (const SavedTensors& saved : saved_)
    if (saved.loaded) saved.loaded();
  read(identity_.state);
  step_ = saved_step_ = manifest_->step;
  log::info("resuming from step ", step_, " (", manifest_->directory, ")");
}

void RunSession::begin(RunIdentity identity, std::vector<SavedTensors> saved) {
  identity_ = std::move(identity);
  saved_ = std::move(saved);
  writer_ = std::make_unique<CheckpointWriter>(
      world_, paths_.checkpoints(),
      CheckpointWriter::Options{.run_id = options_.name,
                                .keep = options_.keep,
                                .asynchronous = options_.asynchronous,
                                .timeout_seconds = std::max(60.0, options_.timeout_seconds)});
  if (manifest_) resume();
  first_step_ = step_ + 1;
  if (is_first()) {
    replace_file(paths_.config(), identity_.configuration);
    if (manifest_) note_saved();
    metrics_ = std::make_unique<MetricsWriter>(paths_.metrics(), step_);
    if (options_.tensorboard) events_ = std::make_unique<EventFile>(paths_.dir, step_);
  }
}

std::string RunSession::saved_text() const {
  return saved_step_ < 0 ? std::string("no checkpoint was saved")
                         : concat("the newest checkpoint is step ", saved_step_);
}

void RunSession::save(int64_t step) {
  if (saved_step_ == step) return;
  std::vector<CheckpointTensor> all;
  for (const SavedTensors& saved : saved_) {
    std::vector<CheckpointTensor> tensors = saved.tensors();
    std::move(tensors.begin(), tensors.end(), std::back_inserter(all));
  }
  std::map<std::string, std::string> extra = state_texts(identity_.state);
  extra["isa"] = cpu::name_of(cpu::active_isa());
  writer_->save(step, all,
                {.samples = identity_.samples_after(step),
                 .layout = identity_.layout,
                 .configuration = identity_.configuration,
                 .extra = std::move(extra)});
  saved_step_ = step;
}

// So that checkpoints which vanish are missed.  A note that cannot be written is no reason to stop.
void RunSession::note_saved() {
  const int64_t step = std::max(writer_->last_step(), manifest_ ? manifest_->step : 0);
  if (!is_first() || step <= noted_step_) return;
  noted_step_ = step;
  try {
    replace_file(paths_.saved_step(), concat(step, "\n"));
  } catch (const Error& error) {
    log::warn(error.what());
  }
}

void RunSession::remember(int64_t best_step, bool is_done) {
  writer_->keep_step(best_step);
  done_ = is_done;
}

void RunSession::end_step(const StepMetrics& metrics, const StepEnd& end) {
  const bool last = is_last(metrics.step);
  if (!progress_)
    progress_ =
        std::make_unique<Progress>(ProgressOptions{.max_steps = options_.max_steps,
                                                   .log_interval = options_.log_interval,
                                                   .bar = options_.progress_bar,
                                                   .samples_after = identity_.samples_after});
  if (metrics_) metrics_->write(metrics);
  if (events_) events_->write(metrics);
  progress_->step(metrics);
  step_ = metrics.step;
  stopped_ = end.stop;
  done_ = end.is_done;
  writer_->poll();
  note_saved();
  const bool due = options_.save_interval > 0 && step_ % options_.save_interval == 0;
  ORTHANT_CHECK(end.is_good || !last, kNumeric, "the run ended with loss ", metrics.loss,
                " and gradient norm ", metrics.grad_norm,
                "; lower optimizer.learning_rate or look at the data; ", saved_text());
  if (end.is_best) writer_->keep_step(step_);
  if (end.is_good && (last || due || end.stop || end.is_best || end.is_done)) save(step_);
}

bool RunSession::finish() {
  progress_.reset();
  ORTHANT_CHECK(writer_->finish(), kCannotWrite, "the last checkpoint, step ", step_,
                ", could not be written to ", paths_.checkpoints());
  note_saved();
  if (step_ >= options_.max_steps || done_) return true;
  log::info("stopped by a signal after step ", step_,
            "; saved: the same command goes on from there");
  return false;
}

}  // namespace orthant
