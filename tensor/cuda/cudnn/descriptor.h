// SPDX-License-Identifier: Apache-2.0
// A cuDNN backend descriptor that is destroyed with its owner.  A refused call throws CudnnError
// with cuDNN's words; whoever is called from the table catches it.
#pragma once

#include <cudnn_graph.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace orthant::cuda::cudnn {

struct CudnnError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char words[512] = "";
  cudnnGetLastErrorString(words, sizeof(words));
  throw CudnnError(std::string(what) + ": " + cudnnGetErrorString(status) +
                   (words[0] ? std::string(", ") + words : std::string()));
}

// Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
// tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id).set(...);
// tensor.finalize();
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check(cudnnBackendCreateDescriptor(type, &handle_), "cudnnBackendCreateDescriptor");
  }
  ~Descriptor() {
    if (handle_) cudnnBackendDestroyDescriptor(handle_);
  }
  Descriptor(Descriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  cudnnBackendDescriptor_t get() const { return handle_; }

  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                  const void* values) {
    check(cudnnBackendSetAttribute(handle_, name, type, count, values), "cudnnBackendSetAttribute");
    return *this;
  }
  Descriptor& set(cudnnBackendAttributeName_t name, int64_t value) {
    return set(name, CUDNN_TYPE_INT64, 1, &value);
  }
  Descriptor& set(cudnnBackendAttributeName_t name, bool value) {
    return set(name, CUDNN_TYPE_BOOLEAN, 1, &value);
  }
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
    return set(name, CUDNN_TYPE_DATA_TYPE, 1, &value);
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.handle_);
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& values) {
    std::vector<cudnnBackendDescriptor_t> handles;
    for (const Descriptor& value : values) handles.push_back(value.handle_);
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(handles.size()),
               handles.data());
  }
  void finalize(const char* what) { check(cudnnBackendFinalize(handle_), what); }

  // Fills `values` with up to `room` entries; gives how many there are.
  int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t room,
              void* values) const {
    int64_t count = 0;
    check(cudnnBackendGetAttribute(handle_, name, type, room, &count, values),
          "cudnnBackendGetAttribute");
    return count;
  }

 private:
  cudnnBackendDescriptor_t handle_ = nullptr;
};

}  // namespace orthant::cuda::cudnn
