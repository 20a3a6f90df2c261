#include "engine/python_random.h"

#include <algorithm>
#include <bit>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {

PythonRandom::PythonRandom(uint64_t seed) {
  // The seed's 32-bit words are the key, lowest first; 0 has one word as well.
  const std::array<uint32_t, 2> key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  const size_t length = key[1] == 0 ? 1 : 2;
  words_[0] = 19650218;
  for (size_t i = 1; i < kWords; ++i) {
    words_[i] = 1812433253U * (words_[i - 1] ^ (words_[i - 1] >> 30)) + static_cast<uint32_t>(i);
  }
  size_t i = 1, j = 0;
  const auto advance = [&] {
    if (++i == kWords) {
      words_[0] = words_[kWords - 1];
      i = 1;
    }
  };
  const auto mixed = [&](uint32_t factor) { return words_[i] ^ ((words_[i - 1] ^ (words_[i - 1] >> 30)) * factor); };
  for (size_t step = 0; step < kWords; ++step) {
    words_[i] = mixed(1664525) + key[j] + static_cast<uint32_t>(j);
    advance();
    j = (j + 1) % length;
  }
  for (size_t step = 1; step < kWords; ++step) {
    words_[i] = mixed(1566083941) - static_cast<uint32_t>(i);
    advance();
  }
  words_[0] = 0x80000000U;
}

void PythonRandom::refill() {
  constexpr size_t kMiddle = 397;
  for (size_t i = 0; i < kWords; ++i) {
    const uint32_t joined = (words_[i] & 0x80000000U) | (words_[(i + 1) % kWords] & 0x7fffffffU);
    words_[i] = words_[(i + kMiddle) % kWords] ^ (joined >> 1) ^ ((joined & 1U) * 0x9908b0dfU);
  }
  position_ = 0;
}

uint32_t PythonRandom::next() {
  if (position_ == kWords) refill();
  uint32_t word = words_[position_++];
  word ^= word >> 11;
  word ^= (word << 7) & 0x9d2c5680U;
  word ^= (word << 15) & 0xefc60000U;
  return word ^ (word >> 18);
}

uint64_t PythonRandom::getrandbits(int bits) {
  if (bits < 1 || bits > 64) throw UsageError(str("cannot draw ", bits, " random bits; expected 1 to 64"));
  if (bits <= 32) return next() >> (32 - bits);
  const uint64_t low = next();
  return low | (static_cast<uint64_t>(next() >> (64 - bits)) << 32);
}

int64_t PythonRandom::below(int64_t n) {
  if (n < 1) throw UsageError(str("cannot draw a random number below ", n, "; expected at least 1"));
  const auto limit = static_cast<uint64_t>(n);
  const int bits = std::bit_width(limit);
  uint64_t drawn = getrandbits(bits);
  while (drawn >= limit) drawn = getrandbits(bits);
  return static_cast<int64_t>(drawn);
}

double PythonRandom::random() {
  const uint32_t high = next() >> 5, low = next() >> 6;
  return (high * 67108864.0 + low) * (1.0 / 9007199254740992.0);
}

std::vector<uint32_t> PythonRandom::state() const {
  std::vector<uint32_t> state(words_.begin(), words_.end());
  state.push_back(static_cast<uint32_t>(position_));
  return state;
}

void PythonRandom::set_state(const std::vector<uint32_t>& state) {
  if (state.size() != kWords + 1) {
    throw FormatError(str("a state of Python's random has ", kWords + 1, " words; this one has ", state.size()));
  }
  if (state.back() > kWords) {
    throw FormatError(str("a state of Python's random is at position ", state.back(), "; expected at most ", kWords));
  }
  // All zero, it would draw zeros for ever. Of the first word only the top bit takes part.
  if ((state[0] & 0x80000000U) == 0 &&
      std::all_of(state.begin() + 1, state.end() - 1, [](uint32_t w) { return w == 0; })) {
    throw FormatError("a state of Python's random is all zeros; expected random words");
  }
  std::copy(state.begin(), state.end() - 1, words_.begin());
  position_ = state.back();
}

namespace {

__extension__ using Wide = unsigned __int128;

/// numpy.random.SeedSequence(seed).generate_state(4, uint64)
std::array<uint64_t, 4> seed_state(uint64_t seed) {
  constexpr size_t kPool = 4;
  uint32_t constant = 0x43b0d7e5U;
  const auto hash = [&](uint32_t value) {
    value ^= constant;
    constant *= 0x931e8875U;
    value *= constant;
    return value ^ (value >> 16);
  };
  const auto mix = [](uint32_t x, uint32_t y) {
    const uint32_t mixed = 0xca01f9ddU * x - 0x4973f715U * y;
    return mixed ^ (mixed >> 16);
  };
  std::array<uint32_t, kPool> pool{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (auto& word : pool) word = hash(word);
  for (size_t from = 0; from < kPool; ++from) {
    for (size_t to = 0; to < kPool; ++to) {
      if (from != to) pool[to] = mix(pool[to], hash(pool[from]));
    }
  }
  constant = 0x8b51f9ddU;
  std::array<uint64_t, 4> state{};
  for (size_t i = 0; i < 2 * state.size(); ++i) {
    uint32_t value = pool[i % kPool] ^ constant;
    constant *= 0x58f38dedU;
    value *= constant;
    value ^= value >> 16;
    state[i / 2] |= static_cast<uint64_t>(value) << (32 * (i % 2));
  }
  return state;
}

/// numpy.random.PCG64: a 128-bit linear congruential generator whose output is folded and rotated (XSL-RR).
class Pcg64 {
 public:
  explicit Pcg64(uint64_t seed) {
    const auto words = seed_state(seed);
    increment_ = ((Wide{words[2]} << 64 | words[3]) << 1) | 1;
    state_ = increment_ + (Wide{words[0]} << 64 | words[1]);
    step();
  }

  /// Uniform in [0, limit]: draws of just enough bits until one fits.
  uint32_t at_most(uint32_t limit) {
    if (limit == 0) return 0;
    const uint32_t mask = UINT32_MAX >> std::countl_zero(limit);
    uint32_t drawn = next32() & mask;
    while (drawn > limit) drawn = next32() & mask;
    return drawn;
  }

 private:
  void step() { state_ = state_ * (Wide{0x2360ed051fc65da4U} << 64 | 0x4385df649fccf645U) + increment_; }

  /// Each 64-bit output serves two draws of 32 bits, the low half first.
  uint32_t next32() {
    if (has_half_) {
      has_half_ = false;
      return half_;
    }
    step();
    const uint64_t folded =
        std::rotr(static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_), static_cast<int>(state_ >> 122));
    half_ = static_cast<uint32_t>(folded >> 32);
    has_half_ = true;
    return static_cast<uint32_t>(folded);
  }

  Wide state_ = 0, increment_ = 0;
  uint32_t half_ = 0;
  bool has_half_ = false;
};

}  // namespace

std::vector<int64_t> numpy_permutation(uint64_t seed, int64_t n) {
  if (n < 0 || n > int64_t{1} << 32) {
    throw UsageError(str("cannot shuffle ", n, " rows; expected 0 to ", int64_t{1} << 32));
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  Pcg64 generator(seed);
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[generator.at_most(static_cast<uint32_t>(i - 1))]);
  }
  return order;
}

}  // namespace lorikeet
