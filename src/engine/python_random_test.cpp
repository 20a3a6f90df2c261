// Expected numbers: CPython 3.11.2 and numpy 2.4.6. For each seed
//   r = random.Random(seed)
//   r.getrandbits(32), r.getrandbits(1), r.getrandbits(33), r.getrandbits(64)
//   [r.randrange(n) for n in (1, 2, 3, 10, 1000, 2**31, 2**40, 2**62 + 1)], r.random().hex()
//   x = list(range(10)); r.shuffle(x); x, r.choice(range(100))
//   [r.getrandbits(32) for _ in range(2001)][-1], r.getstate()[1][0], r.getstate()[1][623:], sum(r.getstate()[1]) %
//   2**32
// and, for the permutations, with p = numpy.random.default_rng(seed).permutation(n):
//   p[:4].tolist(), sum((i + 1) * int(v) for i, v in enumerate(p))
#include "engine/python_random.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/errors.h"

namespace lorikeet {
namespace {

struct Drawn {
  uint64_t seed;
  std::vector<uint64_t> bits;
  std::vector<int64_t> below;
  double random;
  std::vector<int> shuffled;
  int64_t choice;
  uint64_t later;
  std::vector<uint32_t> state;  // word 0, word 623, position, sum
};

const std::vector<Drawn> kDrawn{
    {0,
     {3626764237, 0, 7550356652, 746805015404516437},
     {0, 1, 1, 4, 991, 2046968324, 619073466650, 2310513166811243937},
     0x1.f97a09ba39485p-1,
     {3, 7, 1, 9, 6, 5, 0, 4, 2, 8},
     45,
     815993425,
     {486222631, 3689111745, 181, 1245761252}},
    {1337,
     {2653228291, 1, 6585325477, 10532703126533192959U},
     {0, 1, 1, 5, 943, 1321275334, 449670706037, 1008007548670333269},
     0x1.b3b309690419ap-2,
     {4, 7, 8, 0, 2, 9, 3, 5, 1, 6},
     58,
     742067446,
     {1808064719, 2546891331, 182, 2828513801}},
    {4294967295,
     {2728839433, 1, 872737089, 9636539732900733108U},
     {0, 1, 1, 4, 363, 2135565362, 139201789749, 4402411206352659146},
     0x1.9643cce04dd4ep-1,
     {9, 1, 6, 4, 3, 7, 8, 0, 2, 5},
     69,
     865850748,
     {3246225721, 2082492670, 176, 277384608}},
    {4294967301,
     {675479763, 0, 5508238133, 15409031377063870429U},
     {0, 1, 2, 2, 796, 2129333703, 780525753049, 2903352108785239411},
     0x1.774f512b37106p-1,
     {7, 0, 5, 1, 4, 6, 9, 2, 8, 3},
     80,
     3505964265,
     {425706059, 231469787, 181, 2023865833}},
    {18446744073709551615U,
     {93740670, 0, 5747075648, 8412893781816475729},
     {0, 1, 2, 0, 754, 826990556, 1062273470235, 2563657896979781374},
     0x1.2de8d90258ff1p-1,
     {9, 0, 1, 3, 2, 7, 6, 8, 4, 5},
     45,
     2992450881,
     {3344594095, 1134242114, 173, 973222344}},
};

TEST(PythonRandom, DrawsWhatCPythonDraws) {
  for (const auto& expected : kDrawn) {
    SCOPED_TRACE(expected.seed);
    PythonRandom random(expected.seed);
    const std::array<int, 4> bits{32, 1, 33, 64};
    for (size_t i = 0; i < bits.size(); ++i) EXPECT_EQ(random.getrandbits(bits[i]), expected.bits[i]) << bits[i];
    const std::array<int64_t, 8> limits{1, 2, 3, 10, 1000, int64_t{1} << 31, int64_t{1} << 40, (int64_t{1} << 62) + 1};
    for (size_t i = 0; i < limits.size(); ++i) EXPECT_EQ(random.below(limits[i]), expected.below[i]) << limits[i];
    EXPECT_EQ(random.random(), expected.random);
    std::vector<int> shuffled(10);
    std::iota(shuffled.begin(), shuffled.end(), 0);
    random.shuffle(shuffled);
    EXPECT_EQ(shuffled, expected.shuffled);
    EXPECT_EQ(random.below(100), expected.choice);
    for (int i = 0; i < 2000; ++i) random.getrandbits(32);
    EXPECT_EQ(random.getrandbits(32), expected.later);
    const auto state = random.state();
    ASSERT_EQ(state.size(), 625U);
    const uint32_t sum = std::accumulate(state.begin(), state.end(), 0U);
    EXPECT_EQ((std::vector<uint32_t>{state[0], state[623], state[624], sum}), expected.state);
  }
}

TEST(PythonRandom, StateGoesThereAndBack) {
  PythonRandom random(7), other(8);
  random.getrandbits(5);
  other.set_state(random.state());
  EXPECT_EQ(other.state(), random.state());
  for (int i = 0; i < 700; ++i) ASSERT_EQ(other.getrandbits(64), random.getrandbits(64)) << i;
  other.set_state(PythonRandom(9).state());  // freshly seeded: all words used up
  EXPECT_EQ(other.random(), PythonRandom(9).random());
}

TEST(PythonRandom, RefusesStatesThatAreNone) {
  PythonRandom random(1);
  const auto before = random.state();
  EXPECT_THROW(random.set_state({}), FormatError);
  EXPECT_THROW(random.set_state(std::vector<uint32_t>(624, 1)), FormatError);
  EXPECT_THROW(random.set_state(std::vector<uint32_t>(626, 1)), FormatError);
  auto beyond = before;
  beyond.back() = 625;
  EXPECT_THROW(random.set_state(beyond), FormatError);
  std::vector<uint32_t> zeros(625, 0);
  zeros[0] = 0x7fffffff;  // bits that the generator does not use
  zeros[624] = 3;
  EXPECT_THROW(random.set_state(zeros), FormatError);
  EXPECT_EQ(random.state(), before);
  zeros[1] = 1;
  EXPECT_NO_THROW(random.set_state(zeros));
}

TEST(PythonRandom, RefusesRangesThatAreEmpty) {
  PythonRandom random(1);
  EXPECT_THROW(random.below(0), UsageError);
  EXPECT_THROW(random.below(-3), UsageError);
  EXPECT_THROW(random.getrandbits(0), UsageError);
  EXPECT_THROW(random.getrandbits(65), UsageError);
}

struct Permuted {
  uint64_t seed;
  int64_t n;
  std::vector<int64_t> first;
  int64_t sum;
};

const std::vector<Permuted> kPermuted{
    {0, 0, {}, 0},
    {0, 1, {0}, 0},
    {0, 2, {0, 1}, 2},
    {3, 2, {1, 0}, 1},
    {0, 10, {4, 6, 2, 7}, 240},
    {0, 1000, {459, 206, 222, 162}, 250930667},
    {0, 100000, {18836, 43996, 91795, 93254}, 249975423284886},
    {1337, 10, {7, 6, 3, 5}, 216},
    {1337, 1000, {307, 681, 275, 939}, 251457715},
    {1337, 100000, {57033, 60528, 7478, 92130}, 249086669692160},
    {4294967295, 10, {0, 1, 4, 8}, 294},
    {4294967295, 1000, {886, 862, 591, 711}, 251388526},
    {4294967295, 100000, {5495, 39960, 33570, 74166}, 249841683350904},
    {4294967301, 10, {6, 7, 4, 2}, 229},
    {4294967301, 1000, {381, 36, 487, 43}, 251175399},
    {4294967301, 100000, {95034, 20579, 90228, 50606}, 249714417334428},
    {18446744073709551615U, 10, {8, 7, 3, 0}, 245},
    {18446744073709551615U, 1000, {649, 664, 775, 331}, 249309815},
    {18446744073709551615U, 100000, {80760, 4054, 62896, 1800}, 249709015595090},
};

TEST(NumpyPermutation, IsNumpysOwn) {
  for (const auto& expected : kPermuted) {
    SCOPED_TRACE(testing::Message() << expected.seed << ", " << expected.n);
    const auto order = numpy_permutation(expected.seed, expected.n);
    ASSERT_EQ(order.size(), static_cast<size_t>(expected.n));
    int64_t sum = 0;
    for (size_t i = 0; i < order.size(); ++i) sum += static_cast<int64_t>(i + 1) * order[i];
    EXPECT_EQ(sum, expected.sum);
    const std::vector<int64_t> first(order.begin(), order.begin() + static_cast<long>(expected.first.size()));
    EXPECT_EQ(first, expected.first);
  }
}

TEST(NumpyPermutation, RefusesCountsThatAreNone) {
  EXPECT_THROW(numpy_permutation(0, -1), UsageError);
  EXPECT_THROW(numpy_permutation(0, (int64_t{1} << 32) + 1), UsageError);
}

}  // namespace
}  // namespace lorikeet
