// Truncations against LAPACK's SVD of the whole matrix in float64.
#include "lora/low_rank.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "io/file_test_support.h"
#include "lora/algebra_test_support.h"

namespace lorikeet {
namespace {

torch::Tensor with_singular_values(Draws& draw, int64_t rows, int64_t columns, const torch::Tensor& values) {
  const int64_t count = values.size(0);
  const auto u = std::get<0>(torch::linalg_qr(draw({rows, count}).to(torch::kDouble)));
  const auto v = std::get<0>(torch::linalg_qr(draw({columns, count}).to(torch::kDouble)));
  return (u * values.to(torch::kDouble)).mm(v.t()).to(torch::kFloat);
}

TEST(LowRank, ProductIsTruncatedExactly) {
  Draws draw;
  const auto up = draw({30, 8}), down = draw({8, 50});
  const auto dense = up.to(torch::kDouble).mm(down.to(torch::kDouble));
  const auto all = std::get<1>(torch::linalg_svd(dense));
  const auto found = truncate_product(up, down, keep_rank(3));
  EXPECT_EQ(found.rank(), 3);
  EXPECT_EQ(found.full_rank, 8);
  EXPECT_NEAR(found.norm, frobenius_norm(dense), 1e-9);
  EXPECT_NEAR(found.error_norm, frobenius_norm(all.slice(0, 3)), 1e-9);
  EXPECT_NEAR(residual_norm(dense.to(torch::kFloat), found.up, found.down), found.error_norm, 1e-4);
  EXPECT_NEAR(product_norm(up, down), found.norm, 1e-9);
  EXPECT_LT(relative(found.up.square().sum(0), found.down.square().sum(1)), 1e-6) << "the factors are not balanced";
}

TEST(LowRank, ZeroDirectionsAreDropped) {
  Draws draw;
  const auto up = draw({30, 4}), down = draw({4, 50});
  const auto twice = truncate_product(torch::cat({up, up}, 1), torch::cat({down, down}, 0), keep_rank(8));
  EXPECT_EQ(twice.rank(), 4);
  EXPECT_LT(relative(twice.up.mm(twice.down), 2 * up.mm(down)), 1e-6);
  const auto nothing = truncate_product(up * 0, down, keep_energy(0.9));
  EXPECT_EQ(nothing.rank(), 1);
  EXPECT_EQ(nothing.error_norm, 0);
  EXPECT_EQ(frobenius_norm(nothing.up), 0);
}

TEST(LowRank, KeepsTheSmallestRankThatHoldsTheEnergy) {
  Draws draw;
  // Squares 16, 9, 4, 1: shares 0.533, 0.833, 0.967, 1.
  const auto matrix = with_singular_values(draw, 20, 30, torch::tensor({4.0, 3.0, 2.0, 1.0}));
  const auto svd = svd_of_product(matrix, torch::eye(30));
  for (const auto& [share, rank] : std::vector<std::pair<double, int64_t>>{{0.5, 1}, {0.8, 2}, {0.84, 3}, {0.97, 4}}) {
    EXPECT_EQ(truncate_matrix(matrix, keep_energy(share)).rank(), rank) << share;
    EXPECT_EQ(truncate_product(svd.u * svd.s, svd.vh, keep_energy(share)).rank(), rank) << share;
  }
  TruncateOptions both = keep_energy(0.97);
  both.rank = 2;
  EXPECT_EQ(truncate_matrix(matrix, both).rank(), 2);
  EXPECT_NEAR(truncate_matrix(matrix, both).error_norm, std::sqrt(5.0), 1e-5);
  EXPECT_EQ(truncate_matrix(matrix, keep_energy(1)).rank(), 4);
}

TEST(LowRank, RandomisedSvdIsNearTheBestOnFlatSpectra) {
  Draws draw;
  const auto flat = draw({300, 900});  // a matrix of noise: the flattest spectrum there is in practice
  const auto values = std::get<1>(torch::linalg_svd(flat.to(torch::kDouble), false));
  for (const int64_t rank : {1, 8, 32, 90}) {
    const auto found = truncate_matrix(flat, keep_rank(rank));
    const double best = frobenius_norm(values.slice(0, rank));
    EXPECT_EQ(found.rank(), rank);
    EXPECT_LE(found.error_norm, best * 1.01) << rank;
    EXPECT_GE(found.error_norm, best * (1 - 1e-5)) << "an error below what is possible is measured wrongly";
  }
}

TEST(LowRank, RandomisedSvdFindsALowRankUnderNoise) {
  Draws draw;
  const auto signal = with_singular_values(draw, 300, 500, torch::linspace(2, 1, 8));
  EXPECT_LT(truncate_matrix(signal, keep_rank(8)).error_norm, 1e-6 * frobenius_norm(signal));
  const auto noise = draw({300, 500}) * 1e-4;
  const auto found = truncate_matrix(signal + noise, keep_rank(8));
  EXPECT_LT(relative(found.up.mm(found.down), signal), 2e-3);
  const auto values = std::get<1>(torch::linalg_svd((signal + noise).to(torch::kDouble), false));
  EXPECT_LE(found.error_norm, frobenius_norm(values.slice(0, 8)) * 1.001);
}

TEST(LowRank, RandomisedSvdIsTheSameEachTime) {
  Draws draw;
  const auto matrix = draw({200, 100});
  const auto first = randomized_svd(matrix, 5), second = randomized_svd(matrix, 5);
  EXPECT_TRUE(torch::equal(first.u, second.u) && torch::equal(first.s, second.s) && torch::equal(first.vh, second.vh));
  RandomSvdOptions other;
  other.seed = 1;
  EXPECT_FALSE(torch::equal(first.u, randomized_svd(matrix, 5, other).u));
}

TEST(LowRank, NumbersAtTheEndsOfFloat32AreNoHindrance) {
  Draws draw;
  const auto matrix = draw({60, 40});
  const auto usual = truncate_matrix(matrix, keep_rank(4));
  for (const double factor : {0x1p100, 0x1p-100}) {
    const auto found = truncate_matrix(matrix * factor, keep_rank(4));
    EXPECT_NEAR(found.norm / factor, usual.norm, 1e-6 * usual.norm);
    EXPECT_NEAR(found.error_norm / factor, usual.error_norm, 1e-5 * usual.norm);
    EXPECT_LT(relative(found.up / std::sqrt(factor), usual.up), 1e-4);
  }
  EXPECT_THROW(truncate_matrix(torch::full({60, 40}, 3e38F), keep_rank(4)), NumericError) << "its norm is beyond";
}

TEST(LowRank, RefusesBadOptionsAndNumbers) {
  const auto matrix = torch::ones({4, 4});
  expect_error<UsageError>("rank is 0", [&] { truncate_matrix(matrix, keep_rank(0)); });
  for (const double share : {0.0, -1.0, 1.01, std::numeric_limits<double>::quiet_NaN()}) {
    expect_error<UsageError>("keep_energy is", [&] { truncate_matrix(matrix, keep_energy(share)); });
  }
  const auto hint = expect_error<UsageError>("neither a rank", [&] { truncate_product(matrix, matrix, {}); });
  EXPECT_NE(hint.find("--rank"), std::string::npos);
  const auto broken = matrix / 0;
  expect_error<NumericError>("not finite", [&] { truncate_matrix(broken, keep_rank(1)); });
  expect_error<NumericError>("not finite", [&] { truncate_product(broken, matrix, keep_rank(1)); });
}

}  // namespace
}  // namespace lorikeet
