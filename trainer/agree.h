// SPDX-License-Identifier: Apache-2.0
// Work that one rank does for all, or each for itself, where all must know how it went; and what
// all must have alike.
#pragma once

#include <functional>
#include <string>

#include "parallel/comm/group.h"

namespace orthant {

// Rank 0 runs `work`; every rank returns its text, or throws its Error.  Collective.
std::string first_rank_does(const Group& group, const std::function<std::string()>& work,
                            Site site = Site::current());

// Every rank runs `work`, which talks to no other rank.  Where it fails on some, all throw the
// Error of the first of them, which names them all where it is not all ranks.  Collective.
void every_rank_does(const Group& group, const std::function<void()>& work,
                     Site site = Site::current());

// That every rank has the same `text`: Error(kConfig) naming the odd ranks (those that are not with
// the majority, or not with rank 0 where there is none) and how theirs differs, as `difference`
// says it of (theirs, that of the others).  what: "the configuration".  Collective.
using Differ = std::function<std::string(const std::string& theirs, const std::string& others)>;
void check_same_everywhere(const Group& group, const std::string& what, const std::string& text,
                           const Differ& difference, Site site = Site::current());

}  // namespace orthant
