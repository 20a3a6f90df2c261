// Lists data sets for tests/parity/dataset_order_test.py and benchmarks: one JSON object per line of standard input,
// one per line of output.
//   {"folder": DIR, "caption_column": "text", "image_column": "image", "split": "train", "default_caption": null,
//    "masks": false}
// answers {"records": [{"name", "captions", "repeats", "mask"}..], "skipped": [[NAME, REASON]..], "kind", "columns"},
// or
// {"error": MESSAGE, "hint": HINT}.
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "data/picture_dataset.h"

namespace {

using namespace lorikeet;
using nlohmann::json;

json answer(const json& asked) {
  DatasetRequest request;
  request.folder = asked.at("folder").get<std::string>();
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
                       {"mask", record.mask.string()}});
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
