// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/commit.h"

#include "base/context.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "checkpoint/reader.h"

namespace orthant {
namespace {

// Every shard is where this rank can see it.
void check_shards(const std::string& path, const Manifest& manifest) {
  for (const ManifestFile& file : manifest.files) {
    const std::string shard = path + "/" + file.name;
    ORTHANT_CHECK(path_exists(shard), kCannotWrite, shard,
                  ": its rank wrote it, rank 0 cannot see it: run.dir must be on a file system "
                  "that all hosts share");
    const int64_t bytes = InputFile(shard).bytes();
    ORTHANT_CHECK(bytes == file.bytes, kCannotWrite, shard, ": its rank wrote ", file.bytes,
                  " bytes, rank 0 sees ", bytes);
  }
}

// Network file systems may report an error for a rename that was done.
bool is_in_place(const std::string& target, const std::string& text) {
  try {
    return read_text_file(target + "/" + kManifestName, kMaxManifestBytes) == text;
  } catch (const Error&) {
    return false;
  }
}

void rename_into_place(const CommitJob& job, const std::string& text) {
  const int64_t step = job.manifest.step;
  const std::string from = job.directory + "/" + temporary_name(step, job.id);
  const std::string to = job.directory + "/" + step_name(step);
  try {
    move_directory(from, to, job.directory + "/tmp-gc-" + step_name(step) + "-" + job.id);
  } catch (const Error&) {
    if (!is_in_place(to, text)) throw;
  }
}

// A manifest that can be read and files of the right size.
bool looks_complete(const std::string& path) {
  try {
    const Manifest manifest = read_manifest(path);
    for (const ManifestFile& file : manifest.files) {
      if (InputFile(path + "/" + file.name).bytes() != file.bytes) return false;
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

// Keeps the newest `keep` complete checkpoints up to this step, and damaged ones among them.
void remove_old(const CommitJob& job) {
  const std::vector<int64_t> steps = list_steps(job.directory);
  int64_t kept = 0;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (*step > job.manifest.step || *step == job.kept_step) continue;
    const std::string path = job.directory + "/" + step_name(*step);
    if (kept < job.keep) {
      if (looks_complete(path)) ++kept;
      continue;
    }
    // First out of sight in one move: a half removed checkpoint never bears a checkpoint's name.
    const std::string doomed = concat(job.directory, "/tmp-gc-", step_name(*step), "-", job.id);
    move_directory(path, doomed, "");
    failpoint("checkpoint.mid_gc", job.manifest.step);
    remove_tree(doomed);
  }
}

std::string newer_steps_text(const CommitJob& job) {
  const std::vector<int64_t> steps = list_steps(job.directory);
  if (steps.empty() || steps.back() <= job.manifest.step) return "";
  return concat("checkpoint ", step_name(steps.back()), " in ", job.directory,
                " is newer than the one just written, and a resume would try it first\n");
}

}  // namespace

void remove_temporaries(const std::string& directory) {
  for (const std::string& name : list_directory(directory)) {
    if (is_temporary_name(name)) remove_tree(directory + "/" + name);
  }
}

std::string commit_checkpoint(const CommitJob& job) {
  const int64_t step = job.manifest.step;
  const std::string temporary = job.directory + "/" + temporary_name(step, job.id);
  check_shards(temporary, job.manifest);
  failpoint("checkpoint.before_manifest", step);
  const std::string text = manifest_text(job.manifest);
  write_text_file(temporary + "/" + kManifestName, text);
  sync_folder(temporary);
  failpoint("checkpoint.after_manifest", step);
  rename_into_place(job, text);
  try {
    sync_folder(job.directory);
    failpoint("checkpoint.after_rename", step);
    replace_file(job.directory + "/" + kLatestName, step_name(step) + "\n");
    failpoint("checkpoint.after_latest", step);
    remove_old(job);
    remove_temporaries(job.directory);
    return newer_steps_text(job);
  } catch (const std::exception& error) {
    return concat("after checkpoint ", step_name(step), " was complete: ", error.what(),
                  "; older checkpoints stay until the next save\n");
  }
}

}  // namespace orthant
