// The picture functions for tests/image_test.py: one command per line of standard input, one answer per line.
//   decode IN OUT                    resize IN WIDTH HEIGHT FILTER OUT
//   encode IN OUT                    limit MAX_PIXELS (for the lines that follow)
//   grid OUT COLUMNS FILL IN...      size IN (answers "ok WIDTH HEIGHT")
// IN is any picture, OUT of decode and resize is a PPM file.
#include <fstream>
#include <iostream>
#include <sstream>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "io/image.h"
#include "io/image_size.h"

namespace {

using namespace lorikeet;

void write_ppm(const std::string& path, const Image& image) {
  std::ofstream out(path, std::ios::binary);
  out << str("P6\n", image.width, " ", image.height, "\n255\n");
  out.write(reinterpret_cast<const char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
}

/// What is said besides "ok".
std::string run(const std::string& line, ImageLimits& limits) {
  std::istringstream words(line);
  std::string command, in, out, filter;
  words >> command;
  if (command == "limit") {
    words >> limits.max_pixels;
  } else if (command == "decode") {
    words >> in >> out;
    write_ppm(out, read_image(in, limits));
  } else if (command == "size") {
    words >> in;
    const ImageSize size = read_image_size(in, limits);
    return str(" ", size.width, " ", size.height);
  } else if (command == "encode") {
    words >> in >> out;
    write_image(out, read_image(in, limits));
  } else if (command == "grid") {
    int columns = 0, fill = 0;
    words >> out >> columns >> fill;
    std::vector<Image> images;
    while (words >> in) images.push_back(read_image(in, limits));
    write_image(out, image_grid(images, columns, static_cast<uint8_t>(fill)));
  } else if (command == "resize") {
    int width = 0, height = 0;
    words >> in >> width >> height >> filter >> out;
    write_ppm(out, resize_image(read_image(in, limits), width, height, parse_interpolation(filter)));
  } else {
    throw UsageError(str("no such command: ", line));
  }
  return "";
}

}  // namespace

int main() {
  ImageLimits limits;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      const std::string answer = run(line, limits);
      std::cout << "ok" << answer << std::endl;
    } catch (const Error& error) {
      std::cout << "error: " << error.what() << std::endl;
    }
  }
}
