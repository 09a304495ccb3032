// SPDX-License-Identifier: Apache-2.0
// A text that was rewritten from its beginning to its end, and where its places were before.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orthant {

class Rewriting {
 public:
  // Goes on with the next bytes of the old text, as they are.
  void keep(std::string_view old) {
    text_ += old;
    old_size_ += old.size();
  }
  // Goes on with `by` in place of the next `old_size` bytes.
  void replace(size_t old_size, std::string_view by) {
    text_ += by;
    old_size_ += old_size;
    changes_.push_back({text_.size() - by.size(), text_.size(), old_size_ - old_size, old_size_});
  }
  const std::string& text() const { return text_; }
  // The place in the old text; none inside of what was replaced.  Places are asked for in growing
  // order.
  std::optional<size_t> before(size_t place) {
    while (next_ < changes_.size() && changes_[next_].end <= place) ++next_;
    if (next_ < changes_.size() && changes_[next_].begin < place) return std::nullopt;
    if (next_ == 0) return place;
    const Change& last = changes_[next_ - 1];
    return place - last.end + last.old_end;
  }
  // The place in the old text that what stands at `place` was made of: where that begins, inside of
  // what was replaced.  In any order.
  size_t origin(size_t place) const {
    const auto behind =
        std::upper_bound(changes_.begin(), changes_.end(), place,
                         [](size_t at, const Change& change) { return at < change.begin; });
    if (behind == changes_.begin()) return place;
    const Change& last = behind[-1];
    return place < last.end ? last.old_begin : place - last.end + last.old_end;
  }

 private:
  struct Change {
    size_t begin, end, old_begin, old_end;
  };
  std::string text_;
  size_t old_size_ = 0;
  std::vector<Change> changes_;
  size_t next_ = 0;  // the first change that ends behind the last place asked for
};

}  // namespace orthant
