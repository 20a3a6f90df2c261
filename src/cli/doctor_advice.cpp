#include "cli/doctor.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr int64_t kGibibyte = int64_t{1} << 30;
// Stable Diffusion 1.5 in fp32 is 4 GiB of weights; training at 512 x 512 needs about as much again.
constexpr int64_t kMemoryForTraining = 10 * kGibibyte;
constexpr int64_t kDiskForAModel = 6 * kGibibyte;

}  // namespace

std::vector<std::string> advice(const Findings& found) {
  std::vector<std::string> notes;
  if (found.gpu_present && !found.gpu_usable) {
    notes.push_back(str("There is a GPU, but libtorch cannot use it: ", found.gpu_problem));
  }
  if (!found.gpu_usable) {
    notes.push_back(
        "Without a GPU, Stable Diffusion 1.5 takes many seconds per step at 512 pixels; the embedded base model is "
        "made "
        "for a CPU.");
    if (!found.processor.has("avx2")) notes.push_back("The processor has no AVX2: expect a fraction of usual speed.");
    if (!found.processor.has("avx512_bf16") && !found.processor.has("amx_bf16")) {
      notes.push_back("The processor has no bf16 arithmetic: --mixed_precision=bf16 saves memory here, but no time.");
    }
    if (found.threads < found.processor.usable_cores) {
      notes.push_back(str("libtorch uses ", found.threads, " of ", found.processor.usable_cores,
                          " cores: OMP_NUM_THREADS or MKL_NUM_THREADS holds it back."));
    }
    if (found.threads > found.processor.usable_cores) {
      notes.push_back(str("libtorch uses ", found.threads, " threads on ", found.processor.usable_cores,
                          " cores: set OMP_NUM_THREADS=", found.processor.usable_cores, "."));
    }
    if (found.memory.available < kMemoryForTraining) {
      notes.push_back(str("Only ", bytes_text(found.memory.available),
                          " of memory are free: for Stable Diffusion 1.5 use --gradient_checkpointing, "
                          "--mixed_precision=bf16 or a smaller --resolution."));
    }
  }
  if (found.free_disk < kDiskForAModel) {
    notes.push_back(
        str("Only ", bytes_text(found.free_disk),
            " of disk are free here: a Stable Diffusion 1.5 folder takes up to 5.5 GB, a checkpoint a few MB."));
  }
  return notes;
}

}  // namespace lorikeet
