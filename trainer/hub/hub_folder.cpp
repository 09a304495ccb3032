// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/hub_folder.h"

#include "base/error.h"
#include "checkpoint/file_io.h"

namespace orthant {

std::string hub_tokenizer(const std::string& folder) {
  const std::string path = folder + "/tokenizer.model";
  ORTHANT_CHECK(path_exists(path), kMissingInput, path,
                ": is not there; want the model's tokenizer");
  return path;
}

}  // namespace orthant
