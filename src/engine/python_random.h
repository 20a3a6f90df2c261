// The random numbers of CPython's `random` module and of numpy's default generator, draw for draw; torch-free.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace lorikeet {

/// Python's random.Random: a Mersenne Twister (MT19937, Matsumoto and Nishimura 1998), seeded as random.seed(int) does
/// it.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);

  /// random.getrandbits(bits), with 1 to 64 bits.
  uint64_t getrandbits(int bits);
  /// random.randrange(n), n >= 1; also what random.choice draws for the index into n things. Draws even where n is 1.
  int64_t below(int64_t n);
  /// random.random(): 53 bits in [0, 1).
  double random();

  /// random.shuffle(values)
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (size_t i = values.size(); i > 1; --i) {
      const auto j = static_cast<size_t>(below(static_cast<int64_t>(i)));
      if (j != i - 1) std::swap(values[i - 1], values[j]);
    }
  }

  /// random.getstate()[1]: the 624 words, then how many of them are used up. (A second normal number kept by
  /// random.gauss is not part of it, as nothing here draws normal numbers.)
  std::vector<uint32_t> state() const;
  /// random.setstate; throws FormatError for another count of words, a position above 624, or words that are all zero.
  void set_state(const std::vector<uint32_t>& state);

 private:
  static constexpr size_t kWords = 624;
  uint32_t next();
  void refill();

  std::array<uint32_t, kWords> words_;
  size_t position_ = kWords;
};

/// numpy.random.default_rng(seed).permutation(n): how datasets' Dataset.shuffle(seed=seed) orders n rows.
/// (SeedSequence and PCG64 as described by O'Neill, 2014 and 2015.)
/// Throws UsageError when n is negative or above 2^32.
std::vector<int64_t> numpy_permutation(uint64_t seed, int64_t n);

}  // namespace lorikeet
