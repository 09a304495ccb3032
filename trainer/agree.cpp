// SPDX-License-Identifier: Apache-2.0
#include "trainer/agree.h"

#include "base/error.h"

namespace orthant {

std::string first_rank_does(const Group& group, const std::function<std::string()>& work,
                            Site site) {
  // "0 text" or "KIND message".
  std::string answer;
  if (group.rank() == 0) {
    try {
      answer = "0 " + work();
    } catch (const Error& error) {
      answer = concat(error.exit_code(), " ", error.what());
    } catch (const std::exception& error) {
      answer = concat(static_cast<int>(ErrorKind::kInternal), " ", error.what());
    }
  }
  answer = group.gather_text(answer, site).front();
  const size_t space = answer.find(' ');
  const int kind = std::stoi(answer.substr(0, space));
  const std::string text = answer.substr(space + 1);
  if (kind != 0) throw_error(static_cast<ErrorKind>(kind), text);
  return text;
}

}  // namespace orthant
