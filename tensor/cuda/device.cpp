// SPDX-License-Identifier: Apache-2.0
#include "tensor/cuda/device.h"

#include <cudnn_version.h>
#include <nccl.h>

#include <cstdlib>
#include <cstring>
#include <string>

// cudnn.h takes a second to parse; its version is all that is wanted here.
extern "C" size_t cudnnGetVersion(void);

namespace orthant::cuda {
namespace {

constexpr int kOldestMajor = 8;  // the oldest architecture that the plugin has code for

thread_local int thread_device = 0;
const BackendHost* program = nullptr;

std::string version_text(int version) {  // of the runtime and the driver: 1000 major + 10 minor
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// As nvidia-smi writes it.
void write_uuid(const cudaUUID_t& uuid, char* text, size_t size) {
  size_t at = static_cast<size_t>(std::snprintf(text, size, "GPU"));
  for (size_t i = 0; i < sizeof(uuid.bytes); ++i) {
    const bool dash = i == 0 || i == 4 || i == 6 || i == 8 || i == 10;
    at += static_cast<size_t>(std::snprintf(text + at, size - at, "%s%02x", dash ? "-" : "",
                                            static_cast<unsigned char>(uuid.bytes[i])));
  }
}

DeviceState& state_of(int index) {
  static auto* states = new std::array<DeviceState, kMaxDevices>;  // threads may outlive main
  return (*states)[static_cast<size_t>(index)];
}

int make_state(const BackendCall* call, const char* op, DeviceState& state) {
  CUDA_CHECK(call, op, cudaSetDevice(current_device()));
  CUDA_CHECK(call, op, cudaStreamCreateWithFlags(&state.compute, cudaStreamNonBlocking));
  for (int i = 0; i < kNumBranches; ++i) {
    const auto at = static_cast<size_t>(i);
    CUDA_CHECK(call, op, cudaStreamCreateWithFlags(&state.branches[at], cudaStreamNonBlocking));
    CUDA_CHECK(call, op, cudaEventCreateWithFlags(&state.branch_done[at], cudaEventDisableTiming));
  }
  CUDA_CHECK(call, op, cudaEventCreateWithFlags(&state.forked, cudaEventDisableTiming));
  // Temporaries come back soon: the pool keeps what it has.
  cudaMemPool_t pool = nullptr;
  CUDA_CHECK(call, op, cudaDeviceGetDefaultMemPool(&pool, current_device()));
  uint64_t keep = UINT64_MAX;
  CUDA_CHECK(call, op, cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
  if (const cublasStatus_t status = cublasLtCreate(&state.cublas); status != CUBLAS_STATUS_SUCCESS)
    return fail(call, op, cublasLtGetStatusString(status));
  state.ready = true;
  return 0;
}

}  // namespace

void set_host(const BackendHost* host) { program = host; }

void log_line(const std::string& line) {
  if (program && program->log) program->log(line.c_str());
}

bool is_synchronous() {
  static const bool wanted = [] {
    const char* text = std::getenv("ORTHANT_CUDA_SYNC");
    return text && std::strcmp(text, "0") != 0 && *text;
  }();
  return wanted;
}

int current_device() { return thread_device; }

DeviceState* device_state(const BackendCall* call, const char* op) {
  DeviceState& state = state_of(thread_device);
  const std::lock_guard lock(state.mutex);
  if (!state.ready && make_state(call, op, state) != 0) return nullptr;
  return &state;
}

cudaStream_t stream_of(const BackendCall* call, const char* op) {
  if (call && call->stream) return static_cast<cudaStream_t>(call->stream);
  const DeviceState* state = device_state(call, op);
  return state ? state->compute : nullptr;
}

int device_count(const BackendCall* call, int32_t* count) {
  *count = 0;
  int found = 0, driver = 0;
  const cudaError_t error = cudaGetDeviceCount(&found);
  if (error != cudaSuccess) {
    cudaGetLastError();
    std::string what = cudaGetErrorString(error);
    if (error == cudaErrorInsufficientDriver || error == cudaErrorStubLibrary) {
      const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
      what = (has_driver ? "the NVIDIA driver is too old, it offers CUDA " + version_text(driver) +
                               " and CUDA " + version_text(CUDART_VERSION) + " is wanted"
                         : std::string("no NVIDIA driver here")) +
             " (" + what + ")";
    } else if (error == cudaErrorNoDevice) {
      what = "no NVIDIA device here (" + what + ")";
    }
    fail(call, "device_count", what.c_str());
    return 0;
  }
  if (found == 0) fail(call, "device_count", "no NVIDIA device here");
  for (int i = 0; i < found && i < kMaxDevices; ++i) {
    int major = 0;
    CUDA_CHECK(call, "device_count",
               cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i));
    if (major < kOldestMajor) {  // what comes after it is not used either: indices stay as they are
      const std::string what = "device " + std::to_string(i) + " has compute capability " +
                               std::to_string(major) + ".x, want 8.0 or newer";
      fail(call, "device_count", what.c_str());
      break;
    }
    *count = i + 1;
  }
  return 0;
}

int describe_device(const BackendCall* call, int32_t index, BackendDevice* device) {
  *device = {};
  cudaDeviceProp properties;
  CUDA_CHECK(call, "describe_device", cudaGetDeviceProperties(&properties, index));
  std::snprintf(device->name, sizeof(device->name), "%.*s",
                static_cast<int>(sizeof(device->name)) - 1, properties.name);
  write_uuid(properties.uuid, device->uuid, sizeof(device->uuid));
  device->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  device->compute_major = properties.major;
  device->compute_minor = properties.minor;
  CUDA_CHECK(call, "describe_device", cudaSetDevice(index));
  size_t free_bytes = 0, total_bytes = 0;
  const cudaError_t error = cudaMemGetInfo(&free_bytes, &total_bytes);
  CUDA_CHECK(call, "describe_device", cudaSetDevice(current_device()));
  CUDA_CHECK(call, "cudaMemGetInfo", error);
  device->free_bytes = static_cast<int64_t>(free_bytes);
  return 0;
}

int use_device(const BackendCall* call, int32_t index) {
  if (index < 0 || index >= kMaxDevices) return fail(call, "use_device", "no such device");
  CUDA_CHECK(call, "use_device", cudaSetDevice(index));
  thread_device = index;
  return 0;
}

const char* library_versions() {
  static const std::string text = [] {
    int runtime = 0, driver = 0, nccl = 0;
    if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    cudaGetLastError();
    if (ncclGetVersion(&nccl) != ncclSuccess) nccl = 0;
    const size_t cublas = cublasLtGetVersion(), cudnn = cudnnGetVersion();
    const auto dotted = [](size_t major, size_t minor, size_t patch) {
      return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
    };
    const auto n = static_cast<size_t>(nccl);
    return "CUDA " + version_text(runtime) +
           (driver ? ", driver for CUDA " + version_text(driver) : std::string(", no driver")) +
           ", cuBLASLt " + dotted(cublas / 10000, cublas / 100 % 100, cublas % 100) + ", cuDNN " +
           dotted(cudnn / 10000, cudnn / 100 % 100, cudnn % 100) + ", NCCL " +
           dotted(n / 10000, n / 100 % 100, n % 100);
  }();
  return text.c_str();
}

}  // namespace orthant::cuda
