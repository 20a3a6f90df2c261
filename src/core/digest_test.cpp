#include "core/digest.h"

#include <gtest/gtest.h>

namespace lorikeet {
namespace {

// Expected values: the examples of FIPS 180-4, as NIST publishes them.
TEST(Sha1, GivesTheStandardsExamples) {
  EXPECT_EQ(sha1_hex("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(sha1_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
}

TEST(Sha256, GivesTheStandardsExamples) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, TakesBytesOfAnyValue) {
  // python3 -c 'import hashlib; print(hashlib.sha256(bytes(range(256))).hexdigest())'
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  EXPECT_EQ(sha256_hex(bytes), "40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880");
}

TEST(RunningDigest, EqualsTheOneOfTheWhole) {
  const std::string bytes(300'000, 'x');
  RunningDigest sha1(RunningDigest::Kind::kSha1), sha256(RunningDigest::Kind::kSha256);
  for (size_t at = 0, piece = 1; at < bytes.size(); at += piece, piece *= 3) {
    sha1.update(std::string_view(bytes).substr(at, piece));
    sha256.update(std::string_view(bytes).substr(at, piece));
  }
  EXPECT_EQ(sha1.hex(), sha1_hex(bytes));
  EXPECT_EQ(sha256.hex(), sha256_hex(bytes));
}

}  // namespace
}  // namespace lorikeet
