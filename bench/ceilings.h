// SPDX-License-Identifier: Apache-2.0
// What a device can do at most, to say how near a measured rate comes.
#pragma once

#include <string>

#include "tensor/device.h"
#include "tensor/dtype.h"

namespace orthant {

struct Ceilings {
  std::string device;    // its name
  double flops = 0;      // of matrix products in the given type, a second; 0 = not known
  double bandwidth = 0;  // bytes of memory, read and written, a second; 0 = not known
};

// CPU: measured on this rank's threads, products in cache and a copy of a large tensor.  CUDA: the
// dense rates and the bandwidth of NVIDIA's data sheets, for the devices that are listed here.
Ceilings ceilings_of(Device device, DType dtype);

}  // namespace orthant
