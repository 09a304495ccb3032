// SPDX-License-Identifier: Apache-2.0
// One execution of a conformance case: memory of a backend, filled, used by calls, and read back.
//
// A case is a function of a Trial.  It is executed twice, on the oracle (the CPU in f64) and on the
// backend under test in some type M, and what both computed is compared.  Both see the same
// numbers: inputs are rounded to the tested types first.  Memory comes from the backend alone and
// is never dereferenced.  Around every array and between its rows stand bytes that nobody may
// change, inputs must come back unchanged, and outputs start as NaN.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tensor/backend.h"

namespace orthant::testing {

enum class Kind { kModel, kWide, kF64, kF32, kI32, kI64, kI8, kU8 };
// How near an output must be to the oracle's, relative to the oracle's largest entry: what the
// model's type allows, what the wide type allows, or equal.
enum class Near { kModel, kWide, kExact };

double tolerance_of(DType dtype);

using Values = std::function<double(int64_t)>;  // by index of the element
Values normal(uint64_t seed, double deviation = 1.0);
Values uniform(uint64_t seed, double low, double high);
Values constant(double value);
Values list(std::vector<double> values);

struct Result {
  std::vector<double> values;
  Near near = Near::kModel;
};

class Trial {
 public:
  // model: the M of this run; rounding: the M under test.
  Trial(const Backend& backend, DType model, DType rounding);
  ~Trial();
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  DType type(Kind kind) const { return type_of(kind, model_); }

  // A tensor of `shape` whose rows have `pad` elements between them.  An empty one has a null
  // address, as tensors without elements do.
  View in(Kind kind, const std::vector<int64_t>& shape, const Values& values, int64_t pad = 0);
  View out(const std::string& name, Kind kind, const std::vector<int64_t>& shape,
           Near near = Near::kModel, int64_t pad = 0);
  View inout(const std::string& name, Kind kind, const std::vector<int64_t>& shape,
             const Values& values, Near near = Near::kModel, int64_t pad = 0);
  // The first `count` elements of an output are defined; the rest may be anything.
  void keep_first(const std::string& name, int64_t count);
  // The elements of `of` once more, under another name.
  void same_as(const std::string& name, const std::string& of, Near near);
  // A result in host memory.
  void host_result(const std::string& name, std::vector<double> values);
  static View columns(const View& view, int64_t begin, int64_t end);

  // The prepared form of a weight, null where the backend wants none; released with the run.
  const void* prepared(const View& weight, WeightForm form);

  template <class Args>
  void call(int (*Backend::*entry)(const BackendCall*, const Args*), const char* name,
            const Args& args) {
    called_.insert(name);
    if (error_.empty() && (backend_.*entry)(&call_, &args) != 0) fail(name);
  }
  const std::set<std::string>& called() const { return called_; }

  // Reads everything back.  Problems: errors of calls, and bytes that were changed.
  std::map<std::string, Result> finish();
  const std::string& error() const { return error_; }

 private:
  struct Array;
  static DType type_of(Kind kind, DType model);
  View make(const std::string& name, Kind kind, const std::vector<int64_t>& shape,
            const Values& values, Near near, int64_t pad);
  void check(int status, const char* what) {
    if (status != 0) fail(what);
  }
  void fail(const char* what);
  void read_back(Array& array, std::map<std::string, Result>& results);

  const Backend& backend_;
  DType model_, rounding_;
  char text_[512] = "";
  BackendCall call_;
  std::vector<std::unique_ptr<Array>> arrays_;
  std::vector<void*> prepared_;
  std::set<std::string> called_;
  std::map<std::string, Result> results_;
  std::vector<std::pair<std::string, std::pair<std::string, Near>>> copies_;
  std::string error_;
};

// Calls an entry of the table: CALL(run, matmul, MatmulArgs{...}).
#define CALL(run, op, ...) (run).call(&Backend::op, #op, __VA_ARGS__)

}  // namespace orthant::testing
