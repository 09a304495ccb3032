// SPDX-License-Identifier: Apache-2.0
#include "data/config.h"

#include "tests/data/files.h"

namespace orthant {
namespace {

// Lists the full names of all fields that it visits, and gives lists `list_size` items.
class NameLister final : public FieldVisitor {
 public:
  explicit NameLister(size_t list_size) : list_size_(list_size) {}
  std::vector<std::string> names;

  void field(std::string_view name, bool&, std::string_view) override { add(name); }
  void field(std::string_view name, int64_t&, IntBounds, std::string_view) override { add(name); }
  void field(std::string_view name, double&, RealBounds, std::string_view) override { add(name); }
  void field(std::string_view name, std::string&, TextRule, std::string_view) override {
    add(name);
  }
  void field(std::string_view name, std::vector<double>&, RealBounds, std::string_view) override {
    add(name);
  }
  void field(std::string_view name, std::vector<int64_t>&, IntBounds, std::string_view) override {
    add(name);
  }
  void block(std::string_view, std::string_view,
             const std::function<void(FieldVisitor&)>& fields) override {
    fields(*this);
  }
  void list(std::string_view name, std::string_view, size_t,
            const std::function<void(size_t)>& resize,
            const std::function<void(size_t, FieldVisitor&)>& item) override {
    resize(list_size_);
    prefix_ = std::string(name) + ".";
    for (size_t i = 0; i < list_size_; ++i) item(i, *this);
    prefix_.clear();
  }
  void alias(std::string_view, std::string_view) override {}

 private:
  void add(std::string_view name) { names.push_back(prefix_ + std::string(name)); }
  size_t list_size_;
  std::string prefix_;
};

TEST(DataConfig, DescribesItself) {
  DataConfig config;
  NameLister lister(1);
  config.fields(lister);
  EXPECT_EQ(lister.names, (std::vector<std::string>{"train.path", "train.format", "train.weight",
                                                    "validation", "tokenizer", "packing",
                                                    "validation_fraction", "redact", "bad_lines"}));
  EXPECT_EQ(config.train.size(), 1u);
  config.validate();
}

TEST(DataConfig, RefusesWhatIsNotThere) {
  DataConfig config;
  expect_error(ErrorKind::kConfig, {"data.train"}, [&] { config.validate(); });
  config.train.resize(1);
  config.packing = false;
  expect_error(ErrorKind::kConfig, {"data.packing"}, [&] { config.validate(); });
}

}  // namespace
}  // namespace orthant
