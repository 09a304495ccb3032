// SPDX-License-Identifier: Apache-2.0
// A thin layer over HDF5's C interface: owned handles, checked calls, and the refusals that keep a
// file from reaching outside itself.  For data/*.cpp only; call everything on the HDF5 thread.
//
// `where` is what an error message begins with: "FILE: dataset 'train/tokens'".
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <string>
#include <utility>

#include "base/error.h"

namespace orthant {

// Owns one HDF5 identifier.
class Hdf5Id {
 public:
  using Close = herr_t (*)(hid_t);
  Hdf5Id() = default;
  Hdf5Id(hid_t id, Close close) : id_(id), close_(close) {}
  Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Id& operator=(Hdf5Id&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Hdf5Id() { close(); }
  operator hid_t() const { return id_; }
  bool valid() const { return id_ >= 0; }
  // False when HDF5 reports an error, which for a written file means that it is not complete.
  bool close() {
    const hid_t id = std::exchange(id_, -1);
    return id < 0 || close_(id) >= 0;
  }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

// The innermost message of the last failed call, as " (HDF5: ...)", or "".
std::string hdf5_reason();

// Throws Error(kind) "where: what (HDF5: reason)".
[[noreturn]] void throw_hdf5(ErrorKind kind, const std::string& where, const std::string& what);

// Opens a file for reading.  Error(kMissingInput), or Error(kData) when it is no HDF5 file (it says
// what is wanted) or is truncated.
Hdf5Id hdf5_open(const std::string& path,
                 const char* wanted = "a corpus made by 'orthant prepare'");
// Makes a new file that must not exist.  Its metadata carry checksums.  Error(kCannotWrite).
Hdf5Id hdf5_create(const std::string& path);

// Members, reached through hard links only; a missing one is Error(kData).
bool hdf5_has(hid_t parent, const std::string& name);
Hdf5Id hdf5_open_group(hid_t parent, const std::string& name, const std::string& where);
// A plain one-dimensional array inside the file: contiguous, no filter, no external or virtual
// storage, stored completely.  `type` is what it must be, for example H5T_STD_U16LE.
struct Hdf5Array {
  Hdf5Id id;
  int64_t size = 0;
};
Hdf5Array hdf5_open_array(hid_t parent, const std::string& name, hid_t type, int64_t file_bytes,
                          const std::string& where);
Hdf5Id hdf5_create_group(hid_t parent, const std::string& name, const std::string& where);
Hdf5Id hdf5_create_array(hid_t parent, const std::string& name, hid_t type, int64_t size,
                         const std::string& where);

// Elements [offset, offset + size) of an array, in the file's own type.
void hdf5_read(hid_t array, hid_t type, int64_t offset, int64_t size, void* out,
               const std::string& where);
void hdf5_write(hid_t array, hid_t type, int64_t offset, int64_t size, const void* data,
                const std::string& where);

// A contiguous matrix, and whole rows of it, of `columns` elements each.
Hdf5Id hdf5_create_matrix(hid_t parent, const std::string& name, hid_t type, int64_t rows,
                          int64_t columns, const std::string& where);
void hdf5_write_rows(hid_t matrix, hid_t type, int64_t first, int64_t rows, int64_t columns,
                     const void* data, const std::string& where);

// Scalar attributes: 64-bit integers, doubles, fixed-length text of at most 4,096 bytes.
int64_t hdf5_int_attribute(hid_t object, const std::string& name, const std::string& where);
double hdf5_real_attribute(hid_t object, const std::string& name, const std::string& where);
std::string hdf5_text_attribute(hid_t object, const std::string& name, const std::string& where);
void hdf5_set_attribute(hid_t object, const std::string& name, int64_t value,
                        const std::string& where);
void hdf5_set_attribute(hid_t object, const std::string& name, double value,
                        const std::string& where);
void hdf5_set_attribute(hid_t object, const std::string& name, const std::string& value,
                        const std::string& where);

}  // namespace orthant
