// SPDX-License-Identifier: Apache-2.0
#include "trainer/teacher_writing.h"

#include <algorithm>

#include "base/error.h"
#include "parallel/comm/transport.h"
#include "trainer/agree.h"
#include "trainer/device.h"
#include "trainer/run_teacher.h"
#include "trainer/step_loop.h"

namespace orthant {
namespace {

constexpr int64_t kWindow = 8;  // micro-batches that a rank looks at before they are written

// A label's number, its ids and their log-probabilities.
class LabelRows {
 public:
  explicit LabelRows(int64_t top_k) : k_(top_k) {}
  int64_t columns() const { return 2 * k_ + 2; }

  // Of all labels of a micro-batch, in order; what this rank does not know is zeros.
  void add(const MicroBatch& batch, const TokenRows& rows) {
    const std::vector<double>& numbers = batch.token_columns.at(kLabelNumbers);
    const auto ids = batch.local_rows.find(kTeacherIds);
    std::vector<int64_t> row_of(numbers.size(), -1);  // by token: of this rank's local rows
    if (ids != batch.local_rows.end())
      for (const TokenRows::Run& run : rows.runs(0, rows.num_local()))
        for (int64_t i = run.begin; i < run.end; ++i)
          row_of[static_cast<size_t>(run.token + i - run.begin)] = i;
    for (size_t token = 0; token < numbers.size(); ++token) {
      if (numbers[token] < 0) continue;
      const size_t at = values_.size();
      values_.resize(at + static_cast<size_t>(columns()), 0.0);
      const int64_t row = row_of[token];
      if (row < 0) continue;
      double* out = values_.data() + at;
      *out++ = numbers[token];
      const int32_t* id = ids->second.as<int32_t>() + row * k_;
      out = std::copy_n(id, k_, out);
      const std::vector<double> log_probs =
          batch.local_rows.at(kTeacherLogProbs).slice(row, row + 1).to_doubles();
      std::copy(log_probs.begin(), log_probs.end(), out);
    }
  }

  // Those of all ranks, on all of them.  Collective.
  void gather(const RankGroups& groups) {
    if (groups.losses.size() > 1) values_ = groups.losses.sum(values_);
    if (groups.data.size() == 1) return;
    const auto all_of = [&](const std::vector<double>& own) {
      const Tensor all = Tensor::empty({std::ssize(own) * groups.data.size()}, DType::kF64);
      groups.data.all_gather(Tensor::from({std::ssize(own)}, own, DType::kF64), all).wait();
      return all.to_doubles();
    };
    const std::vector<double> sizes = all_of({static_cast<double>(values_.size())});
    const auto most = static_cast<size_t>(*std::max_element(sizes.begin(), sizes.end()));
    values_.resize(most, 0.0);
    const std::vector<double> padded = all_of(values_);
    values_.clear();
    for (size_t rank = 0; rank < sizes.size(); ++rank) {
      const auto begin = padded.begin() + static_cast<std::ptrdiff_t>(rank * most);
      values_.insert(values_.end(), begin, begin + static_cast<std::ptrdiff_t>(sizes[rank]));
    }
  }

  // Runs of consecutive labels go together.
  void write(TeacherFileWriter& writer) const {
    const auto number = [&](size_t row) { return static_cast<int64_t>(at(row)[0]); };
    for (size_t begin = 0, end = 0; begin < num_rows(); begin = end) {
      end = begin + 1;
      while (end < num_rows() && number(end) == number(end - 1) + 1) ++end;
      std::vector<int32_t> ids;
      std::vector<double> log_probs;
      for (size_t row = begin; row < end; ++row) {
        const double* values = at(row) + 1;
        for (int64_t i = 0; i < k_; ++i) ids.push_back(static_cast<int32_t>(values[i]));
        log_probs.insert(log_probs.end(), values + k_, values + 2 * k_ + 1);
      }
      writer.add(number(begin), ids, log_probs);
    }
  }

 private:
  size_t num_rows() const { return values_.size() / static_cast<size_t>(columns()); }
  const double* at(size_t row) const {
    return values_.data() + row * static_cast<size_t>(columns());
  }

  int64_t k_;
  std::vector<double> values_;
};

void write_all(const FinetuneConfig& config, const SupervisedData& data, const LiveTeacher& teacher,
               const std::string& path) {
  const RankGroups& groups = teacher.role().groups();
  const int64_t top_k = config.distill.top_k;
  std::unique_ptr<TeacherFileWriter> writer;
  const auto first_rank = [&](const std::function<void()>& work) {
    first_rank_does(groups.world, [&] { return work(), std::string(); });
  };
  first_rank([&] {
    writer = std::make_unique<TeacherFileWriter>(
        path, TeacherFileInfo{.labels = data.num_labels(),
                              .top_k = top_k,
                              .vocab_size = config.model.vocab_size,
                              .temperature = config.distill.temperature,
                              .dtype = wide_of(config.precision),
                              .data = data.examples,
                              .tokenizer = data.tokenizer->name(),
                              .teacher = teacher.fingerprint(),
                              .precision = precision_names().of(config.precision)});
  });
  const auto pass_over = [&](const std::shared_ptr<const Examples>& examples, int64_t first_label) {
    const SupervisedEvaluation rows =
        make_supervised_pass(config, data, examples, first_label, groups.data);
    for (int64_t begin = 0; begin < rows.num_batches(); begin += kWindow) {
      std::vector<MicroBatch> batches;
      for (int64_t i = begin; i < std::min(begin + kWindow, rows.num_batches()); ++i)
        batches.push_back(rows.batch(i));
      teacher.look_at(batches);
      LabelRows labels(top_k);
      for (const MicroBatch& batch : batches)
        if (batch.token_columns.contains(kLabelNumbers))
          labels.add(batch, groups.rows_of(batch.sequences, batch.length));
      labels.gather(groups);
      first_rank([&] { labels.write(*writer); });
    }
  };
  for (const SupervisedSource& source : data.train) pass_over(source.examples, source.first_label);
  if (data.validation) pass_over(data.validation, data.first_held_out());
  first_rank([&] { writer->commit(); });
}

}  // namespace

int64_t write_teacher_log_probs(const RunPlan& plan, const FinetuneSections& sections,
                                const std::string& path, const Group& host_world) {
  const FinetuneConfig config(plan.config(), sections);
  const TeacherSection& named = config.distill.teacher;
  ORTHANT_CHECK(!named.from.empty() && named.log_probs.empty(), kConfig,
                "distill.teacher.from: want the teacher that says what is written, and no "
                "distill.teacher.log_probs");
  ORTHANT_CHECK(config.distill.top_k > 0, kConfig,
                "distill.top_k: want the number of tokens that are written of each label, got 0");
  agree_on_configuration<FinetuneConfig>(to_yaml(FinetuneConfig(plan.open_config(), sections)),
                                         host_world);
  const SupervisedData data = open_supervised_data(config, host_world);
  const Device device = device_of(config.device);
  const Group world = connect_devices(host_world, device, config.parallel.device_transport);
  write_all(config, data, *make_run_teacher(config, plan, *data.tokenizer, world, device).teacher,
            path);
  return data.num_labels();
}

}  // namespace orthant
