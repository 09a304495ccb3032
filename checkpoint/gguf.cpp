// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/gguf.h"

#include <algorithm>

#include "checkpoint/gguf_cursor.h"

namespace orthant {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr int64_t kMaxTensorDims = 4;
constexpr int64_t kMaxAlignment = 1 << 20;
constexpr const char* kAlignmentKey = "general.alignment";

enum class Kind : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kText,
  kList,
  kU64,
  kI64,
  kF64,
  kCount
};

int64_t least_bytes(Kind kind) {
  constexpr int64_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return kBytes[static_cast<size_t>(kind)];
}

Kind kind_at(GgufCursor& cursor, const std::string& path, const std::string& what) {
  const auto kind = cursor.number<uint32_t>(what);
  ORTHANT_CHECK(kind < static_cast<uint32_t>(Kind::kCount), kData, path, ": ", what,
                ": want a type of value below ", static_cast<uint32_t>(Kind::kCount), ", got ",
                kind);
  return static_cast<Kind>(kind);
}

int64_t integer_at(GgufCursor& cursor, Kind kind, const std::string& path,
                   const std::string& what) {
  switch (kind) {
    case Kind::kU8:
      return cursor.number<uint8_t>(what);
    case Kind::kI8:
      return cursor.number<int8_t>(what);
    case Kind::kU16:
      return cursor.number<uint16_t>(what);
    case Kind::kI16:
      return cursor.number<int16_t>(what);
    case Kind::kU32:
      return cursor.number<uint32_t>(what);
    case Kind::kI32:
      return cursor.number<int32_t>(what);
    case Kind::kI64:
      return cursor.number<int64_t>(what);
    case Kind::kBool: {
      const auto value = cursor.number<uint8_t>(what);
      ORTHANT_CHECK(value <= 1, kData, path, ": ", what, ": want 0 or 1, got ", value);
      return value;
    }
    default: {
      const auto value = cursor.number<uint64_t>(what);
      ORTHANT_CHECK(value < uint64_t{1} << 63, kData, path, ": ", what, ": want below 2^63, got ",
                    value);
      return static_cast<int64_t>(value);
    }
  }
}

double real_at(GgufCursor& cursor, Kind kind, const std::string& what) {
  if (kind == Kind::kF64) return cursor.number<double>(what);
  return cursor.number<float>(what);
}

GgufValue list_at(GgufCursor& cursor, const std::string& path, const std::string& what) {
  const Kind kind = kind_at(cursor, path, what);
  ORTHANT_CHECK(kind != Kind::kList, kData, path, ": ", what, ": is a list of lists");
  const int64_t count = cursor.count(least_bytes(kind), what);
  if (kind == Kind::kText) {
    std::vector<std::string> texts;
    for (int64_t i = 0; i < count; ++i) texts.push_back(cursor.text(what));
    return texts;
  }
  if (kind == Kind::kF32 || kind == Kind::kF64) {
    std::vector<double> numbers;
    for (int64_t i = 0; i < count; ++i) numbers.push_back(real_at(cursor, kind, what));
    return numbers;
  }
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < count; ++i) numbers.push_back(integer_at(cursor, kind, path, what));
  return numbers;
}

GgufValue value_at(GgufCursor& cursor, const std::string& path, const std::string& what) {
  const Kind kind = kind_at(cursor, path, what);
  if (kind == Kind::kList) return list_at(cursor, path, what);
  if (kind == Kind::kText) return cursor.text(what);
  if (kind == Kind::kBool) return integer_at(cursor, kind, path, what) != 0;
  if (kind == Kind::kF64) return real_at(cursor, kind, what);
  if (kind == Kind::kF32)
    return std::stod(concat(cursor.number<float>(what)));  // the fewest digits
  return integer_at(cursor, kind, path, what);
}

// Elements of a tensor; rows are whole blocks.
Shape shape_at(GgufCursor& cursor, const std::string& path, const std::string& what) {
  const auto dims = cursor.number<uint32_t>(what);
  ORTHANT_CHECK(1 <= dims && dims <= kMaxTensorDims, kData, path, ": ", what, ": want 1 to ",
                kMaxTensorDims, " dimensions, got ", dims);
  std::vector<int64_t> sizes;
  int64_t numel = 1;
  for (uint32_t i = 0; i < dims; ++i) {
    sizes.push_back(integer_at(cursor, Kind::kU64, path, what));
    ORTHANT_CHECK(sizes.back() >= 1 && !__builtin_mul_overflow(numel, sizes.back(), &numel), kData,
                  path, ": ", what, ": want dimensions of at least 1 and below 2^63 elements, got ",
                  sizes.back(), " as dimension ", i);
  }
  Shape shape;
  for (uint32_t i = dims; i-- > 0;) shape.push_back(sizes[i]);
  return shape;
}

GgufTensor tensor_at(GgufCursor& cursor, const std::string& path, size_t index) {
  GgufTensor tensor;
  tensor.name = cursor.text(concat("name of tensor ", index));
  const std::string what = concat("tensor ", tensor.name);
  tensor.shape = shape_at(cursor, path, what);
  const auto id = cursor.number<uint32_t>(what);
  tensor.format = find_gguf_format(id);
  ORTHANT_CHECK(tensor.format, kData, path, ": ", what, ": want a type of ", gguf_formats_text(),
                ", got ", gguf_format_name(id), ", which is not read");
  const int64_t row = tensor.shape[tensor.shape.rank() - 1];
  ORTHANT_CHECK(row % tensor.format->elems == 0, kData, path, ": ", what, ": ", tensor.format->name,
                " wants rows of whole blocks of ", tensor.format->elems, ", got ",
                tensor.shape.text());
  int64_t bytes = 0;
  ORTHANT_CHECK(!__builtin_mul_overflow(tensor.shape.numel() / tensor.format->elems,
                                        tensor.format->bytes, &bytes),
                kData, path, ": ", what, ": ", tensor.shape.text(), " has too many bytes");
  tensor.begin = integer_at(cursor, Kind::kU64, path, what);
  ORTHANT_CHECK(!__builtin_add_overflow(tensor.begin, bytes, &tensor.end), kData, path, ": ", what,
                ": ", bytes, " bytes from byte ", tensor.begin, " on are beyond any file");
  return tensor;
}

int64_t align_up(int64_t at, int64_t alignment) {
  return (at + alignment - 1) / alignment * alignment;
}

void check_version(GgufCursor& cursor, const std::string& path) {
  ORTHANT_CHECK(cursor.left() >= 8 && cursor.number<uint32_t>("magic") == kMagic, kData, path,
                ": is no GGUF file: it does not begin with 'GGUF'");
  const auto version = cursor.number<uint32_t>("version");
  ORTHANT_CHECK(version == 0 || version % (1U << 16) != 0, kData, path,
                ": is a GGUF file in big-endian order; little-endian ones are read");
  ORTHANT_CHECK(version == 2 || version == 3, kData, path,
                ": want GGUF of version 2 or 3, got version ", version);
}

}  // namespace

GgufReader::GgufReader(const std::string& path) : file_(path) {
  GgufCursor cursor(file_);
  check_version(cursor, path);
  constexpr int64_t kLeastTensorBytes = 8 + 4 + 8 + 4 + 8, kLeastEntryBytes = 8 + 4 + 1;
  const int64_t num_tensors = cursor.count(kLeastTensorBytes, "number of tensors");
  const int64_t num_keys = cursor.count(kLeastEntryBytes, "number of metadata keys");
  for (int64_t i = 0; i < num_keys; ++i) {
    std::string key = cursor.text(concat("metadata key ", i));
    GgufValue value = value_at(cursor, path, concat("metadata ", key));
    ORTHANT_CHECK(metadata_.try_emplace(key, std::move(value)).second, kData, path,
                  ": metadata key ", key, " is there twice");
  }
  for (size_t i = 0; i < static_cast<size_t>(num_tensors); ++i) {
    tensors_.push_back(tensor_at(cursor, path, i));
    const std::string& name = tensors_.back().name;
    ORTHANT_CHECK(by_name_.try_emplace(name, i).second, kData, path, ": tensor ", name,
                  " is there twice");
  }
  const int64_t* given = value<int64_t>(kAlignmentKey);
  const int64_t alignment = given ? *given : 32;
  ORTHANT_CHECK(8 <= alignment && alignment <= kMaxAlignment && alignment % 8 == 0, kData, path,
                ": ", kAlignmentKey, ": want a multiple of 8 up to ", kMaxAlignment, ", got ",
                alignment);
  data_begin_ = align_up(cursor.at(), alignment);
  check_layout(alignment);
}

void GgufReader::check_layout(int64_t alignment) {
  std::vector<const GgufTensor*> in_order;
  for (const GgufTensor& tensor : tensors_) in_order.push_back(&tensor);
  std::ranges::sort(in_order, {}, [](const GgufTensor* t) { return std::pair(t->begin, t->end); });
  int64_t at = 0;
  const int64_t data_bytes = std::max<int64_t>(0, file_.bytes() - data_begin_);
  for (const GgufTensor* tensor : in_order) {
    const int64_t want = align_up(at, alignment);
    ORTHANT_CHECK(tensor->begin == want, kData, path(), ": tensor ", tensor->name,
                  ": starts at byte ", tensor->begin, " of the data, want ", want,
                  tensor->begin > want ? " (a gap)" : " (an overlap, or not aligned)");
    ORTHANT_CHECK(tensor->end <= data_bytes, kData, path(), ": tensor ", tensor->name,
                  ": ends at byte ", tensor->end, " of the data, but the file has ", data_bytes,
                  "; it was cut: fetch it again");
    at = tensor->end;
  }
  ORTHANT_CHECK(data_bytes - at < alignment, kData, path(), ": the header describes ", at,
                " bytes of data, the file has ", data_bytes);
}

const GgufTensor* GgufReader::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

// A part of the blocks at a time, so that memory is that of the numbers.
void GgufReader::read(const GgufTensor& tensor, int64_t first, int64_t count, void* to) const {
  const GgufFormat& format = *tensor.format;
  ORTHANT_CHECK(0 <= first && 0 <= count && count <= tensor.shape.numel() - first &&
                    first % format.elems == 0 && count % format.elems == 0,
                kInternal, path(), ": tensor ", tensor.name, ": elements ", first, " to ",
                first + count, " wanted, it has ", tensor.shape.text());
  constexpr int64_t kPart = 4096;
  const int64_t begin = data_begin_ + tensor.begin + first / format.elems * format.bytes;
  const int64_t blocks = count / format.elems;
  if (!format.unpack) return file_.read(begin, to, blocks * format.bytes);
  std::vector<unsigned char> part(static_cast<size_t>(kPart * format.bytes));
  for (int64_t at = 0; at < blocks; at += kPart) {
    const int64_t here = std::min(kPart, blocks - at);
    file_.read(begin + at * format.bytes, part.data(), here * format.bytes);
    unpack_blocks(format, part.data(), here, static_cast<float*>(to) + at * format.elems);
  }
}

void GgufReader::refuse_type(const std::string& key, const GgufValue& wanted) const {
  constexpr const char* kNames[] = {
      "true or false",           "a whole number",    "a number",       "a text",
      "a list of whole numbers", "a list of numbers", "a list of texts"};
  throw_error(ErrorKind::kData,
              concat(path(), ": metadata ", key, ": want ", kNames[wanted.index()], ", got ",
                     kNames[metadata_.at(key).index()]));
}

}  // namespace orthant
