#include "training/class_images.h"

#include "core/atomic_file.h"
#include "core/digest.h"
#include "core/errors.h"
#include "core/text.h"
#include "engine/device.h"
#include "engine/random.h"
#include "pipelines/denoise.h"

namespace lorikeet {
namespace {

torch::ScalarType generation_dtype(const TrainDreamboothOptions& options, torch::Device device) {
  const auto& name = options.prior_generation_precision;
  if (name && *name != "no") return parse_dtype(*name, device);
  return device.is_cpu() ? torch::kFloat : torch::kHalf;
}

}  // namespace

int64_t count_class_entries(const std::filesystem::path& folder) {
  std::error_code error;
  int64_t count = 0;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (!is_unfinished_file(it->path())) ++count;
  }
  return count;
}

void generate_class_images(const ModelSource& model, const TrainDreamboothOptions& options,
                           const TrainingPrecision& precision, TrainingGenerators& generators,
                           TrainingObserver& observer) {
  const std::filesystem::path folder = *options.class_data_dir;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw FileError(str("cannot create --class_data_dir ", folder.string(), ": ", error.message()),
                    "name a folder that you may write to");
  }
  const int64_t present = count_class_entries(folder), missing = options.num_class_images - present;
  if (missing <= 0) return;

  auto parts = load_components(model, options.variant, generation_dtype(options, precision.device));
  parts.text_encoder->to(precision.device);
  parts.vae->to(precision.device);
  parts.unet->to(precision.device);
  const auto scheduler = make_pipeline_scheduler(parts.scheduler_config);
  PictureRequest request;
  request.height = request.width = parts.unet->config().sample_size * parts.vae->config().downsampling_factor();
  request.callback = [&](int64_t, int64_t, const torch::Tensor&) { return !observer.stop_requested(); };
  draw_seed(generators.cpu);  // the script's DataLoader over the prompts draws a base seed
  const std::string what = "Generating class images";
  observer.on_ready();
  observer.on_work(what, 0, missing);
  for (int64_t done = 0; done < missing;) {
    const int64_t count = std::min(options.sample_batch_size, missing - done);
    request.prompts.assign(static_cast<size_t>(count), *options.class_prompt);
    const auto images = generate_images(parts, *scheduler, request, generators.device);
    for (const auto& image : images) {
      write_image(
          folder / str(present + done, "-",
                       sha1_hex({reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size()}), ".jpg"),
          image);
      ++done;
    }
    observer.on_work(what, done, missing);
  }
}

}  // namespace lorikeet
