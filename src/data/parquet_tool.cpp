// read_parquet_records for tests/parquet_test.py and benchmarks/parquet_spill.py: one JSON object per line of standard
// input, one per line of output.
//   {"files": [..], "cache": DIR, "image": "image", "caption": "text", "list": true}
// answers {"records": [..], "calls": PROGRESS_CALLS} (with "list": false only their number), or
// {"error": MESSAGE, "hint": HINT, "kind": TYPE}.
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/digest.h"
#include "core/errors.h"
#include "data/parquet_records.h"
#include "io/file_range.h"

namespace {

using namespace lorikeet;
using nlohmann::json;

std::string content(const PictureRecord& record) {
  FileRange range(record.file, record.offset, record.bytes, record.name);
  return std::string(range.read(0, range.size()));
}

json described(const PictureRecord& record) {
  return {{"name", record.name},   {"file", record.file.string()}, {"offset", record.offset},
          {"bytes", record.bytes}, {"captions", record.captions},  {"sha256", sha256_hex(content(record))}};
}

json answer(const json& request) {
  const ParquetColumns columns{request.value("image", "image"), request.value("caption", "text")};
  std::vector<std::filesystem::path> files;
  for (const auto& file : request.at("files")) files.emplace_back(file.get<std::string>());
  int64_t calls = 0;
  const auto records =
      read_parquet_records(files, columns, request.at("cache").get<std::string>(), [&](int64_t done, int64_t total) {
        if (done != ++calls || done > total) throw FormatError("progress goes astray");
      });
  if (!request.value("list", true)) return {{"records", records.size()}, {"calls", calls}};
  json list = json::array();
  for (const auto& record : records) list.push_back(described(record));
  return {{"records", std::move(list)}, {"calls", calls}};
}

template <class E>
json failure(const E& error, const char* kind) {
  return {{"error", error.what()}, {"hint", error.hint()}, {"kind", kind}};
}

json answer_or_error(const std::string& line) {
  try {
    return answer(json::parse(line));
  } catch (const UsageError& error) {
    return failure(error, "UsageError");
  } catch (const FormatError& error) {
    return failure(error, "FormatError");
  } catch (const FileError& error) {
    return failure(error, "FileError");
  } catch (const Error& error) {
    return failure(error, "Error");
  }
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer_or_error(line).dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
  }
}
