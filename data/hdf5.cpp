// SPDX-License-Identifier: Apache-2.0
#include "data/hdf5.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>

namespace orthant {
namespace {

constexpr size_t kMaxTextBytes = 4096;

// A call that must succeed.
template <class Result>
Result checked(Result result, ErrorKind kind, const std::string& where, const char* what) {
  if (result < 0) [[unlikely]]
    throw_hdf5(kind, where, what);
  return result;
}

Hdf5Id open_attribute(hid_t object, const std::string& name, const std::string& where) {
  if (H5Aexists(object, name.c_str()) <= 0)
    throw_hdf5(ErrorKind::kData, where, concat("no attribute '", name, "'"));
  Hdf5Id attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose);
  checked<hid_t>(attribute, ErrorKind::kData, where, "cannot open an attribute");
  const Hdf5Id space(H5Aget_space(attribute), H5Sclose);
  ORTHANT_CHECK(space.valid() && H5Sget_simple_extent_type(space) == H5S_SCALAR, kData, where,
                ": attribute '", name, "' is not a scalar");
  return attribute;
}

template <class Value>
Value scalar_attribute(hid_t object, const std::string& name, hid_t stored, hid_t native,
                       const std::string& where) {
  const Hdf5Id attribute = open_attribute(object, name, where);
  const Hdf5Id type(H5Aget_type(attribute), H5Tclose);
  ORTHANT_CHECK(type.valid() && H5Tequal(type, stored) > 0, kData, where, ": attribute '", name,
                "' has the wrong type");
  Value value{};
  checked(H5Aread(attribute, native, &value), ErrorKind::kData, where, "cannot read an attribute");
  return value;
}

void set_scalar(hid_t object, const std::string& name, hid_t stored, hid_t native,
                const void* value, const std::string& where) {
  const Hdf5Id space(H5Screate(H5S_SCALAR), H5Sclose);
  const Hdf5Id attribute(H5Acreate2(object, name.c_str(), stored, space, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose);
  if (!attribute.valid() || H5Awrite(attribute, native, value) < 0)
    throw_hdf5(ErrorKind::kCannotWrite, where, concat("cannot write attribute '", name, "'"));
}

// Only a hard link stays inside the file: soft links may chain to external ones.
void check_hard_link(hid_t parent, const std::string& name, const std::string& where) {
  if (!hdf5_has(parent, name)) throw_hdf5(ErrorKind::kData, where, "missing");
  H5L_info_t info;
  checked(H5Lget_info(parent, name.c_str(), &info, H5P_DEFAULT), ErrorKind::kData, where,
          "cannot look at the link");
  ORTHANT_CHECK(info.type == H5L_TYPE_HARD, kData, where,
                ": is a soft or external link, which may point outside the file: refused");
}

// Memory and file selections for elements [offset, offset + size).
struct Selection {
  Hdf5Id file, memory;
};
Selection select(hid_t array, std::span<const hsize_t> start, std::span<const hsize_t> count,
                 ErrorKind kind, const std::string& where) {
  Selection s{{H5Dget_space(array), H5Sclose},
              {H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose}};
  checked<hid_t>(s.file, kind, where, "cannot get the extent");
  checked<hid_t>(s.memory, kind, where, "cannot make a selection");
  checked(H5Sselect_hyperslab(s.file, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
          kind, where, "cannot select elements");
  return s;
}
Selection select(hid_t array, int64_t offset, int64_t size, ErrorKind kind,
                 const std::string& where) {
  const hsize_t start = static_cast<hsize_t>(offset), count = static_cast<hsize_t>(size);
  return select(array, std::span(&start, 1), std::span(&count, 1), kind, where);
}

Hdf5Id create_dataset(hid_t parent, const std::string& name, hid_t type,
                      std::span<const hsize_t> extent, const std::string& where) {
  const Hdf5Id space(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr),
                     H5Sclose);
  const Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_layout(creation, H5D_CONTIGUOUS);
  H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
  H5Pset_obj_track_times(creation, false);
  Hdf5Id id(H5Dcreate2(parent, name.c_str(), type, space, H5P_DEFAULT, creation, H5P_DEFAULT),
            H5Dclose);
  checked<hid_t>(id, ErrorKind::kCannotWrite, where, "cannot make the dataset");
  return id;
}

}  // namespace

std::string hdf5_reason() {
  std::string text;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned n, const H5E_error2_t* error, void* out) -> herr_t {
        if (n == 0 && error->desc) *static_cast<std::string*>(out) = error->desc;
        return 0;
      },
      &text);
  return text.empty() ? text : concat(" (HDF5: ", text, ")");
}

void throw_hdf5(ErrorKind kind, const std::string& where, const std::string& what) {
  throw_error(kind, concat(where, ": ", what, hdf5_reason()));
}

Hdf5Id hdf5_open(const std::string& path, const char* wanted) {
  std::error_code code;
  ORTHANT_CHECK(std::filesystem::exists(path, code), kMissingInput, path, ": no such file");
  ORTHANT_CHECK(std::filesystem::is_regular_file(path, code), kData, path, ": is not a file");
  // A look at the signature first: nothing else is worth the risk of HDF5's parser.
  static constexpr std::array<char, 8> kSignature = {'\x89', 'H',  'D',    'F',
                                                     '\r',   '\n', '\x1a', '\n'};
  std::array<char, 8> head{};
  std::ifstream file(path, std::ios::binary);
  ORTHANT_CHECK(file.is_open(), kData, path, ": cannot be opened: ", std::strerror(errno));
  file.read(head.data(), head.size());
  ORTHANT_CHECK(file.gcount() == 8 && head == kSignature, kData, path,
                ": is not an HDF5 file; want ", wanted);
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  // Corpora appear by rename and are never written again, and locks fail on network file systems.
  H5Pset_file_locking(access, false, true);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  Hdf5Id id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose);
  if (!id.valid()) throw_hdf5(ErrorKind::kData, path, "damaged or truncated HDF5 file");
  return id;
}

Hdf5Id hdf5_create(const std::string& path) {
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access, false, true);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  // The newer file format has checksums on all metadata.
  H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
  const Hdf5Id creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation, false);  // equal content gives equal files
  Hdf5Id id(H5Fcreate(path.c_str(), H5F_ACC_EXCL, creation, access), H5Fclose);
  if (!id.valid()) throw_hdf5(ErrorKind::kCannotWrite, path, "cannot be created");
  return id;
}

bool hdf5_has(hid_t parent, const std::string& name) {
  return H5Lexists(parent, name.c_str(), H5P_DEFAULT) > 0;
}

Hdf5Id hdf5_open_group(hid_t parent, const std::string& name, const std::string& where) {
  check_hard_link(parent, name, where);
  Hdf5Id id(H5Gopen2(parent, name.c_str(), H5P_DEFAULT), H5Gclose);
  checked<hid_t>(id, ErrorKind::kData, where, "cannot open the group");
  return id;
}

Hdf5Array hdf5_open_array(hid_t parent, const std::string& name, hid_t type, int64_t file_bytes,
                          const std::string& where) {
  check_hard_link(parent, name, where);
  Hdf5Array array{{H5Dopen2(parent, name.c_str(), H5P_DEFAULT), H5Dclose}};
  checked<hid_t>(array.id, ErrorKind::kData, where, "cannot open the dataset");
  const Hdf5Id stored(H5Dget_type(array.id), H5Tclose), space(H5Dget_space(array.id), H5Sclose);
  const Hdf5Id creation(H5Dget_create_plist(array.id), H5Pclose);
  ORTHANT_CHECK(stored.valid() && space.valid() && creation.valid(), kData, where,
                ": cannot read the description", hdf5_reason());
  ORTHANT_CHECK(H5Tequal(stored, type) > 0, kData, where, ": wrong type: want ", H5Tget_size(type),
                "-byte little-endian numbers as in the file's header, got ", H5Tget_size(stored),
                "-byte elements of class ", static_cast<int>(H5Tget_class(stored)));
  ORTHANT_CHECK(H5Pget_layout(creation) == H5D_CONTIGUOUS && H5Pget_nfilters(creation) == 0, kData,
                where,
                ": want plain contiguous storage, got chunked, filtered or virtual: refused");
  ORTHANT_CHECK(H5Pget_external_count(creation) == 0, kData, where,
                ": is stored in other files: refused");
  hsize_t size = 0;
  ORTHANT_CHECK(H5Sget_simple_extent_type(space) == H5S_SIMPLE &&
                    H5Sget_simple_extent_ndims(space) == 1 &&
                    H5Sget_simple_extent_dims(space, &size, nullptr) == 1,
                kData, where, ": want one dimension");
  const hsize_t width = H5Tget_size(type), room = static_cast<hsize_t>(file_bytes);
  const haddr_t begin = H5Dget_offset(array.id);
  ORTHANT_CHECK(size > 0 && size <= room / width && begin != HADDR_UNDEF && begin <= room &&
                    size * width <= room - begin && H5Dget_storage_size(array.id) == size * width,
                kData, where, ": ", size, " elements do not lie inside the file");
  array.size = static_cast<int64_t>(size);
  return array;
}

Hdf5Id hdf5_create_group(hid_t parent, const std::string& name, const std::string& where) {
  const Hdf5Id creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation, false);
  Hdf5Id id(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT), H5Gclose);
  checked<hid_t>(id, ErrorKind::kCannotWrite, where, "cannot make the group");
  return id;
}

Hdf5Id hdf5_create_array(hid_t parent, const std::string& name, hid_t type, int64_t size,
                         const std::string& where) {
  const hsize_t extent = static_cast<hsize_t>(size);
  return create_dataset(parent, name, type, std::span(&extent, 1), where);
}

Hdf5Id hdf5_create_matrix(hid_t parent, const std::string& name, hid_t type, int64_t rows,
                          int64_t columns, const std::string& where) {
  const std::array<hsize_t, 2> extent = {static_cast<hsize_t>(rows), static_cast<hsize_t>(columns)};
  return create_dataset(parent, name, type, extent, where);
}

void hdf5_read(hid_t array, hid_t type, int64_t offset, int64_t size, void* out,
               const std::string& where) {
  const Selection s = select(array, offset, size, ErrorKind::kData, where);
  checked(H5Dread(array, type, s.memory, s.file, H5P_DEFAULT, out), ErrorKind::kData, where,
          "cannot be read");
}

void hdf5_write(hid_t array, hid_t type, int64_t offset, int64_t size, const void* data,
                const std::string& where) {
  const Selection s = select(array, offset, size, ErrorKind::kCannotWrite, where);
  checked(H5Dwrite(array, type, s.memory, s.file, H5P_DEFAULT, data), ErrorKind::kCannotWrite,
          where, "cannot be written");
}

void hdf5_write_rows(hid_t matrix, hid_t type, int64_t first, int64_t rows, int64_t columns,
                     const void* data, const std::string& where) {
  const std::array<hsize_t, 2> start = {static_cast<hsize_t>(first), 0},
                               count = {static_cast<hsize_t>(rows), static_cast<hsize_t>(columns)};
  const Selection s = select(matrix, start, count, ErrorKind::kCannotWrite, where);
  checked(H5Dwrite(matrix, type, s.memory, s.file, H5P_DEFAULT, data), ErrorKind::kCannotWrite,
          where, "cannot be written");
}

int64_t hdf5_int_attribute(hid_t object, const std::string& name, const std::string& where) {
  return scalar_attribute<int64_t>(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, where);
}

double hdf5_real_attribute(hid_t object, const std::string& name, const std::string& where) {
  return scalar_attribute<double>(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, where);
}

std::string hdf5_text_attribute(hid_t object, const std::string& name, const std::string& where) {
  const Hdf5Id attribute = open_attribute(object, name, where);
  const Hdf5Id type(H5Aget_type(attribute), H5Tclose);
  ORTHANT_CHECK(type.valid() && H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 &&
                    H5Tget_size(type) <= kMaxTextBytes,
                kData, where, ": attribute '", name, "' is not a text of at most ", kMaxTextBytes,
                " bytes");
  std::string text(H5Tget_size(type), '\0');
  checked(H5Aread(attribute, type, text.data()), ErrorKind::kData, where,
          "cannot read an attribute");
  return text.substr(0, text.find('\0'));
}

void hdf5_set_attribute(hid_t object, const std::string& name, int64_t value,
                        const std::string& where) {
  set_scalar(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value, where);
}

void hdf5_set_attribute(hid_t object, const std::string& name, double value,
                        const std::string& where) {
  set_scalar(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value, where);
}

void hdf5_set_attribute(hid_t object, const std::string& name, const std::string& value,
                        const std::string& where) {
  const Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, value.size() + 1);
  H5Tset_cset(type, H5T_CSET_UTF8);
  set_scalar(object, name, type, type, value.c_str(), where);
}

}  // namespace orthant
