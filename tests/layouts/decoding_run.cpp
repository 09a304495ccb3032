// SPDX-License-Identifier: Apache-2.0
#include "tests/layouts/decoding_run.h"

#include <algorithm>

#include "base/error.h"
#include "model/decoder.h"
#include "trainer/pretrain_engine.h"

namespace orthant::testing {
namespace {

std::vector<DecodeRequest> requests_of(size_t begin, size_t end) {
  const std::vector<DecodeRequest> all = {{{3, 1, 4}, 6}, {{1}, 9},    {{5, 9, 2, 6, 5, 3, 5}, 12},
                                          {{8, 9, 7}, 1}, {{2, 2}, 0}, {{3, 2, 3}, 14}};
  return {all.begin() + static_cast<ptrdiff_t>(begin), all.begin() + static_cast<ptrdiff_t>(end)};
}

}  // namespace

Written write_on(const Variant& variant, const LayoutOptions& options, const Group& world,
                 size_t begin, size_t end) {
  const Engine engine = pretrain_engine(plan_of(variant, options, world.size()), world);
  load_weights(engine.role(), initial_weights(variant));
  std::vector<const Transformer*> stages;
  for (const auto& stage : engine.role().pipeline().stages()) stages.push_back(stage.get());
  const Decoder decoder(stages);
  Written written;
  written.logits.resize(end - begin);
  std::vector<std::vector<int32_t>> told(end - begin);
  DecodeCallbacks callbacks;
  callbacks.choose = [&](int64_t request, int64_t place, std::vector<double> logits) {
    auto& of_request = written.logits[static_cast<size_t>(request)];
    ORTHANT_CHECK(place == std::ssize(of_request), kInternal, "token ", place, " of request ",
                  request, " is chosen as the ", of_request.size(), "th");
    of_request.push_back(logits);
    // One ends by itself.
    if (begin + static_cast<size_t>(request) == 1 && place == 4) return -1;
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  };
  callbacks.on_token = [&](int64_t request, int32_t token) {
    told[static_cast<size_t>(request)].push_back(token);
    return true;
  };
  // Twice: a decoder is as new behind a run.
  decoder.run(requests_of(begin, end), callbacks);
  for (auto& of_request : written.logits) of_request.clear();
  for (auto& of_request : told) of_request.clear();
  written.tokens = decoder.run(requests_of(begin, end), callbacks);
  ORTHANT_CHECK(told == written.tokens, kInternal, "other tokens were told than written");
  return written;
}

}  // namespace orthant::testing
