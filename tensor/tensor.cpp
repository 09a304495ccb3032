// SPDX-License-Identifier: Apache-2.0
#include "tensor/tensor.h"

#include <array>
#include <cstring>
#include <mutex>

#include "base/context.h"
#include "base/error.h"
#include "tensor/allocator.h"
#include "tensor/backend.h"
#include "tensor/ops/call.h"
#include "tensor/plugin.h"

namespace orthant {

std::string name_of(Device device) {
  if (device.is_meta()) return "meta";
  return device.is_cpu() ? "cpu" : concat("cuda:", device.index);
}

const Backend& backend_of(DeviceType device) {
  if (device == DeviceType::kCpu) return cpu_backend();
  if (device == DeviceType::kMeta) return meta_backend();
  static const Backend* cuda = nullptr;
  static std::string why_not;
  static std::once_flag asked;
  std::call_once(asked, [] { cuda = try_cuda_backend(why_not); });
  ORTHANT_CHECK(cuda != nullptr, kDevice, "device cuda: ", why_not, "; use device: cpu");
  return *cuda;
}

const Backend& backend_on(Device device) {
  const Backend& backend = backend_of(device.type);
  thread_local int32_t used = -1;
  if (device.is_cpu() || device.is_meta() || used == device.index) return backend;
  std::array<char, 512> text{};
  const BackendCall call{.stream = nullptr, .error = text.data(), .error_size = text.size()};
  ORTHANT_CHECK(backend.use_device(&call, device.index) == 0, kDevice, "device ", name_of(device),
                ": ", text.data());
  used = device.index;
  return backend;
}

// One block of device memory; leaves the ledger of the rank that made it when the last tensor lets
// go.
class Storage {
 public:
  Storage(Device device, MemoryKind kind, int64_t bytes)
      : device_(device),
        kind_(kind),
        bytes_(bytes),
        ledger_(context().ledger),
        category_(context().category),
        block_(allocate(device, bytes, kind)),
        is_held_(true) {
    ledger_->add(category_, bytes_);
  }
  ~Storage() { release(); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  int64_t bytes() const { return bytes_; }
  char* block() {
    if (remake_) restore();
    return static_cast<char*>(block_);
  }
  void discard(std::function<Tensor()> remake) {
    release();
    remake_ = std::move(remake);
  }

 private:
  void release() {
    if (!is_held_) return;
    deallocate(device_, block_, bytes_, kind_);
    ledger_->add(category_, -bytes_);
    block_ = nullptr;
    is_held_ = false;
  }
  // Takes over the block of the tensor that is made.
  void restore() {
    const std::function<Tensor()> remake = std::move(remake_);
    remake_ = nullptr;
    const Tensor made = remake();
    Storage& other = *made.storage_;
    ORTHANT_CHECK(made.is_unique() && other.bytes_ == bytes_, kInternal,
                  "a discarded tensor was made again as ", describe(made), ": want ", bytes_,
                  " bytes that nobody else holds");
    std::swap(block_, other.block_);
    std::swap(is_held_, other.is_held_);
    std::swap(category_, other.category_);
  }

  Device device_;
  MemoryKind kind_;
  int64_t bytes_;
  std::shared_ptr<Ledger> ledger_;
  MemoryCategory category_;
  void* block_;
  bool is_held_;
  std::function<Tensor()> remake_;  // given while the block is discarded
};

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  tensor.device_ = device;
  tensor.storage_ =
      std::make_shared<Storage>(device, MemoryKind::kDevice, shape.numel() * size_of(dtype));
  return tensor;
}

Tensor Tensor::staging(const Shape& shape, DType dtype, Device device) {
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  tensor.storage_ =
      std::make_shared<Storage>(device, MemoryKind::kStaging, shape.numel() * size_of(dtype));
  return tensor;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor tensor = empty(shape, dtype, device);
  if (tensor.numel() == 0) return tensor;
  if (device.is_cpu()) {
    std::memset(tensor.data(), 0, static_cast<size_t>(tensor.bytes()));
  } else {
    ops::call(&Backend::fill, "fill", {&tensor}, FillArgs{.y = ops::view_of(tensor), .value = 0.0});
  }
  return tensor;
}

Tensor Tensor::from(const Shape& shape, std::span<const double> values, DType dtype,
                    Device device) {
  Tensor host = empty(shape, DType::kF64);
  ORTHANT_CHECK(host.numel() == static_cast<int64_t>(values.size()), kInternal, "tensor ",
                shape.text(), ": want ", host.numel(), " values, got ", values.size());
  if (!values.empty()) std::memcpy(host.data(), values.data(), values.size_bytes());
  return host.to(dtype).to(device);
}

namespace {

template <class T>
Tensor of_integers(const Shape& shape, std::span<const T> values, Device device) {
  const Tensor host = Tensor::empty(shape, dtype_of<T>);
  ORTHANT_CHECK(host.numel() == std::ssize(values), kInternal, "tensor ", shape.text(), ": want ",
                host.numel(), " values, got ", values.size());
  if (!values.empty()) std::memcpy(host.data(), values.data(), values.size_bytes());
  return host.to(device);
}

}  // namespace

Tensor Tensor::from_i32(const Shape& shape, std::span<const int32_t> values, Device device) {
  return of_integers(shape, values, device);
}

Tensor Tensor::from_i64(const Shape& shape, std::span<const int64_t> values, Device device) {
  return of_integers(shape, values, device);
}

void* Tensor::data() const {
  ORTHANT_CHECK(storage_ != nullptr, kInternal, "an undefined tensor was used");
  return storage_->block() + offset_bytes_;
}

void Tensor::discard(std::function<Tensor()> remake) const {
  ORTHANT_CHECK(storage_ != nullptr && bytes() == storage_->bytes(), kInternal,
                "discard: want a whole tensor, got ", describe(*this));
  storage_->discard(std::move(remake));
}

void Tensor::check_host(DType wanted) const {
  ORTHANT_CHECK(dtype_ == wanted && device_.is_cpu(), kInternal, "tensor access: want ",
                name_of(wanted), " on cpu, got ", describe(*this));
}

Tensor Tensor::view(const Shape& shape) const {
  ORTHANT_CHECK(shape.numel() == numel(), kInternal, "view: want ", numel(), " elements, got ",
                shape.text());
  Tensor result = *this;
  result.shape_ = shape;
  return result;
}

Tensor Tensor::slice(int64_t begin, int64_t end) const {
  ORTHANT_CHECK(rank() > 0 && 0 <= begin && begin <= end && end <= dim(0), kInternal, "slice [",
                begin, ", ", end, ") of ", describe(*this));
  Tensor result = *this;
  const int64_t row = dim(0) == 0 ? 0 : numel() / dim(0);
  result.offset_bytes_ += begin * row * size_of(dtype_);
  result.shape_[0] = end - begin;
  return result;
}

Tensor Tensor::flat(int64_t begin, int64_t end) const {
  return view(Shape{numel()}).slice(begin, end);
}

Tensor Tensor::clone() const {
  Tensor result = like(*this);
  copy(*this, result);
  return result;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor result = empty(shape_, dtype, device_);
  copy(*this, result);
  return result;
}

Tensor Tensor::to(Device device) const {
  if (device == device_) return *this;
  Tensor result = empty(shape_, dtype_, device);
  copy(*this, result);
  return result;
}

std::vector<double> Tensor::to_doubles() const {
  if (!is_floating(dtype_)) {
    const Tensor host = to(Device{});
    std::vector<double> values(static_cast<size_t>(numel()));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = dtype_ == DType::kI64 ? static_cast<double>(host.as<int64_t>()[i])
                                        : static_cast<double>(host.as<int32_t>()[i]);
    }
    return values;
  }
  const Tensor wide = to(Device{}).to(DType::kF64);
  const auto span = wide.span<double>();
  return {span.begin(), span.end()};
}

void copy(const Tensor& from, const Tensor& to) {
  ORTHANT_CHECK(from.shape() == to.shape(), kInternal, "copy: want equal shapes, got ",
                describe(from), " and ", describe(to));
  if (from.numel() == 0) return;
  if (from.dtype() != to.dtype()) {
    const Tensor there = from.to(to.device());
    ops::call(&Backend::cast, "copy", {&there, &to},
              CastArgs{.x = ops::view_of(there), .y = ops::view_of(to), .accumulate = 0});
    return;
  }
  const Device device = from.device().is_cpu() ? to.device() : from.device();
  ops::checked(device, "copy", {&from, &to}, [&](const Backend& backend, const BackendCall* call) {
    return backend.copy(call, to.data(), from.data(), from.bytes());
  });
}

std::string describe(const Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  return concat(name_of(tensor.dtype()), " ", tensor.shape().text(), " on ",
                name_of(tensor.device()));
}

}  // namespace orthant
