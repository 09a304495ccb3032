// SPDX-License-Identifier: Apache-2.0
#include "launch/processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "base/text.h"

namespace orthant {
namespace {

// ID (NAME) STATE PARENT ...; the name may hold anything.
std::optional<Process> parse(const std::string& stat) {
  const size_t begin = stat.find('('), end = stat.rfind(')');
  if (begin == stat.npos || end == stat.npos) return std::nullopt;
  Process p;
  char state = 0;
  if (std::sscanf(stat.c_str() + end + 1, " %c %d", &state, &p.parent) < 2) return std::nullopt;
  p.id = std::atoi(stat.c_str());
  p.name = stat.substr(begin + 1, end - begin - 1);
  p.is_zombie = state == 'Z' || state == 'X';
  return p;
}

std::string read_short_file(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return "";  // the process has gone
  char text[1024];
  const ssize_t size = read(file, text, sizeof(text));
  close(file);
  return std::string(text, size > 0 ? static_cast<size_t>(size) : 0);
}

}  // namespace

std::vector<Process> all_processes() {
  std::vector<Process> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc"), closedir);
  while (const dirent* entry = folder ? readdir(folder.get()) : nullptr) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    const auto process = parse(read_short_file(concat("/proc/", entry->d_name, "/stat")));
    if (process) found.push_back(*process);
  }
  return found;
}

std::vector<Process> living_descendants(pid_t ancestor) {
  const std::vector<Process> all = all_processes();
  std::map<pid_t, pid_t> parent_of;
  for (const Process& p : all) parent_of[p.id] = p.parent;
  const auto descends = [&](pid_t id) {
    // Ids are used again: what was read at different times might go round.
    for (size_t steps = 0; steps < all.size() && id > 1; ++steps) {
      const auto found = parent_of.find(id);
      if (found == parent_of.end()) return false;
      id = found->second;
      if (id == ancestor) return true;
    }
    return false;
  };
  std::vector<Process> living;
  for (const Process& p : all)
    if (!p.is_zombie && descends(p.id)) living.push_back(p);
  return living;
}

}  // namespace orthant
