// SPDX-License-Identifier: Apache-2.0
#include "data/input_files.h"

#include <fnmatch.h>

#include <filesystem>
#include <set>

#include "base/error.h"
#include "data/text_reader.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostNamed = 5;

bool is_pattern(const std::string& text) { return text.find_first_of("*?[") != std::string::npos; }
// What cannot be looked at is not there; its reader says why.
bool is_folder(const fs::path& path) {
  std::error_code code;
  return fs::is_directory(path, code);
}
bool is_file(const fs::path& path) {
  std::error_code code;
  return fs::is_regular_file(path, code);
}
bool is_link(const fs::path& path) {
  std::error_code code;
  return fs::is_symlink(path, code);
}
bool is_there(const fs::path& path) {
  std::error_code code;
  return fs::exists(path, code);
}
bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

// The entries of a folder in a fixed order.
std::set<fs::path> entries_of(const fs::path& folder) {
  std::set<fs::path> entries;
  std::error_code code;
  for (fs::directory_iterator at(folder.empty() ? "." : folder, code), end; !code && at != end;
       at.increment(code))
    entries.insert(folder / at->path().filename());
  ORTHANT_CHECK(!code, kData, folder.string(), ": cannot be listed: ", code.message());
  return entries;
}

// Collects what one input stands for.
class Finder {
 public:
  explicit Finder(bool by_name) : by_name_(by_name) {}

  // A file or folder that was found, not named.
  void take(const fs::path& path) {
    if (is_folder(path)) {
      take_folder(path);
    } else if (is_file(path) && (!by_name_ || text_format_of_name(path.native()))) {
      found_.insert(path.string());
    } else {
      skipped_.insert(path.string());
    }
  }
  void take_folder(const fs::path& folder) {
    for (const fs::path& entry : entries_of(folder)) {
      // A link to a folder may lead back to where it stands.
      if (is_hidden(entry) || (is_link(entry) && is_folder(entry)))
        skipped_.insert(entry.string());
      else
        take(entry);
    }
  }
  // What matches the names from `name` on, below `folder`.
  void match(const fs::path& folder, fs::path::const_iterator name, fs::path::const_iterator end) {
    const auto next = std::next(name);
    if (*name == "**") {
      if (next == end) return take_folder(folder);
      match(folder, next, end);
      for (const fs::path& entry : entries_of(folder))
        if (!is_hidden(entry) && !is_link(entry) && is_folder(entry)) match(entry, name, end);
    } else if (is_pattern(name->native())) {
      for (const fs::path& entry : entries_of(folder))
        if (fnmatch(name->c_str(), entry.filename().c_str(), FNM_PERIOD) == 0)
          go_on(entry, next, end);
    } else if (is_there(folder / *name)) {
      go_on(folder / *name, next, end);
    }
  }

  const std::set<std::string>& found() const { return found_; }
  const std::set<std::string>& skipped() const { return skipped_; }

 private:
  void go_on(const fs::path& entry, fs::path::const_iterator next, fs::path::const_iterator end) {
    if (next == end)
      take(entry);
    else if (is_folder(entry))
      match(entry, next, end);
  }

  bool by_name_;
  std::set<std::string> found_, skipped_;
};

}  // namespace

InputFiles list_input_files(const std::vector<std::string>& inputs, const std::string& format) {
  InputFiles files;
  for (const std::string& input : inputs) {
    const fs::path path(input);
    const bool exists = is_there(path), folder = exists && is_folder(path);
    if ((exists && !folder) || (!exists && !is_pattern(input))) {
      files.paths.push_back(input);
      continue;
    }
    Finder finder(format == "auto");
    if (folder)
      finder.take_folder(path);
    else
      finder.match({}, path.begin(), path.end());
    ORTHANT_CHECK(!finder.found().empty(), kMissingInput, input,
                  folder ? ": the folder holds" : ": the pattern matches",
                  " no file that ends in .txt or .jsonl, either also with .gz or .zst behind it",
                  finder.skipped().empty()
                      ? ""
                      : concat("; ", finder.skipped().size(), " others are there, such as ",
                               *finder.skipped().begin(), " (--format text or jsonl takes any)"));
    files.paths.insert(files.paths.end(), finder.found().begin(), finder.found().end());
    files.num_skipped += std::ssize(finder.skipped());
    for (const std::string& skipped : finder.skipped())
      if (files.skipped.size() < kMostNamed) files.skipped.push_back(skipped);
  }
  return files;
}

}  // namespace orthant
