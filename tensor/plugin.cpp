// SPDX-License-Identifier: Apache-2.0
#include "tensor/plugin.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/log.h"
#include "base/text.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;

std::string last_dl_error() {
  const char* text = dlerror();
  return text ? text : "unknown error of the dynamic linker";
}

// A path where the file exists, or its name alone.
std::string locate(const char* file) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error && fs::exists(program.parent_path() / file, error))
    return program.parent_path() / file;
  if (const char* folder = std::getenv("ORTHANT_PLUGIN_DIR"); folder && *folder) {
    const fs::path path = fs::absolute(fs::path(folder), error) / file;
    if (fs::exists(path, error)) return path;
  }
  return file;
}

struct Opened {
  const Backend* table = nullptr;
  std::string why_not;
};

Opened open_cuda() {
  Opened result;
  const std::string file = locate(kCudaPluginFile);
  result.table = open_plugin(file, result.why_not);
  if (!result.table && file == kCudaPluginFile)
    result.why_not = concat(
        "no CUDA plugin beside the program, in ORTHANT_PLUGIN_DIR or among the "
        "system's libraries (",
        result.why_not, ")");
  return result;
}

Opened find_devices() {
  Opened result;
  const Backend* table = cuda_plugin(result.why_not);
  if (!table) return result;
  std::array<char, 512> text{};
  const BackendCall call{.stream = nullptr, .error = text.data(), .error_size = text.size()};
  int32_t count = 0;
  const int status = table->device_count(&call, &count);
  if (status == 0 && count > 0) {
    result.table = table;
    return result;
  }
  std::string reason = text.data();
  if (constexpr std::string_view op = "device_count: "; reason.starts_with(op))
    reason.erase(0, op.size());
  result.why_not = reason.empty() ? "no CUDA device here" : reason;
  return result;
}

}  // namespace

std::string fault_of(const Backend& table) {
  if (table.version != kBackendVersion)  // nothing behind the version can be read
    return concat("want backend version ", kBackendVersion, ", got ", table.version,
                  "; build program and plugin from the same source");
  const std::pair<const char*, bool> entries[] = {
#define ORTHANT_ENTRY(op) {#op, table.op != nullptr}
      ORTHANT_ENTRY(name),
      ORTHANT_ENTRY(libraries),
      ORTHANT_ENTRY(device_count),
      ORTHANT_ENTRY(describe_device),
      ORTHANT_ENTRY(use_device),
      ORTHANT_ENTRY(allocate),
      ORTHANT_ENTRY(deallocate),
      ORTHANT_ENTRY(allocate_host),
      ORTHANT_ENTRY(deallocate_host),
      ORTHANT_ENTRY(copy),
      ORTHANT_ENTRY(synchronize),
      ORTHANT_ENTRY(prepare),
      ORTHANT_ENTRY(release),
      ORTHANT_ENTRY(prepared_bytes),
#undef ORTHANT_ENTRY
#define ORTHANT_ENTRY(op, Args) {#op, table.op != nullptr},
      ORTHANT_OPS(ORTHANT_ENTRY)
#undef ORTHANT_ENTRY
  };
  std::string missing;
  const auto note = [&](const char* name, bool is_there) {
    if (!is_there) missing += concat(missing.empty() ? "" : ", ", name);
  };
  for (const auto& [name, is_there] : entries) note(name, is_there);
  if (const BackendComm* comm = table.comm) {
    note("comm.make_id", comm->make_id);
    note("comm.create", comm->create);
    note("comm.poll", comm->poll);
    note("comm.exchange", comm->exchange);
    note("comm.query", comm->query);
    note("comm.release", comm->release);
    note("comm.abort", comm->abort);
    note("comm.destroy", comm->destroy);
  }
  return missing.empty() ? "" : concat("no function for ", missing);
}

const Backend* open_plugin(const std::string& file, std::string& why_not) {
  static const BackendHost host{.log = [](const char* line) { log::info(line); }};
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    why_not = last_dl_error();
    return nullptr;
  }
  const auto entry = reinterpret_cast<BackendEntry>(dlsym(library, kBackendEntryName));
  if (!entry) {
    why_not = concat("not a plugin: ", last_dl_error());
    return nullptr;
  }
  const Backend* table = entry(&host);
  const std::string fault = table ? fault_of(*table) : "gives no table";
  if (fault.empty()) return table;
  why_not = concat(file, ": ", fault);
  return nullptr;
}

const Backend* cuda_plugin(std::string& why_not) {
  static const Opened opened = open_cuda();
  why_not = opened.why_not;
  return opened.table;
}

const Backend* try_cuda_backend(std::string& why_not) {
  static const Opened found = find_devices();
  why_not = found.why_not;
  return found.table;
}

}  // namespace orthant
