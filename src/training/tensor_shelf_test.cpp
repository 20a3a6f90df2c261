#include "training/tensor_shelf.h"

#include <gtest/gtest.h>

#include <set>

namespace lorikeet {
namespace {

TEST(TensorShelf, KeepsWhatItIsGiven) {
  TensorShelf shelf;
  std::vector<torch::Tensor> given, kept;
  for (int64_t i = 1; i < 60; ++i) {
    const auto dtype = i % 3 == 0 ? torch::kHalf : i % 3 == 1 ? torch::kFloat : torch::kLong;
    given.push_back(torch::randint(-1000, 1000, {2, i * 17, 3}).to(dtype));
    kept.push_back(shelf.keep(given.back()));
  }
  given.push_back(torch::rand({5, 7}).t());          // not contiguous
  given.push_back(torch::rand({int64_t{5} << 20}));  // larger than any block
  given.push_back(torch::empty({0, 4}));
  given.push_back(torch::tensor(3.5));
  for (size_t i = kept.size(); i < given.size(); ++i) kept.push_back(shelf.keep(given[i]));
  for (size_t i = 0; i < given.size(); ++i) {
    EXPECT_TRUE(torch::equal(kept[i], given[i])) << i;
    EXPECT_EQ(kept[i].scalar_type(), given[i].scalar_type());
    EXPECT_TRUE(kept[i].is_contiguous());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(kept[i].data_ptr()) % 64, 0u) << i;
  }
}

TEST(TensorShelf, IsACopyThatNeedsNeitherSourceNorShelf) {
  auto given = torch::ones({3}, torch::requires_grad());
  torch::Tensor kept;
  {
    TensorShelf shelf;
    kept = shelf.keep(given);
    shelf.keep(torch::zeros({3}));
  }
  given.detach().zero_();
  EXPECT_TRUE(torch::equal(kept, torch::ones({3})));
  EXPECT_FALSE(kept.requires_grad());
}

TEST(TensorShelf, TakesFewBlocks) {
  TensorShelf shelf;
  std::set<const void*> blocks;
  size_t bytes = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto kept = shelf.keep(torch::zeros({77, 128}));  // 39 MB in all
    if (blocks.insert(kept.storage().data()).second) bytes += kept.storage().nbytes();
  }
  EXPECT_LE(blocks.size(), 12u);
  EXPECT_LE(bytes, size_t{39424} * 1000 + (size_t{17} << 20));
}

}  // namespace
}  // namespace lorikeet
