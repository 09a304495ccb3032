// SPDX-License-Identifier: Apache-2.0
// A teacher: what tells Distillation the distribution of the next token.  A frozen role on the
// ranks of the model that learns, or a file of what one said before.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "data/teacher_file.h"
#include "trainer/distillation.h"
#include "trainer/engine.h"

namespace orthant {

class Teacher {
 public:
  virtual ~Teacher() = default;
  // XXH3-128 of its weights.
  virtual std::string fingerprint() const = 0;
  // Hangs what it says on each of this rank's micro-batches (trainer/distillation.h).  Collective.
  virtual void look_at(std::span<MicroBatch> batches) const = 0;
  // Its logits, where distill.top_k is 0.
  virtual TeacherHead head() const { return {}; }
};

// A role that only says what it thinks; its last stage is on the ranks that hold the learner's.
class LiveTeacher final : public Teacher {
 public:
  LiveTeacher(std::shared_ptr<Role> role, const DistillSection& section, std::string fingerprint);
  std::string fingerprint() const override { return fingerprint_; }
  void look_at(std::span<MicroBatch> batches) const override;
  TeacherHead head() const override;
  const Role& role() const { return engine_.role(); }

 private:
  Engine engine_;
  std::string fingerprint_;
};

// Reads of the file what the labels of a micro-batch want: those of the local rows of ranks that
// hold the learner's last stage.
class StoredTeacher final : public Teacher {
 public:
  StoredTeacher(std::shared_ptr<const TeacherFile> file, const Role& learner)
      : file_(std::move(file)), learner_(learner) {}
  std::string fingerprint() const override { return file_->info().teacher; }
  void look_at(std::span<MicroBatch> batches) const override;

 private:
  std::shared_ptr<const TeacherFile> file_;
  const Role& learner_;
};

}  // namespace orthant
