// SPDX-License-Identifier: Apache-2.0
// events.out.tfevents.*: the scalars of metrics.jsonl for TensorBoard.
//
// A file is a row of records (TFRecord: u64 length, u32 masked CRC-32C of the length, bytes, u32
// masked CRC-32C of the bytes; little-endian), each an Event protobuf of tensorboard/compat/proto:
//   Event      {1: double wall_time, 2: int64 step, 3: string file_version, 5: Summary,
//               7: SessionLog}
//   Summary    {1: repeated Value {1: string tag, 2: float simple_value}}
//   SessionLog {1: Status, START = 1}
//
// A process writes a file of its own.  When a run is resumed, what older files hold from beyond the
// checkpoint, or torn, is cut off in place, and the new file begins with a SessionLog START at the
// next step, by which a TensorBoard that is open drops what it has read beyond it.  So no step is
// there twice, whoever reads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "trainer/run/append_file.h"
#include "trainer/run/metrics.h"

namespace orthant {

// Of Castagnoli's polynomial, as in iSCSI (RFC 3720); rotated and shifted as TFRecord wants it.
uint32_t crc32c(std::string_view bytes);
uint32_t masked_crc32c(std::string_view bytes);

// Owned by rank 0.
class EventFile {
 public:
  // Cuts the event files of `dir` back to `last_step` (0: removes them) and begins a new one.
  // Error(kCannotWrite).
  EventFile(const std::string& dir, int64_t last_step);
  void write(const StepMetrics& metrics);

 private:
  std::unique_ptr<AppendFile> file_;
};

}  // namespace orthant
