# SPDX-License-Identifier: Apache-2.0
# The CUDA plugin liborthant_cuda.so: a module that the program opens at run time for `device: cuda|auto`, never linked.
#   ORTHANT_CUDA=AUTO  built when toolkit, NCCL and cuDNN are found;  ON  an error when not;  OFF  never
#   CMAKE_CUDA_ARCHITECTURES  80-real 90a-real 90-virtual; 90a-real alone compiles in half the time
set(ORTHANT_CUDA AUTO CACHE STRING "CUDA plugin: AUTO, ON or OFF")
set_property(CACHE ORTHANT_CUDA PROPERTY STRINGS AUTO ON OFF)

# Sets ORTHANT_HAVE_CUDA, and orthant_cuda_missing to what is not there.
macro(orthant_find_cuda)
  set(ORTHANT_HAVE_CUDA OFF)
  set(orthant_cuda_missing "")
  include(CheckLanguage)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)  # before enable_language, which would take the compiler's default
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 90-virtual CACHE STRING "architectures of the CUDA plugin")
  endif()
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25.1 does not know it
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
    endif()
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    find_package(CUDAToolkit 12.8 QUIET)
    find_package(NCCL QUIET)
    find_package(CUDNN 9.8 QUIET)
    if(NOT CUDAToolkit_FOUND)
      list(APPEND orthant_cuda_missing "CUDA toolkit 12.8 or newer")
    endif()
    if(NOT NCCL_FOUND)
      list(APPEND orthant_cuda_missing "NCCL (nccl.h, libnccl.so.2; NCCL_ROOT says where)")
    endif()
    if(NOT CUDNN_FOUND)
      list(APPEND orthant_cuda_missing "cuDNN 9.8 or newer (cudnn_version.h, libcudnn.so.9; CUDNN_ROOT says where)")
    endif()
  else()
    list(APPEND orthant_cuda_missing "nvcc (PATH or CUDACXX says where)")
  endif()
  if(orthant_cuda_missing)
    list(JOIN orthant_cuda_missing ", " orthant_cuda_missing)
  else()
    set(ORTHANT_HAVE_CUDA ON)
  endif()
endmacro()

function(orthant_cuda_plugin)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tensor/cuda/*.cpp
    ${CMAKE_SOURCE_DIR}/tensor/cuda/cudnn/*.cpp ${CMAKE_SOURCE_DIR}/tensor/cuda/kernels/*.cu)
  add_library(orthant_cuda MODULE ${sources})
  target_include_directories(orthant_cuda PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(orthant_cuda PRIVATE CUDA::cudart CUDA::cublasLt NCCL::NCCL CUDNN::cudnn)
  string(CONCAT host_warnings -Xcompiler=-Wall,-Wextra,-Wconversion,-Wno-missing-field-initializers,-Werror)
  target_compile_options(orthant_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr --Werror=all-warnings ${host_warnings}>)
  # Beside the program.  CMake leaves library folders of ld.so.conf out of the run path, and the machine that runs the
  # plugin need not be this one: say where the toolkit is.
  set(run_path "$ORIGIN")
  if(NOT ORTHANT_PORTABLE)
    list(APPEND run_path ${CUDAToolkit_LIBRARY_DIR})
  endif()
  list(APPEND run_path /usr/local/cuda/lib64)
  set_target_properties(orthant_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}
    CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "${run_path}")
  target_link_options(orthant_cuda PRIVATE -Wl,--no-undefined -Wl,--exclude-libs,ALL)
endfunction()

if(ORTHANT_CUDA STREQUAL "OFF" OR (ORTHANT_SANITIZE AND ORTHANT_CUDA STREQUAL "AUTO"))
  set(ORTHANT_HAVE_CUDA OFF)
  message(STATUS "CUDA plugin: not built (ORTHANT_CUDA=${ORTHANT_CUDA})")
else()
  orthant_find_cuda()
  if(ORTHANT_HAVE_CUDA)
    message(STATUS "CUDA plugin: toolkit ${CUDAToolkit_VERSION}, cuDNN ${CUDNN_VERSION}, NCCL ${NCCL_VERSION}, "
      "architectures ${CMAKE_CUDA_ARCHITECTURES}")
  elseif(ORTHANT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "ORTHANT_CUDA=ON wants what is not here: ${orthant_cuda_missing}")
  else()
    message(STATUS "CUDA plugin: not built, missing: ${orthant_cuda_missing}")
  endif()
endif()
