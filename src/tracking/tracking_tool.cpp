// The trackers for tests/tracking_test.py and tests/wandb_test.py: tracking_tool FOLDER [FIRST_STEP [wandb]], one
// command per line of standard input. With "wandb" that tracker only, and each log line goes to its console as well.
//   config JSON        scalar NAME VALUE STEP        images TAG STEP PNG_FILE...
//   console TEXT       log TEXT       finish CODE       kill
// Several pictures are joined by the file FOLDER/grid.png.
#include <csignal>
#include <iostream>
#include <sstream>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/log.h"
#include "tracking/jsonl_tracker.h"
#include "tracking/tensorboard_tracker.h"
#include "tracking/wandb_tracker.h"

namespace {

using namespace lorikeet;
using Trackers = std::vector<std::unique_ptr<Tracker>>;

Trackers make_trackers(const std::filesystem::path& folder, int64_t first_step, bool wandb) {
  Trackers trackers;
  if (wandb) {
    trackers.push_back(make_wandb_tracker({folder, "dreambooth-lora", first_step}));
    set_log_sink([tracker = trackers[0].get()](LogLevel, std::string_view line) {
      std::cerr << line << std::endl;
      tracker->log_console(line);
    });
    return trackers;
  }
  const auto grid = [=](const std::vector<std::string>&) { return read_file(folder / "grid.png"); };
  trackers.push_back(make_tensorboard_tracker(folder / "run", grid, first_step));
  trackers.push_back(make_jsonl_tracker(folder / "run.jsonl", first_step));
  return trackers;
}

void execute(Tracker& tracker, const std::string& command, std::istringstream rest) {
  rest >> std::ws;
  if (command == "config" || command == "console" || command == "log") {
    std::string text;
    std::getline(rest, text);
    if (command == "config") tracker.log_config(text);
    if (command == "console") tracker.log_console(text);
    if (command == "log") log_info(text);
  } else if (command == "scalar") {
    std::string name, value;  // streams do not read "nan"
    int64_t step = 0;
    rest >> name >> value >> step;
    tracker.log_scalars({{name, std::stod(value)}}, step);
  } else if (command == "images") {
    std::string tag;
    int64_t step = 0;
    rest >> tag >> step;
    std::vector<TrackedImage> images;
    for (std::string file; rest >> file;) images.push_back({read_file(file), file});
    tracker.log_images(tag, images, step);
  } else if (command == "finish") {
    int code = 0;
    rest >> code;
    tracker.finish(code);
  } else if (command == "kill") {
    std::raise(SIGKILL);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto trackers =
        make_trackers(argv[1], argc > 2 ? std::stoll(argv[2]) : 0, argc > 3 && std::string(argv[3]) == "wandb");
    for (std::string line; std::getline(std::cin, line);) {
      const std::string command = line.substr(0, line.find(' '));
      for (const auto& tracker : trackers) execute(*tracker, command, std::istringstream(line.substr(command.size())));
    }
    for (const auto& tracker : trackers) tracker->finish();
    set_log_sink({});
  } catch (const Error& error) {
    std::cerr << error.what() << std::endl;
    return 2;
  }
}
