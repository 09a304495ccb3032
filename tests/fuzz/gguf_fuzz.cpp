// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a GGUF file are a model whose tensors can all be read, or one
// Error (README.md says how to run it).
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "trainer/hub/hub_model.h"

namespace {

// A file in memory, and a path to it.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : fd_(memfd_create("gguf", 0)) {
    if (fd_ < 0 || write(fd_, data, size) != static_cast<ssize_t>(size)) std::abort();
  }
  ~MemoryFile() { close(fd_); }
  std::string path() const { return orthant::concat("/proc/self/fd/", fd_); }

 private:
  int fd_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const MemoryFile file(data, size);
  try {
    orthant::PublishedModel published = orthant::open_published(file.path());
    published.tokenizer()->encode("Hello, world");
    const orthant::HubModel model(std::move(published));
    for (const orthant::ImportTensor& tensor : model.tensors()) model.read(tensor);
  } catch (const orthant::Error& error) {
    const bool is_expected =
        error.kind() == orthant::ErrorKind::kData || error.kind() == orthant::ErrorKind::kConfig;
    if (is_expected) return 0;
    std::fprintf(stderr, "%s\n", error.what());
    std::abort();
  }
  return 0;
}
