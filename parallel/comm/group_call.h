// SPDX-License-Identifier: Apache-2.0
// Checks that every operation of Group starts with; for group.cpp and reduce.cpp only.
#pragma once

#include <memory>
#include <span>

#include "parallel/comm/contract.h"
#include "parallel/comm/group_impl.h"

namespace orthant::comm {

// Error(kInternal) for an undefined group.
GroupImpl& checked(const std::shared_ptr<GroupImpl>& impl);
// A new call with its place in the ring.  Collectives: with its sequence number, after all members
// have agreed on it.
Call make_call(GroupImpl& impl, OpKind kind, const char* op, const Tensor& tensor, const Site& site,
               const Terms& terms = {});
// One count per rank, that add up to the tensor's rows.
void check_rows(const char* op, const GroupImpl& impl, const Tensor& tensor,
                std::span<const int64_t> rows, const Site& site);
// Equal but for the first dimension, of equal dtype.
void check_same_rows(const char* op, const GroupImpl& impl, const Tensor& a, const Tensor& b,
                     const Site& site);
void check_peer(const char* op, const GroupImpl& impl, int peer, const Site& site);

}  // namespace orthant::comm
