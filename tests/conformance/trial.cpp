// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/trial.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "base/philox.h"

namespace orthant::testing {
namespace {

constexpr int64_t kGuardBytes = 256;
constexpr char kGuard = '\x5A';

template <class T>
void write(char* to, T value) {
  std::memcpy(to, &value, sizeof(value));
}

template <class T>
T read(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

void store(char* to, DType dtype, double value) {
  switch (dtype) {
    case DType::kF64:
      return write(to, value);
    case DType::kF32:
      return write(to, static_cast<float>(value));
    case DType::kBF16:
      return write(to, bf16(static_cast<float>(value)).bits);
    case DType::kI64:
      return write(to, static_cast<int64_t>(value));
    case DType::kI8:
      return write(to, static_cast<int8_t>(value));
    case DType::kU8:
      return write(to, static_cast<uint8_t>(value));
    default:
      return write(to, static_cast<int32_t>(value));
  }
}

double load(const char* from, DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return read<double>(from);
    case DType::kF32:
      return static_cast<double>(read<float>(from));
    case DType::kBF16:
      return static_cast<double>(static_cast<float>(read<bf16>(from)));
    case DType::kI64:
      return static_cast<double>(read<int64_t>(from));
    case DType::kI8:
      return read<int8_t>(from);
    case DType::kU8:
      return read<uint8_t>(from);
    default:
      return read<int32_t>(from);
  }
}

double rounded(double value, DType dtype) {
  char bytes[8];
  store(bytes, dtype, value);
  return load(bytes, dtype);
}

}  // namespace

double tolerance_of(DType dtype) {
  return dtype == DType::kF64 ? 1e-12 : dtype == DType::kF32 ? 1e-5 : 2e-2;
}

Values normal(uint64_t seed, double deviation) {
  const PhiloxKey key = make_key(seed, RandomPurpose::kTest, "conformance");
  return [key, deviation](int64_t i) {
    return deviation * philox_normal(key, 0, static_cast<uint64_t>(i));
  };
}

Values uniform(uint64_t seed, double low, double high) {
  const PhiloxKey key = make_key(seed, RandomPurpose::kTest, "conformance");
  return [key, low, high](int64_t i) {
    return low + (high - low) * philox_uniform(key, 1, static_cast<uint64_t>(i));
  };
}

Values constant(double value) {
  return [value](int64_t) { return value; };
}

Values list(std::vector<double> values) {
  return [values = std::move(values)](int64_t i) { return values.at(static_cast<size_t>(i)); };
}

struct Trial::Array {
  std::string name;  // empty: an input
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0, stride = 0, kept = 0;
  Near near = Near::kModel;
  void* block = nullptr;
  std::vector<char> bytes;  // as they were written, guards included

  int64_t elem() const { return size_of(dtype); }
  int64_t at(int64_t row, int64_t col) const { return kGuardBytes + (row * stride + col) * elem(); }
};

Trial::Trial(const Backend& backend, DType model, DType rounding)
    : backend_(backend),
      model_(model),
      rounding_(rounding),
      call_{.stream = nullptr, .error = text_, .error_size = sizeof(text_)} {}

Trial::~Trial() {
  for (void* form : prepared_) backend_.release(form);
  for (const auto& array : arrays_) backend_.deallocate(&call_, array->block);
}

DType Trial::type_of(Kind kind, DType model) {
  switch (kind) {
    case Kind::kModel:
      return model;
    case Kind::kWide:
      return wide_of(model);
    case Kind::kF64:
      return DType::kF64;
    case Kind::kF32:
      return DType::kF32;
    case Kind::kI64:
      return DType::kI64;
    case Kind::kI8:
      return DType::kI8;
    case Kind::kU8:
      return DType::kU8;
    default:
      return DType::kI32;
  }
}

void Trial::fail(const char* what) {
  if (!error_.empty()) return;
  error_ = std::string(what) + " failed: " + (text_[0] ? text_ : "without a message");
}

View Trial::make(const std::string& name, Kind kind, const std::vector<int64_t>& shape,
                 const Values& values, Near near, int64_t pad) {
  auto array = std::make_unique<Array>();
  array->name = name;
  array->dtype = type(kind);
  array->near = near;
  array->rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) array->rows *= shape[i];
  array->cols = shape.back();
  array->stride = array->cols + pad;
  array->kept = array->rows * array->cols;
  array->bytes.assign(
      static_cast<size_t>(2 * kGuardBytes + array->rows * array->stride * array->elem()), kGuard);
  const DType seen = type_of(kind, rounding_);
  const bool is_nan = !values && kind != Kind::kI32 && kind != Kind::kI64;
  for (int64_t r = 0; r < array->rows; ++r) {
    for (int64_t c = 0; c < array->cols; ++c) {
      char* to = array->bytes.data() + array->at(r, c);
      if (values) store(to, array->dtype, rounded(values(r * array->cols + c), seen));
      if (is_nan) store(to, array->dtype, std::numeric_limits<double>::quiet_NaN());
    }
  }
  const auto size = static_cast<int64_t>(array->bytes.size());
  check(backend_.allocate(&call_, size, &array->block), "allocate");
  if (array->block) {
    check(backend_.copy(&call_, array->block, array->bytes.data(), size), "copy to the device");
  }
  View view{.data = nullptr,
            .dtype = array->dtype,
            .rank = static_cast<int32_t>(shape.size()),
            .row_stride = array->stride};
  for (size_t i = 0; i < shape.size(); ++i) view.shape[i] = shape[i];
  if (array->kept > 0) view.data = static_cast<char*>(array->block) + kGuardBytes;
  arrays_.push_back(std::move(array));
  return view;
}

View Trial::in(Kind kind, const std::vector<int64_t>& shape, const Values& values, int64_t pad) {
  return make("", kind, shape, values, Near::kExact, pad);
}

View Trial::out(const std::string& name, Kind kind, const std::vector<int64_t>& shape, Near near,
                int64_t pad) {
  return make(name, kind, shape, nullptr, near, pad);
}

View Trial::inout(const std::string& name, Kind kind, const std::vector<int64_t>& shape,
                  const Values& values, Near near, int64_t pad) {
  return make(name, kind, shape, values, near, pad);
}

void Trial::keep_first(const std::string& name, int64_t count) {
  for (const auto& array : arrays_) {
    if (array->name == name) array->kept = count;
  }
}

void Trial::same_as(const std::string& name, const std::string& of, Near near) {
  copies_.push_back({name, {of, near}});
}

void Trial::host_result(const std::string& name, std::vector<double> values) {
  results_[name] = {std::move(values), Near::kExact};
}

View Trial::columns(const View& view, int64_t begin, int64_t end) {
  View result = view;
  if (view.data) result.data = static_cast<char*>(view.data) + begin * size_of(view.dtype);
  result.shape[view.rank - 1] = end - begin;
  return result;
}

const void* Trial::prepared(const View& weight, WeightForm form) {
  void* result = nullptr;
  check(backend_.prepare(&call_, &weight, form, &result), "prepare");
  if (!result) return nullptr;
  prepared_.push_back(result);
  if (backend_.prepared_bytes(result) < 0) error_ = "prepared_bytes is negative";
  return result;
}

void Trial::read_back(Array& array, std::map<std::string, Result>& results) {
  std::vector<char> now(array.bytes.size());
  const auto size = static_cast<int64_t>(now.size());
  check(backend_.copy(&call_, now.data(), array.block, size), "copy to the host");
  if (!error_.empty()) return;
  // Elements of outputs may differ from what was written there; nothing else may.
  Result result{.values = {}, .near = array.near};
  for (int64_t r = 0; r < array.rows && !array.name.empty(); ++r) {
    for (int64_t c = 0; c < array.cols; ++c) {
      const int64_t at = array.at(r, c);
      if (r * array.cols + c < array.kept)
        result.values.push_back(load(now.data() + at, array.dtype));
      std::memcpy(now.data() + at, array.bytes.data() + at, static_cast<size_t>(array.elem()));
    }
  }
  for (size_t i = 0; i < now.size(); ++i) {
    if (now[i] == array.bytes[i]) continue;
    const int64_t element = (static_cast<int64_t>(i) - kGuardBytes) / array.elem();
    error_ = (array.name.empty() ? std::string("an input") : array.name) +
             " was written where nothing may be: element " + std::to_string(element) +
             " from its start, rows " + std::to_string(array.stride) + " apart";
    return;
  }
  if (!array.name.empty()) results[array.name] = std::move(result);
}

std::map<std::string, Result> Trial::finish() {
  check(backend_.synchronize(&call_), "synchronize");
  for (const auto& array : arrays_) {
    if (error_.empty()) read_back(*array, results_);
  }
  for (const auto& [name, source] : copies_) {
    if (results_.contains(source.first))
      results_[name] = {results_[source.first].values, source.second};
  }
  return results_;
}

}  // namespace orthant::testing
