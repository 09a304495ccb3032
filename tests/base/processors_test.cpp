// SPDX-License-Identifier: Apache-2.0
#include "base/processors.h"

#include <gtest/gtest.h>

#include <map>

#include "base/context.h"

namespace orthant::testing {
namespace {

using Files = std::map<std::string, std::string>;

double quota(std::string_view groups, const Files& files) {
  return cpu_quota(groups, [&](const std::string& path) {
    const auto found = files.find(path);
    return found == files.end() ? std::string() : found->second;
  });
}

TEST(Processors, QuotaOfVersion2) {
  // Inside a container that sees its own group as the root.
  EXPECT_EQ(quota("0::/\n", {{"/sys/fs/cgroup/cpu.max", "200000 100000\n"}}), 2.0);
  EXPECT_EQ(quota("0::/\n", {{"/sys/fs/cgroup/cpu.max", "max 100000\n"}}), 0.0);
  EXPECT_EQ(quota("0::/\n", {}), 0.0);
  // Of a group and those around it the smallest holds.
  const Files nested = {{"/sys/fs/cgroup/a.slice/cpu.max", "150000 100000\n"},
                        {"/sys/fs/cgroup/a.slice/b.scope/cpu.max", "400000 100000\n"},
                        {"/sys/fs/cgroup/a.slice/b.scope/c/cpu.max", "max 100000\n"},
                        {"/sys/fs/cgroup/other/cpu.max", "1000 100000\n"}};
  EXPECT_EQ(quota("0::/a.slice/b.scope/c\n", nested), 1.5);
  EXPECT_EQ(quota("0::/a.slice/b.scope\n", nested), 1.5);
  EXPECT_EQ(quota("0::/elsewhere\n", nested), 0.0);
  // Outside of the root that is mounted here.
  EXPECT_EQ(quota("0::/../../x\n", {{"/sys/fs/cgroup/cpu.max", "300000 100000\n"}}), 3.0);
}

TEST(Processors, QuotaOfVersion1) {
  const std::string groups = "5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n1:name=systemd:/\n";
  const auto files = [](const std::string& folder, const std::string& quota) {
    return Files{{folder + "/cpu.cfs_quota_us", quota + "\n"},
                 {folder + "/cpu.cfs_period_us", "50000\n"}};
  };
  EXPECT_EQ(quota(groups, files("/sys/fs/cgroup/cpu/docker/1f", "125000")), 2.5);
  EXPECT_EQ(quota(groups, files("/sys/fs/cgroup/cpu,cpuacct", "125000")), 2.5);
  EXPECT_EQ(quota(groups, files("/sys/fs/cgroup/cpu", "-1")), 0.0);
  EXPECT_EQ(quota("3:cpuacct:/\n2:cpuset:/\n", files("/sys/fs/cgroup/cpu", "50000")), 0.0);
  // Both versions mounted: version 1 has the controller.
  EXPECT_EQ(quota("2:cpu:/\n0::/\n", files("/sys/fs/cgroup/cpu", "50000")), 1.0);
}

TEST(Processors, WhatCannotBeReadIsNoLimit) {
  for (const char* groups : {"", "nonsense", "0::", "0::relative", "::", "1:cpu"}) {
    EXPECT_EQ(quota(groups, {{"/sys/fs/cgroup/cpu.max", "100000 100000"}}), 0.0) << groups;
  }
  for (const char* text : {"", "max", "100000", "x y", "100000 0", "-5 100000", "0 100000"}) {
    EXPECT_EQ(quota("0::/", {{"/sys/fs/cgroup/cpu.max", text}}), 0.0) << text;
  }
}

TEST(Processors, AQuotaIsRoundedUpAndNeverZero) {
  const auto usable = [](int allowed, double quota) {
    return Processors{.allowed = allowed, .quota = quota}.usable();
  };
  EXPECT_EQ(usable(8, 0), 8);
  EXPECT_EQ(usable(8, 2.0), 2);
  EXPECT_EQ(usable(8, 2.1), 3);
  EXPECT_EQ(usable(8, 0.05), 1);
  EXPECT_EQ(usable(2, 64), 2);
  EXPECT_EQ(usable(2, 1e12), 2);
}

TEST(Processors, AreThisMachines) {
  const Processors here = processors();
  EXPECT_GE(here.usable(), 1);
  EXPECT_LE(here.usable(), here.allowed);
}

}  // namespace
}  // namespace orthant::testing
