// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/reader.h"

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "checkpoint/together.h"
#include "checkpoint/verify.h"

namespace orthant {
namespace {

struct Candidate {
  std::string text, path;
  Manifest manifest;
};

Candidate read_candidate(const std::string& path) {
  Candidate candidate{.path = path};
  const std::string file = path + "/" + kManifestName;
  ORTHANT_CHECK(path_exists(file), kMissingInput, file, ": is missing: ", path,
                " is not a complete checkpoint");
  candidate.text = read_text_file(file, kMaxManifestBytes);
  candidate.manifest = parse_manifest(candidate.text, file);
  candidate.manifest.directory = path;
  return candidate;
}

// Rank 0's walk from the newest checkpoint to the oldest.
class Walk {
 public:
  explicit Walk(const std::string& directory) : directory_(directory) {
    steps_ = list_steps(directory);
  }
  // The text of the next manifest that is right by itself, with the step in front; "" at the end.
  std::string next() {
    while (!steps_.empty()) {
      const int64_t step = steps_.back();
      steps_.pop_back();
      try {
        const Candidate candidate = read_candidate(directory_ + "/" + step_name(step));
        ORTHANT_CHECK(candidate.manifest.step == step, kData, candidate.path,
                      ": the manifest is of step ", candidate.manifest.step);
        check_file_sizes(candidate.manifest);
        return concat(step, "\n", candidate.text);
      } catch (const Error& error) {
        reject(step, error.what());
      }
    }
    return "";
  }
  void reject(int64_t step, const std::string& reason) {
    ++rejected_;
    log::warn("checkpoint ", step_name(step), " is passed over: ", reason);
  }
  int64_t rejected() const { return rejected_; }

 private:
  std::string directory_;
  std::vector<int64_t> steps_;
  int64_t rejected_ = 0;
};

}  // namespace

Manifest read_manifest(const std::string& path) { return read_candidate(path).manifest; }

std::optional<Manifest> find_newest_valid(const Group& world, const std::string& directory) {
  std::optional<Walk> walk;  // on rank 0
  together(world, [&] {
    if (world.rank() == 0) walk.emplace(directory);
  });
  while (true) {
    const std::string found = world.gather_text(walk ? walk->next() : "").front();
    if (found.empty()) break;
    const size_t line = found.find('\n');
    const int64_t step = std::stoll(found.substr(0, line));
    const std::string path = directory + "/" + step_name(step);
    Manifest manifest;
    const auto error = first_error(world, [&] {
      manifest = parse_manifest(found.substr(line + 1), path + "/" + kManifestName);
      manifest.directory = path;
      check_files(manifest, world.rank(), world.size());
    });
    if (!error) {
      if (walk && walk->rejected() > 0) {
        log::warn("going back to ", step_name(step), ", the newest checkpoint in which everything ",
                  "is right");
      }
      return manifest;
    }
    if (walk) walk->reject(step, error->what());
  }
  const std::string rejected =
      world.gather_text(walk ? std::to_string(walk->rejected()) : "").front();
  ORTHANT_CHECK(rejected == "0", kData, directory, ": none of the ", rejected,
                " checkpoints can be used (the warnings above say why); restore one, or move the "
                "directory away to start afresh");
  return std::nullopt;
}

}  // namespace orthant
