// The trackers for tests/tracking_test.py: tracking_tool FOLDER [FIRST_STEP], one command per line of standard input.
//   config JSON        scalar NAME VALUE STEP        images TAG STEP PNG_FILE...
// Several pictures are joined by the file FOLDER/grid.png.
#include <iostream>
#include <sstream>

#include "core/atomic_file.h"
#include "tracking/jsonl_tracker.h"
#include "tracking/tensorboard_tracker.h"

int main(int argc, char** argv) {
  using namespace lorikeet;
  const std::filesystem::path folder = argv[1];
  const int64_t first_step = argc > 2 ? std::stoll(argv[2]) : 0;
  const auto grid = [&](const std::vector<std::string>&) { return read_file(folder / "grid.png"); };
  const std::unique_ptr<Tracker> trackers[] = {make_tensorboard_tracker(folder / "run", grid, first_step),
                                               make_jsonl_tracker(folder / "run.jsonl", first_step)};
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, name;
    words >> command;
    for (const auto& tracker : trackers) {
      std::istringstream rest(line.substr(command.size()));
      if (command == "config") {
        tracker->log_config(rest.str());
      } else if (command == "scalar") {
        std::string value;  // streams do not read "nan"
        int64_t step = 0;
        rest >> name >> value >> step;
        tracker->log_scalars({{name, std::stod(value)}}, step);
      } else {
        int64_t step = 0;
        rest >> name >> step;
        std::vector<TrackedImage> images;
        for (std::string file; rest >> file;) images.push_back({read_file(file), file});
        tracker->log_images(name, images, step);
      }
    }
  }
  for (const auto& tracker : trackers) tracker->finish();
}
