// SPDX-License-Identifier: Apache-2.0
#include "tests/fake_device/fake_control.h"

namespace orthant::testing {

FakeControl& fake_control() {
  static auto* control = new FakeControl;  // device memory may outlive main
  return *control;
}

}  // namespace orthant::testing
