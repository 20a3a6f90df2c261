#include "data/metadata_file.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "core/text.h"
#include "data/caption_text.h"
#include "data/text_file.h"

namespace lorikeet {
namespace {

using nlohmann::json;

constexpr size_t kMostColumns = 200;  // that are remembered for messages

void add_column(const std::string& column, std::vector<std::string>& columns) {
  if (columns.size() >= kMostColumns) return;
  if (std::find(columns.begin(), columns.end(), column) == columns.end()) columns.push_back(column);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string lowered(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

/// As `datasets` maps them: file_name becomes the column image, X_file_name the column X.
bool names_pictures(const std::string& column, const std::string& image_column) {
  return column == image_column + "_file_name" || (image_column == "image" && column == "file_name");
}

/// What is known of a metadata file's columns while its rows go by.
class Columns {
 public:
  explicit Columns(const DatasetRequest& request) : request_(request) {}

  void see(const std::string& column) {
    add_column(column, seen_);
    has_picture_ |= names_pictures(column, request_.image_column);
    has_caption_ |= column == request_.caption_column;
  }
  const std::vector<std::string>& seen() const { return seen_; }
  bool has_picture() const { return has_picture_; }

  /// Once the rows are read, or before the first is refused for what its column lacks.
  void check(const std::string& name) const {
    if (!has_picture_) {
      throw UsageError(str("--image_column=", request_.image_column, ": ", name, " has the columns ", joined(seen_),
                           ", expected ", request_.image_column == "image" ? "" : request_.image_column + "_",
                           "file_name with the names of the pictures"),
                       "rename the column with the file names to file_name");
    }
    const bool needed = !request_.default_caption || likely_caption_column(seen_).has_value();
    if (!has_caption_ && needed) throw_no_caption_column(request_.caption_column, name, seen_);
  }

 private:
  const DatasetRequest& request_;
  std::vector<std::string> seen_;
  bool has_picture_ = false, has_caption_ = false;
};

std::vector<std::string> captions_of(const json& value, const std::string& where) {
  const auto take = [&](const json& text) {
    if (!text.is_string()) {
      throw FormatError(
          str(where, ": a caption is of the type ", text.type_name(), ", expected a string or a list of ", "strings"),
          "put the caption into quotes");
    }
    check_caption(text.get_ref<const std::string&>(), where);
    return text.get<std::string>();
  };
  std::vector<std::string> captions;
  if (value.is_array()) {
    for (const auto& text : value) captions.push_back(take(text));
  } else if (!value.is_null()) {
    captions.push_back(take(value));
  }
  return captions;
}

MetadataRow row_of(const json& object, const DatasetRequest& request, const TextFile& file, Columns& columns) {
  const std::string where = file.where();
  MetadataRow row{where, file.line(), "", {}};
  for (const auto& [key, value] : object.items()) {
    if (key == request.caption_column) row.captions = captions_of(value, where);
    if (!names_pictures(key, request.image_column)) continue;
    if (!value.is_string()) {
      throw FormatError(str(where, ": ", key, " is of the type ", value.type_name(), ", expected a string"));
    }
    row.file_name = value.get<std::string>();
  }
  return row;
}

void check_named(const MetadataRow& row, const std::string& name, const Columns& columns) {
  if (!row.file_name.empty()) return;
  if (!columns.has_picture()) columns.check(name);
  throw FormatError(str(row.where, ": no file is named"), "each row names a picture, relative to the metadata file");
}

void read_json_lines(TextFile& file, const DatasetRequest& request, const std::string& name,
                     const std::function<void(MetadataRow)>& take, Columns& columns) {
  bool any = false;
  while (const auto line = file.next_line()) {
    if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
    json object;
    try {
      // The parsed object has its keys in alphabetical order; people expect the order of the file.
      object = json::parse(*line, [&](int depth, json::parse_event_t event, json& parsed) {
        if (depth == 1 && event == json::parse_event_t::key) columns.see(parsed.get_ref<const std::string&>());
        return true;
      });
    } catch (const json::parse_error& error) {
      throw FormatError(str(file.where(), ": damaged JSON at its byte ", error.byte, ", expected one object per line"),
                        "e.g. {\"file_name\": \"a.png\", \"text\": \"a caption\"}");
    }
    if (!object.is_object()) {
      throw FormatError(str(file.where(), ": of the type ", object.type_name(), ", expected one object per line"),
                        "e.g. {\"file_name\": \"a.png\", \"text\": \"a caption\"}");
    }
    MetadataRow row = row_of(object, request, file, columns);
    check_named(row, name, columns);
    take(std::move(row));
    any = true;
  }
  if (any) columns.check(name);
}

void read_csv(TextFile& file, const DatasetRequest& request, const std::string& name,
              const std::function<void(MetadataRow)>& take, Columns& columns) {
  const auto header = file.next_record();
  if (!header) return;
  for (const auto& column : *header) columns.see(column);
  columns.check(name);
  const auto picture = std::find_if(header->begin(), header->end(), [&](const std::string& column) {
    return names_pictures(column, request.image_column);
  });
  const auto caption = std::find(header->begin(), header->end(), request.caption_column);
  const auto picture_at = static_cast<size_t>(picture - header->begin());
  const auto caption_at = static_cast<size_t>(caption - header->begin());
  while (const auto fields = file.next_record()) {
    if (fields->size() > header->size()) {
      throw FormatError(str(file.where(), ": ", fields->size(), " fields, expected ", header->size()),
                        "put a text that holds commas into double quotes");
    }
    MetadataRow row{file.where(), file.line(), picture_at < fields->size() ? (*fields)[picture_at] : "", {}};
    check_named(row, name, columns);
    if (caption_at < fields->size() && !(*fields)[caption_at].empty()) {
      check_caption((*fields)[caption_at], row.where);
      row.captions.push_back((*fields)[caption_at]);
    }
    take(std::move(row));
  }
}

}  // namespace

bool is_metadata_file(const std::string& base) { return base == "metadata.jsonl" || base == "metadata.csv"; }

std::optional<std::string> likely_caption_column(const std::vector<std::string>& columns) {
  for (const char* likely : {"text", "caption", "captions", "prompt", "prompts", "description"}) {
    for (const auto& column : columns) {
      std::string word = lowered(column);
      word.erase(std::remove(word.begin(), word.end(), ' '), word.end());
      if (word == likely) return column;
    }
  }
  for (const char* likely : {"caption", "text", "prompt", "description"}) {
    for (const auto& column : columns) {
      if (lowered(column).find(likely) != std::string::npos) return column;
    }
  }
  return std::nullopt;
}

void throw_no_caption_column(const std::string& caption_column, const std::string& source,
                             const std::vector<std::string>& columns) {
  const auto likely = likely_caption_column(columns);
  throw UsageError(
      str("--caption_column=", caption_column, ": ", source, " has the columns ", joined(columns)),
      likely ? str("did you mean --caption_column=\"", *likely, "\"?") : "name the column that holds the captions");
}

void read_metadata_file(const DatasetRequest& request, const std::string& name,
                        const std::function<void(MetadataRow)>& take, std::vector<std::string>& columns) {
  TextFile file(request.folder / name, name);
  Columns seen(request);
  if (name.ends_with(".csv")) {
    read_csv(file, request, name, take, seen);
  } else {
    read_json_lines(file, request, name, take, seen);
  }
  for (const auto& column : seen.seen()) add_column(column, columns);
}

}  // namespace lorikeet
