#include "training/class_images.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/errors.h"
#include "engine/random.h"
#include "training/training_test_support.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

class ClassImagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.pretrained_model_name_or_path = kModel;
    options_.class_data_dir = folder_ / "class";
    options_.class_prompt = "cat face";
    options_.sample_batch_size = 1;
    options_.num_class_images = 3;
    generators_ = make_training_generators(5, torch::kCPU);
  }

  void generate(TrainingObserver& observer) {
    generate_class_images(kModel, options_, TrainingPrecision{}, generators_, observer);
  }

  TemporaryFolder folder_;
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
  EXPECT_EQ(count_class_entries(folder_ / "none"), 0);
  EXPECT_EQ(count_class_entries(folder_.path()), 0);
  fs::create_directories(folder_ / "folder");
  std::ofstream(folder_ / "notes.txt") << "text";
  EXPECT_EQ(count_class_entries(folder_.path()), 2);
}

TEST_F(ClassImagesTest, CountsNothingThatAKilledRunLeftHalfWritten) {
  std::ofstream(folder_ / "0-abc.jpg") << "whole";
  std::ofstream(folder_ / "1-def.jpg.123.0.incomplete") << "\xff\xd8\xff";
  EXPECT_EQ(count_class_entries(folder_.path()), 1);
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
  std::vector<std::string> skipped;
  PictureSet drawn(list_pictures(folder_ / "class", skipped), kSide64);
  ASSERT_EQ(drawn.size(), 1);
  EXPECT_EQ(skipped, (std::vector<std::string>{"mine.png"}));
  const std::string name = drawn.record(0).file.filename();
  EXPECT_TRUE(name.starts_with("1-") && name.ends_with(".jpg")) << name;
  EXPECT_EQ(name.size(), std::string("1-.jpg").size() + 40);
  EXPECT_EQ(drawn.resized_extent(0), (PictureExtent{64, 64}));
}

TEST_F(ClassImagesTest, NamesAFolderThatCannotBeMade) {
  std::ofstream(folder_ / "class") << "a file";
  TrainingObserver observer;
  EXPECT_THROW(generate(observer), FileError);
}

}  // namespace
}  // namespace lorikeet
