// What is made once with the frozen model: latents that are remembered, and pictures of the class.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "core/errors.h"
#include "engine/random.h"
#include "pipelines/components.h"
#include "training/class_images.h"
#include "training/input_memory.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = "models/lorikeet-base";
const PictureTransform kSide64{64, Interpolation::kLanczos};

class LatentMemoryTest : public ::testing::Test {
 protected:
  LatentMemoryTest()
      : vae_(load_vae(kModel, std::nullopt, torch::kFloat)),
        instances_("tests/data/dreambooth_traces/pictures", kSide64),
        classes_("examples/demo-subject", kSide64) {}

  LatentDistribution encode(PictureFolder& folder, int64_t index, Crop crop) {
    torch::NoGradGuard no_grad;
    return vae_->encode(folder.pixels(index, crop).unsqueeze(0));
  }

  std::shared_ptr<AutoencoderKL> vae_;
  PictureFolder instances_, classes_;
};

TEST_F(LatentMemoryTest, GivesWhatTheVaeGivesForEachCutAlone) {
  LatentMemory memory(*vae_, instances_, &classes_);
  // The same index and corner in both folders must not be taken for each other.
  const PictureBatch batch = {{false, 0, {}}, {false, 1, {}}, {true, 0, {}}, {true, 1, {}}};
  for (int time = 0; time < 2; ++time) {
    const auto moments = memory.moments(batch);
    ASSERT_EQ(moments.mean.size(0), 4);
    for (int64_t row = 0; row < 4; ++row) {
      const auto expected = encode(row < 2 ? instances_ : classes_, row % 2, {});
      EXPECT_TRUE(torch::equal(moments.mean[row], expected.mean[0])) << row;
      EXPECT_TRUE(torch::equal(moments.std[row], expected.std[0])) << row;
    }
  }
}

TEST_F(LatentMemoryTest, TellsCutsOfOnePictureApart) {
  LatentMemory memory(*vae_, instances_, nullptr);
  int64_t index = 0;
  while (instances_.resized_size(index) == std::pair<int64_t, int64_t>{64, 64}) ++index;
  const auto [height, width] = instances_.resized_size(index);
  const Crop last{height - 64, width - 64};
  const auto first = memory.moments({{false, index, {}}}).mean;
  const auto other = memory.moments({{false, index, last}}).mean;
  EXPECT_TRUE(torch::equal(other, encode(instances_, index, last).mean));
  EXPECT_FALSE(torch::equal(first, other));
}

TEST_F(LatentMemoryTest, HasTheMemoryLayoutOfABatchEncodedAtOnce) {
  LatentMemory memory(*vae_, instances_, nullptr);
  torch::NoGradGuard no_grad;
  const auto pixels = torch::stack({instances_.pixels(0, {}), instances_.pixels(1, {})});
  const auto expected = vae_->encode(pixels).std;
  EXPECT_EQ(memory.moments({{false, 0, {}}, {false, 1, {}}}).std.strides(), expected.strides());
  EXPECT_TRUE(memory.moments({{false, 0, {}}}).std.is_contiguous());
}

class ClassImagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("lorikeet-class-images-test-" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    options_.pretrained_model_name_or_path = kModel;
    options_.class_data_dir = folder_ / "class";
    options_.class_prompt = "cat face";
    options_.sample_batch_size = 1;
    options_.num_class_images = 3;
    generators_ = make_training_generators(5, torch::kCPU);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void generate(TrainingObserver& observer) {
    generate_class_images(kModel, options_, TrainingPrecision{}, generators_, observer);
  }

  fs::path folder_;
  TrainDreamboothOptions options_;
  TrainingGenerators generators_;
};

/// Asks to stop as soon as one picture is there.
class StopAfterOne : public TrainingObserver {
 public:
  void on_work(const std::string&, int64_t done, int64_t total) override {
    done_ = done;
    total_ = total;
  }
  bool stop_requested() override { return done_ >= 1; }
  int64_t done_ = 0, total_ = 0;
};

TEST_F(ClassImagesTest, CountsEntriesOfEveryKind) {
  EXPECT_EQ(count_class_entries(folder_), 0);
  fs::create_directories(folder_ / "folder");
  std::ofstream(folder_ / "notes.txt") << "text";
  EXPECT_EQ(count_class_entries(folder_), 2);
}

TEST_F(ClassImagesTest, DrawsNothingWhenThereAreEnough) {
  fs::create_directories(folder_ / "class");
  for (int i = 0; i < 3; ++i) std::ofstream(folder_ / "class" / std::to_string(i)) << "text";
  const auto before = generator_state(generators_.cpu).clone();
  TrainingObserver observer;
  generate(observer);
  EXPECT_EQ(count_class_entries(folder_ / "class"), 3);
  EXPECT_TRUE(torch::equal(generator_state(generators_.cpu), before)) << "the draws that follow must not shift";
}

TEST_F(ClassImagesTest, KeepsWholePicturesWhenInterrupted) {
  fs::create_directories(folder_ / "class");
  std::ofstream(folder_ / "class" / "mine.png") << "counted, though no picture";
  StopAfterOne observer;
  EXPECT_THROW(generate(observer), Interrupted);
  EXPECT_EQ(observer.total_, 2);
  PictureFolder drawn(folder_ / "class", kSide64);
  ASSERT_EQ(drawn.size(), 1);
  EXPECT_EQ(drawn.skipped(), (std::vector<std::string>{"mine.png"}));
  const std::string name = drawn.files()[0].filename();
  EXPECT_TRUE(name.starts_with("1-") && name.ends_with(".jpg")) << name;
  EXPECT_EQ(name.size(), std::string("1-.jpg").size() + 40);
  EXPECT_EQ(drawn.resized_size(0), (std::pair<int64_t, int64_t>{64, 64}));
}

TEST_F(ClassImagesTest, NamesAFolderThatCannotBeMade) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "class") << "a file";
  TrainingObserver observer;
  EXPECT_THROW(generate(observer), FileError);
}

}  // namespace
}  // namespace lorikeet
