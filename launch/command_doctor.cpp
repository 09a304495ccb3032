// SPDX-License-Identifier: Apache-2.0
#include <H5public.h>
#include <mpi.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "base/context.h"
#include "base/processors.h"
#include "base/text.h"
#include "launch/command.h"
#include "parallel/comm/mpi/mpi_world.h"
#include "tensor/cpu/isa.h"
#include "tensor/plugin.h"
#include "trainer/run/progress.h"
#include "trainer/throughput.h"

namespace orthant {
namespace {

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

// How many, and who says so.
std::string threads_text() {
  const Processors here = processors();
  std::string text = concat(default_num_threads(), ": ", counted(here.allowed, "processor"),
                            " by the affinity mask");
  if (here.quota > 0)
    text += concat(", time of ", here.quota, " by the quota of this control group (cgroup)");
  if (const char* wanted = std::getenv("OMP_NUM_THREADS"))
    text += concat(", OMP_NUM_THREADS=", wanted);
  return text;
}

void row(const char* what, const std::string& text) {
  std::printf("%-14s %s\n", what, text.c_str());
}

// What connect_devices (parallel/comm/transport.h) would choose on this machine.
std::string transport_text(const Backend& backend, int32_t num_devices) {
  const char* staged = "staged through host memory";
  if (!backend.comm) return concat(staged, ", because this backend has no other way");
  return concat("nccl for up to ", num_devices, num_devices == 1 ? " rank" : " ranks",
                " of this machine, ", staged,
                " where ranks share a device (parallel.device_transport: auto)");
}

// Opens the plugin; says what a run would use, and why not the other.
void print_cuda() {
  std::string why_not;
  const std::string cpu = concat("cpu, ", counted(context().num_threads, "thread"));
  const Backend* plugin = cuda_plugin(why_not);
  row("cuda plugin", plugin ? plugin->libraries : why_not);
  const Backend* cuda = plugin ? try_cuda_backend(why_not) : nullptr;
  if (!cuda) {
    if (plugin) row("devices", concat("none: ", why_not));
    row("transport", "host memory (MPI)");
    row("would use", concat(cpu, " (device: auto), because there is ",
                            plugin ? "no usable CUDA device" : "no CUDA plugin"));
    return;
  }
  std::array<char, 512> text{};
  const BackendCall call{.stream = nullptr, .error = text.data(), .error_size = text.size()};
  int32_t count = 0;
  cuda->device_count(&call, &count);
  for (int32_t i = 0; i < count; ++i) {
    BackendDevice device{};
    if (cuda->describe_device(&call, i, &device) != 0) {
      row("device", concat("cuda:", i, ": ", text.data()));
      continue;
    }
    row("device",
        concat("cuda:", i, ": ", static_cast<const char*>(device.name), ", ",
               human_bytes(static_cast<double>(device.memory_bytes)), ", ",
               human_bytes(static_cast<double>(device.free_bytes)), " free, compute capability ",
               device.compute_major, ".", device.compute_minor));
  }
  row("transport", transport_text(*cuda, count));
  row("would use",
      concat("cuda, ", count, " device(s) (device: cuda or auto); device: cpu gives ", cpu));
}

int run() {
  char host[256] = "", mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  gethostname(host, sizeof(host) - 1);
  int mpi_length = 0;
  MPI_Get_library_version(mpi, &mpi_length);
  std::string mpi_text(mpi);
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  struct sysinfo memory = {};
  sysinfo(&memory);
  row("orthant", "0.1.0");
  row("host", host);
  row("processor", concat(processor_name(), ", ", sysconf(_SC_NPROCESSORS_ONLN), " online"));
  row("threads", threads_text());
  row("level",
      concat(cpu::text_of(cpu::isa_choice()), ", offered up to ", cpu::name_of(cpu::detected_isa()),
             "; ORTHANT_ISA=scalar|avx512|avx512bf16|amx overrides"));
  row("memory", human_bytes(static_cast<double>(memory.totalram) * memory.mem_unit));
  for (const auto& [name, dtype] : {std::pair{"bf16", DType::kBF16}, std::pair{"f32", DType::kF32},
                                    std::pair{"f64", DType::kF64}}) {
    row("products",
        concat(name, " ", static_cast<int64_t>(measure_product_rate(dtype) / 1e9), " GFLOP/s"));
  }
  row("mpi", concat(mpi_text.substr(0, mpi_text.find(',')),
                    launched_by_mpi() ? ", started by a launcher" : ", not started by a launcher"));
  row("hdf5", concat(major, ".", minor, ".", release));
  print_cuda();
  return 0;
}

}  // namespace

Command doctor_command() {
  return {.name = "doctor",
          .help = "what this machine offers and what would be used",
          .footer = "",
          .declare = [](Options&) { return run; }};
}

}  // namespace orthant
