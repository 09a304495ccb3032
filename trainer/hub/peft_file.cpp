// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/peft_file.h"

#include "base/error.h"
#include "trainer/hub/wider.h"

namespace orthant {

std::string PeftFile::place_of(const std::string& name) const {
  return concat(reader_.path(), ": tensor ", name);
}

DType PeftFile::dtype_of(const std::string& name) const {
  const DType stored = find(name)->dtype;
  const std::optional<DType> kept = kept_dtype(stored);
  ORTHANT_CHECK(kept && stored != DType::kF8E4M3, kData, place_of(name),
                ": want F64, F32, F16 or BF16, got ", safetensors_dtype(stored));
  return *kept;
}

const std::string& PeftFile::read(const std::string& name) {
  constexpr size_t kMostKept = 4;
  for (const auto& [kept, bytes] : kept_)
    if (kept == name) return bytes;
  const SafetensorsEntry& entry = *find(name);
  const DType dtype = dtype_of(name);
  std::string bytes(static_cast<size_t>(entry.end - entry.begin), '\0');
  reader_.read(entry, 0, bytes.data(), std::ssize(bytes));
  if (entry.dtype == DType::kF16) bytes = f32_of_f16(bytes);
  const int64_t bad = first_not_finite(bytes, dtype);
  ORTHANT_CHECK(bad < 0, kData, place_of(name), ": element ", bad, " is NaN or infinite");
  if (kept_.size() == kMostKept) kept_.pop_front();
  return kept_.emplace_back(name, std::move(bytes)).second;
}

Tensor PeftFile::read(const PeftTensor& t) {
  const DType dtype = dtype_of(t.source);
  const Tensor tensor = Tensor::empty(t.shape, dtype);
  gather_peft(t, size_of(dtype), read(t.source).data(), static_cast<char*>(tensor.data()));
  return tensor;
}

}  // namespace orthant
