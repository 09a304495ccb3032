// SPDX-License-Identifier: Apache-2.0
#include "base/processors.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

namespace orthant {
namespace {

std::string text_of_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

// "QUOTA PERIOD" in microseconds; "max" or -1 is no limit, and so is what cannot be read.
double parse_quota(const std::string& text) {
  std::istringstream words(text);
  double quota = 0, period = 0;
  if (!(words >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return quota / period;
}

double smaller(double a, double b) { return a == 0 || (b > 0 && b < a) ? b : a; }

bool has_controller(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == name) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// Calls visit(folder) for the group `path` under `mount` and for those around it.  A container
// often sees its own group as the root, and the path as the host has it leads nowhere.
void for_each_group(const std::string& mount, std::string path,
                    FunctionRef<void(const std::string&)> visit) {
  if (path.find("/..") != std::string::npos) path.clear();  // outside of what is mounted here
  while (!path.empty() && path != "/") {
    visit(mount + path);
    path.resize(path.rfind('/'));
  }
  visit(mount);
}

}  // namespace

int Processors::usable() const {
  if (quota <= 0) return allowed;
  return std::clamp(static_cast<int>(std::ceil(std::min(quota, 1e6))), 1, allowed);
}

Processors processors() {
  Processors result;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) result.allowed = std::max(1, CPU_COUNT(&set));
  result.quota = cpu_quota(text_of_file("/proc/self/cgroup"),
                           [](const std::string& path) { return text_of_file(path); });
  return result;
}

double cpu_quota(std::string_view groups, FunctionRef<std::string(const std::string&)> read) {
  double quota = 0;
  std::istringstream lines{std::string(groups)};
  for (std::string line; std::getline(lines, line);) {  // hierarchy:controllers:path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (!path.starts_with('/')) continue;
    if (controllers.empty()) {
      for (const char* mount : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
        for_each_group(mount, path, [&](const std::string& folder) {
          quota = smaller(quota, parse_quota(read(folder + "/cpu.max")));
        });
      }
    } else if (has_controller(controllers, "cpu")) {
      for (const char* mount : {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"}) {
        for_each_group(mount, path, [&](const std::string& folder) {
          quota = smaller(quota, parse_quota(read(folder + "/cpu.cfs_quota_us") + " " +
                                             read(folder + "/cpu.cfs_period_us")));
        });
      }
    }
  }
  return quota;
}

}  // namespace orthant
