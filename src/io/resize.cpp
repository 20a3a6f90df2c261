// Pillow 13's resampling of 8-bit pictures, byte for byte: coefficients in double precision, rounded to 22-bit fixed
// point, one pass per direction with an 8-bit picture in between. The order of floating-point operations matters.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/errors.h"
#include "core/text.h"
#include "io/image.h"
#include "io/image_codecs.h"

namespace lorikeet {
namespace {

constexpr int kFractionBits = 22;
constexpr int kHalf = 1 << (kFractionBits - 1);

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double triangle(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double hamming(double x) {
  x = std::abs(x);
  if (x == 0.0) return 1.0;
  if (x >= 1.0) return 0.0;
  x *= std::numbers::pi;
  // Pillow's window constants are single precision: 0.54 and 0.46 as doubles differ in the last byte.
  return std::sin(x) / x * (0.54f + 0.46f * std::cos(x));
}

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Filter {
  double (*weight)(double);
  double support;
};

Filter filter_of(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::kBox:
      return {box, 0.5};
    case Interpolation::kBilinear:
      return {triangle, 1.0};
    case Interpolation::kHamming:
      return {hamming, 1.0};
    case Interpolation::kBicubic:
      return {bicubic, 2.0};
    default:
      return {lanczos, 3.0};
  }
}

/// Which inputs make each output along one axis, and how much of each.
struct Taps {
  std::vector<int> first, count;
  std::vector<int> weights;  // output i starts at i * stride
  int stride = 0;
};

Taps make_taps(int in, int out, const Filter& filter) {
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double support = filter.support * filter_scale;
  const double step = 1.0 / filter_scale;
  Taps taps;
  taps.stride = static_cast<int>(std::ceil(support)) * 2 + 1;
  taps.first.resize(out);
  taps.count.resize(out);
  taps.weights.resize(static_cast<size_t>(out) * taps.stride);
  std::vector<double> weights(taps.stride);
  for (int i = 0; i < out; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), in) - first;
    double sum = 0.0;
    for (int k = 0; k < count; ++k) {
      weights[k] = filter.weight((k + first - center + 0.5) * step);
      sum += weights[k];
    }
    int* fixed = &taps.weights[static_cast<size_t>(i) * taps.stride];
    for (int k = 0; k < count; ++k) {
      const double weight = (sum != 0.0 ? weights[k] / sum : weights[k]) * (1 << kFractionBits);
      fixed[k] = static_cast<int>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    taps.first[i] = first;
    taps.count[i] = count;
  }
  return taps;
}

uint8_t to_byte(int sum) { return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255)); }

Image blank(int width, int height) {
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3)};
}

Image resample_rows(const Image& in, int width, const Filter& filter) {
  const Taps taps = make_taps(in.width, width, filter);
  Image out = blank(width, in.height);
  for (int y = 0; y < in.height; ++y) {
    const uint8_t* row = &in.pixels[static_cast<size_t>(y) * in.width * 3];
    uint8_t* target = &out.pixels[static_cast<size_t>(y) * width * 3];
    for (int x = 0; x < width; ++x, target += 3) {
      const int* weight = &taps.weights[static_cast<size_t>(x) * taps.stride];
      const uint8_t* source = row + static_cast<size_t>(taps.first[x]) * 3;
      int red = kHalf, green = kHalf, blue = kHalf;
      for (int k = 0; k < taps.count[x]; ++k, source += 3) {
        red += source[0] * weight[k];
        green += source[1] * weight[k];
        blue += source[2] * weight[k];
      }
      target[0] = to_byte(red);
      target[1] = to_byte(green);
      target[2] = to_byte(blue);
    }
  }
  return out;
}

Image resample_columns(const Image& in, int height, const Filter& filter) {
  const Taps taps = make_taps(in.height, height, filter);
  Image out = blank(in.width, height);
  const size_t bytes = static_cast<size_t>(in.width) * 3;
  std::vector<int> sums(bytes);
  for (int y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int k = 0; k < taps.count[y]; ++k) {
      const uint8_t* row = &in.pixels[(taps.first[y] + k) * bytes];
      const int weight = taps.weights[static_cast<size_t>(y) * taps.stride + k];
      for (size_t i = 0; i < bytes; ++i) sums[i] += row[i] * weight;
    }
    std::transform(sums.begin(), sums.end(), &out.pixels[y * bytes], to_byte);
  }
  return out;
}

/// The input index of each output; added up step by step, as Pillow does, for the same rounding.
std::vector<int> nearest_indices(int in, int out) {
  const double scale = static_cast<double>(in) / out;
  std::vector<int> indices(out);
  double position = scale * 0.5;
  for (int& index : indices) {
    index = std::min(static_cast<int>(position), in - 1);
    position += scale;
  }
  return indices;
}

Image resize_nearest(const Image& in, int width, int height) {
  const std::vector<int> columns = nearest_indices(in.width, width), rows = nearest_indices(in.height, height);
  Image out = blank(width, height);
  uint8_t* target = out.pixels.data();
  for (const int row : rows) {
    const uint8_t* source = &in.pixels[static_cast<size_t>(row) * in.width * 3];
    for (const int column : columns) target = std::copy_n(source + static_cast<size_t>(column) * 3, 3, target);
  }
  return out;
}

}  // namespace

Image resize_image(const Image& image, int width, int height, Interpolation interpolation) {
  if (width <= 0 || height <= 0) {
    throw UsageError(str("cannot resize a picture to ", width, " x ", height, ": both must be at least 1"));
  }
  check_pixels(image);
  if (width == image.width && height == image.height) return image;
  if (interpolation == Interpolation::kNearest || interpolation == Interpolation::kNearestExact) {
    return resize_nearest(image, width, height);
  }
  const Filter filter = filter_of(interpolation);
  if (height == image.height) return resample_rows(image, width, filter);
  if (width == image.width) return resample_columns(image, height, filter);
  // Pillow 13 begins with the direction that throws more away; the rounding in between makes the order visible.
  const int64_t fewer_rows = static_cast<int64_t>(image.height) - height;
  const int64_t fewer_columns = static_cast<int64_t>(image.width) - width;
  if (fewer_rows > 0 && fewer_rows > 2 * fewer_columns) {
    return resample_rows(resample_columns(image, height, filter), width, filter);
  }
  return resample_columns(resample_rows(image, width, filter), height, filter);
}

Interpolation parse_interpolation(const std::string& name) {
  static constexpr std::pair<const char*, Interpolation> kNames[] = {
      {"nearest", Interpolation::kNearest}, {"nearest_exact", Interpolation::kNearestExact},
      {"box", Interpolation::kBox},         {"bilinear", Interpolation::kBilinear},
      {"hamming", Interpolation::kHamming}, {"bicubic", Interpolation::kBicubic},
      {"lanczos", Interpolation::kLanczos},
  };
  std::string choices;
  for (const auto& [known, interpolation] : kNames) {
    if (name == known) return interpolation;
    choices += choices.empty() ? known : str(", ", known);
  }
  throw UsageError(str("no interpolation is called \"", name, "\": expected one of ", choices));
}

}  // namespace lorikeet
