// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/together.h"

#include <new>

namespace orthant {

std::optional<Error> first_error(const Group& world, FunctionRef<void()> body, Site site) {
  std::string mine;  // "65 text"
  const auto describe = [&](ErrorKind kind, const char* text) {
    mine = concat(static_cast<int>(kind), " ", text);
  };
  try {
    body();
  } catch (const Error& error) {
    describe(error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    describe(ErrorKind::kMemory, "out of host memory");
  } catch (const std::exception& error) {
    describe(ErrorKind::kInternal, error.what());
  }
  const std::vector<std::string> all = world.gather_text(mine, site);
  for (size_t r = 0; r < all.size(); ++r) {
    if (all[r].empty()) continue;
    const size_t space = all[r].find(' ');
    const auto kind = static_cast<ErrorKind>(std::stoi(all[r].substr(0, space)));
    const std::string text = all[r].substr(space + 1);
    return Error(kind, all.size() == 1 ? text : concat("rank ", r, ": ", text));
  }
  return std::nullopt;
}

void together(const Group& world, FunctionRef<void()> body, Site site) {
  if (const auto error = first_error(world, body, site)) throw *error;
}

}  // namespace orthant
