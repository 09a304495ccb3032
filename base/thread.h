// SPDX-License-Identifier: Apache-2.0
// Starts threads: systems limit their number, and a refusal is an error like others.
#pragma once

#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"

namespace orthant {

// "cannot start a thread: Resource temporarily unavailable; ...", for messages.
std::string why_no_thread(const std::system_error& error);

// A std::thread, or std::jthread, that runs `body`; Error(kDevice) that says what it was wanted for
// where the system refuses one.
template <class Thread = std::thread, class Body>
Thread start_thread(const char* purpose, Body&& body) {
  try {
    return Thread(std::forward<Body>(body));
  } catch (const std::system_error& error) {
    throw_error(ErrorKind::kDevice, concat(purpose, ": ", why_no_thread(error)));
  }
}

}  // namespace orthant
