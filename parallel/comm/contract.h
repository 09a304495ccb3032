// SPDX-License-Identifier: Apache-2.0
// What ranks must agree on before a collective, and how they find that they do not.
//
// In checked mode (Group::set_check_collectives) the members of a group exchange a record of the
// call before every collective: operation, group, dtype, row width, counts, root, step and call
// site.  When two records do not fit, every member throws the same Error(kComm), naming both ranks,
// both operations and both sites, and no data has moved.  Since the exchange is waited for,
// collectives of two groups that two ranks begin in crossed order are found as well, where host
// memory alone would get away with it.
//
// Rows that differ from rank to rank are checked against each other: what one sends is what the
// other expects.  send and recv carry a header with the same record in front, and which message it
// is: one that is lost is noticed at the next one, which would else be taken for it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "parallel/comm/group_impl.h"

namespace orthant::comm {

// The arguments that an operation's ranks must agree on; -1 and empty where there is nothing.
struct Terms {
  int64_t width = -1;  // elements of a row
  int64_t count = -1;  // elements, the same on all ranks
  int64_t root = -1;
  std::span<const int64_t> rows;                  // the same on all ranks
  std::span<const int64_t> send_rows, recv_rows;  // mine to r are r's of me
};

int64_t width_of(const Tensor& tensor);  // elements of a row

// Collective over the group; a no-op unless its state checks.
void agree(GroupImpl& impl, const Call& call, const Terms& terms);

// For send and recv: the header, sent before the message; and a work that is done when the header
// has come and fits, Error(kComm) when it does not.  The receiver's message waits for it
// (Call::guard).
void send_header(GroupImpl& impl, const Call& call, const Tensor& tensor, int to);
std::shared_ptr<WorkImpl> expect_header(GroupImpl& impl, const Call& call, const Tensor& tensor,
                                        int from);

}  // namespace orthant::comm
