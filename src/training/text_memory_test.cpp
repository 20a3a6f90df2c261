#include "training/text_memory.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/errors.h"
#include "training/training_test_support.h"

namespace lorikeet {
namespace {

const std::vector<std::string> kCaptions = {"a lorikeet", "", "a lorikeet", "a photo of a cat, sitting"};

class TextMemoryTest : public ::testing::Test {
 protected:
  TextMemory memory(const char* kind = "memory") {
    run_.options.encode_memory = kind;
    return {run_.models, run_.options, run_.precision, folder_.path()};
  }
  /// By the text encoder itself, each caption alone.
  torch::Tensor expected() {
    torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> rows;
    for (const auto& caption : kCaptions) {
      const auto tokens = run_.models.parts.tokenizer->encode(caption, caption_length(run_.models, run_.options));
      const auto ids = torch::tensor(tokens.ids).unsqueeze(0), mask = torch::tensor(tokens.attention_mask).unsqueeze(0);
      rows.push_back(run_.models.parts.text_encoder->forward(
          ids, run_.options.text_encoder_use_attention_mask ? mask : torch::Tensor()));
    }
    return torch::cat(rows);
  }
  /// What is asked for from here on cannot come from the text encoder.
  void spoil_encoder() {
    torch::NoGradGuard no_grad;
    for (auto& parameter : run_.models.parts.text_encoder->parameters()) parameter.zero_();
  }

  TemporaryFolder folder_;
  SmallRun run_;
};

TEST_F(TextMemoryTest, GivesTheSameBitsFromMemoryFromDiskAndFromTheEncoder) {
  const auto wanted = expected();
  ASSERT_EQ(wanted.sizes(), (std::vector<int64_t>{4, 77, 128}));
  auto off = memory("off"), in_memory = memory(), on_disk = memory("disk");
  EXPECT_TRUE(torch::equal(off.embeddings(kCaptions), wanted));
  for (int time = 0; time < 2; ++time) {
    EXPECT_TRUE(torch::equal(in_memory.embeddings(kCaptions), wanted));
    EXPECT_TRUE(torch::equal(on_disk.embeddings(kCaptions), wanted));
  }
  EXPECT_EQ(files_below(folder_.path()).size(), 3u) << "one for each caption that differs";
  auto reopened = memory("disk");
  spoil_encoder();
  EXPECT_TRUE(torch::equal(in_memory.embeddings(kCaptions), wanted));
  EXPECT_TRUE(torch::equal(reopened.embeddings(kCaptions), wanted));
  EXPECT_FALSE(torch::equal(off.embeddings(kCaptions), wanted));
}

TEST_F(TextMemoryTest, KeepsCaptionsReadWithAMaskApart) {
  const auto plain = memory("disk").embeddings(kCaptions);
  run_.options.text_encoder_use_attention_mask = true;
  for (const char* kind : {"off", "memory", "disk"}) {
    EXPECT_TRUE(torch::equal(memory(kind).embeddings(kCaptions), expected())) << kind;
  }
  EXPECT_FALSE(torch::equal(plain, expected()));
}

TEST_F(TextMemoryTest, MakesDamagedFilesAgain) {
  memory("disk").embeddings(kCaptions);
  for (const auto& path : files_below(folder_.path())) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1000, std::ios::end);
    file.write("damaged", 7);
  }
  EXPECT_TRUE(torch::equal(memory("disk").embeddings(kCaptions), expected()));
}

TEST_F(TextMemoryTest, AnswersOnlyWhatIsRememberedOnceReleased) {
  const auto wanted = expected();
  auto texts = memory();
  for (const auto& caption : kCaptions) EXPECT_TRUE(texts.remember(caption));
  texts.release();
  EXPECT_TRUE(torch::equal(texts.embeddings(kCaptions), wanted));
  EXPECT_THROW(texts.embeddings({"another"}), std::logic_error);
  EXPECT_FALSE(memory("off").remember("a lorikeet"));
}

TEST_F(TextMemoryTest, CountsWhatItKeepsAgainstItsBound) {
  auto texts = memory();
  constexpr size_t room = (size_t{1} << 30) / (size_t{77} * 128 * 4);
  EXPECT_TRUE(texts.has_room_for(room));
  EXPECT_FALSE(texts.has_room_for(room + 1));
  EXPECT_FALSE(texts.has_room_for(SIZE_MAX));
  texts.embeddings(kCaptions);
  EXPECT_TRUE(texts.has_room_for(room - 3));
  EXPECT_FALSE(texts.has_room_for(room - 2));
  EXPECT_FALSE(memory("off").has_room_for(1));
}

TEST(LearningTextEncoder, IsAskedEachTimeAndGetsGradients) {
  TrainOptions options;
  options.train_text_encoder = true;
  SmallRun run(options);
  TemporaryFolder folder;
  TextMemory texts(run.models, run.options, run.precision, folder.path());
  const auto first = texts.embeddings(kCaptions);
  EXPECT_EQ(first.scalar_type(), torch::kFloat);
  EXPECT_FALSE(texts.remember("a lorikeet"));
  EXPECT_FALSE(texts.has_room_for(1));
  first.square().mean().backward();
  for (const auto& [path, adapter] : run.models.text_lora) {
    EXPECT_TRUE(adapter->values.factors.at("up").grad().defined() &&
                adapter->values.factors.at("up").grad().ne(0).any().item<bool>())
        << path;
    torch::NoGradGuard no_grad;
    adapter->values.factors.at("up").add_(0.1);
  }
  EXPECT_FALSE(torch::equal(texts.embeddings(kCaptions), first));
}

}  // namespace
}  // namespace lorikeet
