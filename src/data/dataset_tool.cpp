// Lists data sets for tests/parity/dataset_order_test.py and benchmarks: one JSON object per line of standard input,
// one per line of output.
//   {"folder": DIR, "caption_column": "text", "image_column": "image", "split": "train", "default_caption": null,
//    "masks": false}
// or, of a data set by its name, {"dataset_name": NAME, "config_name": null, "data_dir": "", ...}, answers
// {"records": [{"name", "captions", "repeats", "mask", "file", "offset", "bytes"}..], "skipped": [[NAME, REASON]..],
// "kind", "columns"}, or {"error": MESSAGE, "hint": HINT}.
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "data/dataset_by_name.h"
#include "data/picture_dataset.h"

namespace {

using namespace lorikeet;
using nlohmann::json;

json answer(const json& asked) {
  DatasetRequest request;
  if (asked.contains("dataset_name")) {
    DatasetChoice choice{.data_dir = asked.value("data_dir", "")};
    if (asked.contains("config_name")) choice.config_name = asked["config_name"].get<std::string>();
    auto named = find_dataset(asked["dataset_name"].get<std::string>(), choice);
    request.folder = named.folder;
    request.files = named.selection.files;
    request.from_stranger = named.is_fetched;
  } else {
    request.folder = asked.at("folder").get<std::string>();
  }
  request.caption_column = asked.value("caption_column", request.caption_column);
  request.image_column = asked.value("image_column", request.image_column);
  request.split = asked.value("split", request.split);
  request.cache_dir = asked.value("cache_dir", "");
  request.masks = asked.value("masks", false);
  if (asked.contains("default_caption")) request.default_caption = asked["default_caption"].get<std::string>();
  const PictureDataset dataset = open_picture_dataset(request);
  json records = json::array(), skipped = json::array();
  for (const auto& record : dataset.records) {
    records.push_back({{"name", record.name},
                       {"captions", record.captions},
                       {"repeats", record.repeats},
                       {"mask", record.mask.string()},
                       {"file", record.file.string()},
                       {"offset", record.offset},
                       {"bytes", record.bytes}});
  }
  for (const auto& file : dataset.skipped) skipped.push_back({file.name, file.reason});
  return {{"records", records}, {"skipped", skipped}, {"kind", dataset.kind}, {"columns", dataset.columns}};
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    json result;
    try {
      result = answer(json::parse(line));
    } catch (const Error& error) {
      result = {{"error", error.what()}, {"hint", error.hint()}};
    }
    std::cout << result.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
  }
}
