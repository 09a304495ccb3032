# SPDX-License-Identifier: Apache-2.0
# ORTHANT_PORTABLE: programs that need nothing but libc and libmpi on the machine they are carried to.  The libraries that
# find_package() found are replaced by their archives, or by their headers where Debian has no archive.

# orthant_link_archive(TARGET NAME [LIBRARY...]): links libNAME.a for TARGET, and what the archive needs itself.
function(orthant_link_archive target name)
  find_library(archive_of_${name} lib${name}.a REQUIRED)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION ${archive_of_${name}}
    IMPORTED_LOCATION_NONE ${archive_of_${name}} IMPORTED_LOCATION_RELEASE ${archive_of_${name}}
    INTERFACE_LINK_LIBRARIES "${ARGN}")
endfunction()

orthant_link_archive(ZLIB::ZLIB z)
find_library(SZIP_ARCHIVE libsz.a REQUIRED)
find_library(AEC_ARCHIVE libaec.a REQUIRED)
orthant_link_archive(hdf5::hdf5 hdf5_serial ${SZIP_ARCHIVE} ${AEC_ARCHIVE} ZLIB::ZLIB m ${CMAKE_DL_LIBS})
orthant_link_archive(yaml-cpp yaml-cpp)
find_library(XXHASH_ARCHIVE libxxhash.a REQUIRED)
set(XXHASH_LIBRARY ${XXHASH_ARCHIVE})
find_library(PCRE2_ARCHIVE libpcre2-8.a REQUIRED)
set(PCRE2_LIBRARY ${PCRE2_ARCHIVE})
find_library(UTF8PROC_ARCHIVE libutf8proc.a REQUIRED)
set(UTF8PROC_LIBRARY ${UTF8PROC_ARCHIVE})
find_library(ZSTD_ARCHIVE libzstd.a REQUIRED)
set(ZSTD_LIBRARY ${ZSTD_ARCHIVE})
set(ORTHANT_SPDLOG spdlog::spdlog_header_only)
set_target_properties(spdlog::spdlog_header_only PROPERTIES INTERFACE_LINK_LIBRARIES "Threads::Threads;fmt::fmt-header-only")

add_link_options(-static-libstdc++ -static-libgcc)
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)  # no folder of this machine in a program
