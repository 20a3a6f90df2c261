#include "training/encode_store.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "models/adaptable.h"
#include "training/training_test_support.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

bool equal(const std::vector<torch::Tensor>& ours, const std::vector<torch::Tensor>& theirs) {
  if (ours.size() != theirs.size()) return false;
  for (size_t i = 0; i < ours.size(); ++i) {
    if (ours[i].scalar_type() != theirs[i].scalar_type() || !torch::equal(ours[i], theirs[i])) return false;
  }
  return true;
}

class EncodeStoreTest : public ::testing::Test {
 protected:
  EncodeStoreTest() : store_(folder_.path(), "latents", std::string(64, 'a')) {}
  fs::path only_file() const {
    const auto files = files_below(folder_.path());
    EXPECT_EQ(files.size(), 1u);
    return files.at(0);
  }
  static void write(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

  TemporaryFolder folder_;
  EncodeStore store_;
};

TEST_F(EncodeStoreTest, GivesBackWhatWasSaved) {
  const auto numbers = torch::arange(24).reshape({2, 3, 4});
  for (const auto dtype : {torch::kFloat, torch::kHalf, torch::kBFloat16}) {
    const std::vector<torch::Tensor> tensors = {numbers.to(dtype), numbers.to(dtype).transpose(0, 2) * 0.1};
    store_.save("a key\nof any kind", tensors);
    const auto loaded = store_.load("a key\nof any kind");
    ASSERT_TRUE(loaded);
    EXPECT_TRUE(equal(*loaded, tensors));
  }
  EXPECT_FALSE(store_.load("another key"));
}

TEST_F(EncodeStoreTest, KeepsInfinitiesAndNansBitForBit) {
  const auto odd = torch::tensor({INFINITY, -INFINITY, NAN, -0.0F});
  store_.save("odd", {odd});
  EXPECT_TRUE(torch::equal(store_.load("odd")->at(0).view(torch::kInt), odd.view(torch::kInt)));
}

TEST_F(EncodeStoreTest, KeepsKindsAndModelsApart) {
  store_.save("x", {torch::ones({2})});
  EXPECT_TRUE(EncodeStore(folder_.path(), "latents", std::string(64, 'a')).load("x"));
  EXPECT_FALSE(EncodeStore(folder_.path(), "latents", std::string(64, 'b')).load("x"));
  EXPECT_FALSE(EncodeStore(folder_.path(), "texts", std::string(64, 'a')).load("x"));
}

// Whatever byte of a file is wrong: what comes back is what was saved, or nothing.
TEST_F(EncodeStoreTest, NeverGivesDamagedTensors) {
  const std::vector<torch::Tensor> tensors = {torch::tensor({{1.5F, -2.0F}}), torch::tensor({3.0F})};
  store_.save("x", tensors);
  const auto path = only_file();
  const auto bytes = read_file(path);
  int taken = 0;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const auto put = [&](size_t at, char byte) {
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte).flush();
  };
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int flip : {0x01, 0x10, 0xFF}) {
      put(i, static_cast<char>(bytes[i] ^ flip));
      const auto loaded = store_.load("x");
      if (!loaded) continue;
      ++taken;
      ASSERT_TRUE(equal(*loaded, tensors)) << "byte " << i << " with " << flip;
    }
    put(i, bytes[i]);
  }
  EXPECT_TRUE(store_.load("x"));
  file.close();
  EXPECT_LT(taken, 60) << "only blanks and the format's metadata may pass";
  for (size_t size = bytes.size(); size-- > 0;) {
    fs::resize_file(path, size);
    EXPECT_FALSE(store_.load("x")) << size;
  }
  write(path, bytes + "x");
  EXPECT_FALSE(store_.load("x"));
  write(path, bytes);
  EXPECT_TRUE(store_.load("x"));
}

TEST_F(EncodeStoreTest, SavesOverADamagedFile) {
  store_.save("x", {torch::ones({3})});
  write(only_file(), "no tensors");
  EXPECT_FALSE(store_.load("x"));
  store_.save("x", {torch::ones({3})});
  EXPECT_TRUE(store_.load("x"));
}

TEST_F(EncodeStoreTest, PassesOverAFileInAnothersPlaceAndOtherEntries) {
  store_.save("x", {torch::ones({3})});
  const auto x = only_file();
  store_.save("y", {torch::zeros({3})});
  for (const auto& path : files_below(folder_.path())) {
    if (path != x) fs::copy_file(x, path, fs::copy_options::overwrite_existing);
  }
  EXPECT_FALSE(store_.load("y"));
  fs::remove(x);
  fs::create_directory(x);
  EXPECT_FALSE(store_.load("x"));
}

TEST_F(EncodeStoreTest, NamesAFolderThatCannotBeMade) {
  write(folder_ / "file", "");
  const EncodeStore store(folder_ / "file", "latents", std::string(64, 'a'));
  EXPECT_FALSE(store.load("x"));
  try {
    store.save("x", {torch::ones({1})});
    ADD_FAILURE() << "a folder within a file";
  } catch (const FileError& error) {
    EXPECT_NE(std::string(error.what()).find((folder_ / "file").string()), std::string::npos) << error.what();
    EXPECT_NE(error.hint().find("--cache_dir"), std::string::npos);
  }
}

TEST_F(EncodeStoreTest, SeveralMaySaveTheSameKeyAtOnce) {
  const std::vector<torch::Tensor> tensors = {torch::arange(1000), torch::arange(7)};
  std::atomic<int> wrong{0}, found{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        for (int k = 0; k < 25; ++k) {
          if (i < 3) store_.save("x", tensors);
          const auto loaded = store_.load("x");
          if (loaded) ++found;
          if (loaded && !equal(*loaded, tensors)) ++wrong;
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_GE(found, 75) << "who has saved can load";
  only_file();
}

TEST(ModelFingerprint, TellsWeightsNamesAndPrecisionsApart) {
  const auto model = [](double value) {
    auto linear = std::make_shared<AdaptableLinear>(2, 2);
    torch::NoGradGuard no_grad;
    for (auto& parameter : linear->parameters()) parameter.fill_(value);
    return linear;
  };
  const auto one = model_fingerprint(*model(1));
  EXPECT_EQ(one.size(), 64u);
  EXPECT_EQ(one, model_fingerprint(*model(1)));
  EXPECT_NE(one, model_fingerprint(*model(1.5)));
  const auto half = model(1);
  half->to(torch::kHalf);
  EXPECT_NE(one, model_fingerprint(*half));
  torch::nn::Module other;
  other.register_module("inner", model(1));
  EXPECT_NE(one, model_fingerprint(other));
}

}  // namespace
}  // namespace lorikeet
