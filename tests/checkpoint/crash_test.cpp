// SPDX-License-Identifier: Apache-2.0
// A job that dies, or has no room, anywhere in a save leaves the old checkpoint or the new one.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "base/context.h"
#include "base/log.h"
#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/checkpoint/checkpoint_testing.h"

namespace orthant {
namespace {

using namespace testing;

const TensorSpec kWeight{"w", {64, 33}, DType::kF32};

std::vector<CheckpointTensor> tensors_of(const Group& world, int64_t step) {
  return {make_tensor(kWeight, part_of(kWeight.shape, 0, world.rank(), world.size()),
                      static_cast<uint64_t>(step))};
}

void save_steps(const std::string& folder, std::vector<int64_t> steps,
                const std::string& failpoint = "") {
  run_ranks(2, [&](const Group& world) {
    context().failpoint = failpoint;
    CheckpointWriter writer(world, folder, {});
    for (const int64_t step : steps) {
      writer.save(step, tensors_of(world, step), {});
      writer.finish();
    }
  });
}

// A folder with steps 1 and 2, made once.
void copy_two_steps(const std::string& folder) {
  static const TemporaryFolder* made = [] {
    static const TemporaryFolder once;
    save_steps(once.path(), {1, 2});
    return &once;
  }();
  std::filesystem::copy(made->path(), folder, std::filesystem::copy_options::recursive);
}

// Runs `body` in a child process; its wait status.
int in_child(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    try {
      body();
    } catch (const Error& error) {
      log::error(error.what());
      _exit(error.exit_code());
    }
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

int64_t newest_intact(const std::string& folder) {
  const auto manifest = find_newest_valid(Group::self(), folder);
  if (!manifest) return -1;
  const std::vector<CheckpointTensor> wanted = {blank(kWeight, whole_slice(kWeight.shape))};
  load_tensors(Group::self(), *manifest, wanted);
  EXPECT_TRUE(holds_pattern(wanted[0], static_cast<uint64_t>(manifest->step)));
  return manifest->step;
}

bool has_leftovers(const std::string& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("tmp-")) return true;
  }
  return false;
}

struct Site {
  const char* name;
  bool is_new;  // the new checkpoint exists from here on
};
constexpr Site kSites[] = {
    {"before_write", false}, {"mid_shard", false},       {"before_fsync", false},
    {"before_vote", false},  {"before_manifest", false}, {"after_manifest", false},
    {"after_rename", true},  {"after_latest", true},     {"mid_gc", true}};

TEST(CheckpointCrash, LeavesTheOldOrTheNewOneWhereverARankIsKilled) {
  for (const Site& site : kSites) {
    for (int rank = 0; rank < 2; ++rank) {
      const bool commit = std::string(site.name).find("manifest") != std::string::npos ||
                          site.is_new;  // rank 0's work alone
      if (commit && rank == 1) continue;
      SCOPED_TRACE(concat(site.name, " rank ", rank));
      const TemporaryFolder folder;
      copy_two_steps(folder.path());
      const int status = in_child([&] {
        save_steps(folder.path(), {3},
                   concat("checkpoint.", site.name, ":rank=", rank, ":step=3:kill9"));
      });
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
      EXPECT_EQ(newest_intact(folder.path()), site.is_new ? 3 : 2);
      const bool complete =
          std::string(site.name) == "after_rename" || std::string(site.name) == "after_latest";
      if (std::string(site.name) != "before_write") {
        EXPECT_EQ(has_leftovers(folder.path()), !complete);
      }
      save_steps(folder.path(), {4});
      EXPECT_EQ(newest_intact(folder.path()), 4);
      EXPECT_FALSE(has_leftovers(folder.path()));
    }
  }
}

TEST(CheckpointCrash, AFailureOnOneRankFailsTheSaveOnAll) {
  for (const Site& site : kSites) {
    SCOPED_TRACE(site.name);
    const TemporaryFolder folder;
    copy_two_steps(folder.path());
    run_ranks(2, [&](const Group& world) {
      CheckpointWriter writer(world, folder.path(), {});
      if (world.rank() == 0) {
        context().failpoint = concat("checkpoint.", site.name, ":rank=0:step=3:throw");
      }
      writer.save(3, tensors_of(world, 3), {});
      EXPECT_EQ(writer.finish(), site.is_new);
      EXPECT_EQ(writer.failures_in_a_row(), site.is_new ? 0 : 1);
      writer.save(4, tensors_of(world, 4), {});
      EXPECT_TRUE(writer.finish());
      EXPECT_EQ(writer.failures_in_a_row(), 0);
    });
    EXPECT_EQ(newest_intact(folder.path()), 4);
    EXPECT_FALSE(has_leftovers(folder.path()));
  }
}

TEST(CheckpointCrash, GivesUpAfterThreeFailuresInARow) {
  const TemporaryFolder folder;
  save_steps(folder.path(), {1});
  run_ranks(2, [&](const Group& world) {
    if (world.rank() == 1) context().failpoint = "checkpoint.mid_shard:rank=1:throw";
    CheckpointWriter writer(world, folder.path(), {});
    for (const int64_t step : {2, 3}) {
      writer.save(step, tensors_of(world, step), {});
      EXPECT_FALSE(writer.finish());
      EXPECT_EQ(newest_intact(folder.path()), 1);
    }
    writer.save(4, tensors_of(world, 4), {});
    const std::string text = error_text(ErrorKind::kCannotWrite, [&] { writer.finish(); });
    EXPECT_CONTAINS(text, "rank 1: ");
    EXPECT_CONTAINS(text, "failure 3 of 3");
  });
  EXPECT_FALSE(has_leftovers(folder.path()));
}

TEST(CheckpointCrash, AFullDiskFailsTheSaveAndKeepsTheOldOne) {
  const TemporaryFolder folder;
  save_steps(folder.path(), {1});
  const int status = in_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    run_ranks(2, [&](const Group& world) {
      CheckpointWriter writer(world, folder.path(), {});
      const rlimit tight{2000, RLIM_INFINITY}, wide{RLIM_INFINITY, RLIM_INFINITY};
      world.barrier();
      setrlimit(RLIMIT_FSIZE, &tight);
      world.barrier();
      writer.save(2, tensors_of(world, 2), {});
      const bool saved = writer.finish();
      setrlimit(RLIMIT_FSIZE, &wide);
      world.barrier();
      ORTHANT_CHECK(!saved && newest_intact(folder.path()) == 1, kInternal, "saved without room");
      ORTHANT_CHECK(!has_leftovers(folder.path()), kInternal, "leftovers");
      writer.save(3, tensors_of(world, 3), {});
      ORTHANT_CHECK(writer.finish(), kInternal, "not saved with room");
    });
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(newest_intact(folder.path()), 3);
}

TEST(CheckpointCrash, RefusesADirectoryThatCannotBeWritten) {
  const TemporaryFolder folder;
  write_bytes(folder / "file", "x");
  run_ranks(2, [&](const Group& world) {
    EXPECT_CONTAINS(error_text(ErrorKind::kCannotWrite,
                               [&] { CheckpointWriter(world, folder / "file/checkpoints", {}); }),
                    "file/checkpoints");
  });
}

TEST(CheckpointCrash, AWriterThatIsLeftInTheMiddleEndsQuietly) {
  const TemporaryFolder folder;
  context().failpoint = "checkpoint.before_fsync:sleep=20";
  {
    CheckpointWriter writer(Group::self(), folder.path(), {});
    writer.save(1, tensors_of(Group::self(), 1), {});
  }
  context().failpoint = "";
  EXPECT_TRUE(has_leftovers(folder.path()));
  EXPECT_EQ(newest_intact(folder.path()), -1);
  CheckpointWriter writer(Group::self(), folder.path(), {});
  EXPECT_FALSE(has_leftovers(folder.path()));
}

}  // namespace
}  // namespace orthant
