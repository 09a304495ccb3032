// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a config.json are a model whose tensors can be named, and that
// comes back from what export writes, or one Error (README.md says how to run it).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/config/config.h"
#include "base/error.h"
#include "trainer/hub/hub_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const orthant::HubConfigOrigin origin{
      .label = "config.json", .name = "fuzz", .tokenizer = "byte"};
  try {
    const orthant::HubConfig hub = orthant::parse_hub_config(text, origin);
    const std::string out = orthant::hub_config_text(hub.config.model, orthant::DType::kF32, 0);
    orthant::parse_hub_config(out, origin);
  } catch (const orthant::Error& error) {
    const bool is_expected =
        error.kind() == orthant::ErrorKind::kData || error.kind() == orthant::ErrorKind::kConfig;
    if (is_expected) return 0;
    std::fprintf(stderr, "%s\n", error.what());
    std::abort();
  }
  return 0;
}
