// SPDX-License-Identifier: Apache-2.0
// A tensor: a cheap handle on a contiguous, row-major piece of shared storage.
//
// Copies share storage; clone() copies the elements.  Storage comes from the device's caching
// allocator and is counted in the ledger of the rank that made it, under the category that was
// current then (base/context.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace orthant {

class Storage;

class Tensor {
 public:
  Tensor() = default;  // undefined
  // Uninitialised elements.
  static Tensor empty(const Shape& shape, DType dtype, Device device = {});
  static Tensor zeros(const Shape& shape, DType dtype, Device device = {});
  // Uninitialised elements in host memory that copies from and to `device` are fastest with.
  static Tensor staging(const Shape& shape, DType dtype, Device device);
  // Copies host values into a new tensor, converting to `dtype`.
  static Tensor from(const Shape& shape, std::span<const double> values, DType dtype,
                     Device device = {});
  static Tensor from_i32(const Shape& shape, std::span<const int32_t> values, Device device = {});
  static Tensor from_i64(const Shape& shape, std::span<const int64_t> values, Device device = {});
  static Tensor like(const Tensor& other) {
    return empty(other.shape(), other.dtype(), other.device());
  }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t numel() const { return shape_.numel(); }
  // All dimensions but the last, multiplied.
  int64_t rows() const { return rank() == 0 || dim(-1) == 0 ? 0 : numel() / dim(-1); }
  int64_t bytes() const { return numel() * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  void* data() const;  // first element of this tensor
  // Host memory only; Error(kInternal) on another dtype or device.
  template <class T>
  T* as() const {
    check_host(dtype_of<T>);
    return static_cast<T*>(data());
  }
  template <class T>
  std::span<T> span() const {
    return {as<T>(), static_cast<size_t>(numel())};
  }

  // Views share storage.
  Tensor view(const Shape& shape) const;           // same number of elements
  Tensor slice(int64_t begin, int64_t end) const;  // of the first dimension
  Tensor flat(int64_t begin, int64_t end) const;   // of the elements, as [end - begin]
  Tensor clone() const;
  Tensor to(DType dtype) const;            // a converted copy; *this itself when nothing changes
  Tensor to(Device device) const;          // a copy elsewhere; *this itself when already there
  std::vector<double> to_doubles() const;  // elements on the host, widened
  // Gives the memory back.  Who asks for data() next makes remake() run: the tensor it returns, a
  // new one of this size, becomes the content.  Of whole tensors, on all handles; pointers taken
  // before are void.
  void discard(std::function<Tensor()> remake) const;
  bool is_unique() const { return storage_.use_count() == 1; }  // no other handle on this storage
  bool shares_storage_with(const Tensor& other) const { return storage_ == other.storage_; }

 private:
  friend class Storage;
  void check_host(DType wanted) const;

  std::shared_ptr<Storage> storage_;
  int64_t offset_bytes_ = 0;
  Shape shape_;
  DType dtype_ = DType::kF32;
  Device device_;
};

// Copies the elements of `from` into `to`: same shape, any devices, any floating dtypes (or equal
// ones).
void copy(const Tensor& from, const Tensor& to);
// "f32 [2, 3] on cpu"
std::string describe(const Tensor& tensor);

}  // namespace orthant
