#include "tracking/wandb_row.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <map>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "tracking/wandb_file.h"

namespace lorikeet {
namespace {

// Fields of HistoryRecord, SummaryRecord and their items.
constexpr int kItem = 1, kStep = 2, kStepNumber = 1, kKey = 1, kNestedKey = 2, kValueJson = 16;

std::string number_json(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

double number_or_zero(const std::optional<std::string>& json) { return json ? std::strtod(json->c_str(), nullptr) : 0; }

std::optional<std::string_view> field_of(std::string_view record, int number) {
  ProtoReader reader(record);
  while (const auto field = reader.next()) {
    if (field->number == number) return field->bytes;
  }
  return std::nullopt;
}

void cut_file(const std::filesystem::path& file, uint64_t size) {
  std::error_code error;
  std::filesystem::resize_file(file, size, error);
  if (error) throw FileError(str("cannot change ", file.string(), ": ", error.message()));
}

int64_t step_of(const WandbRow& row) {
  const auto json = row.find("_step");
  return json ? std::strtoll(json->c_str(), nullptr, 10) : -1;
}

}  // namespace

void WandbRow::set(std::vector<std::string> path, std::string json) {
  for (Item& item : items_) {
    if (item.path == path) {
      item.json = std::move(json);
      return;
    }
  }
  items_.push_back({std::move(path), std::move(json)});
}

void WandbRow::set_number(std::vector<std::string> path, double value) { set(std::move(path), number_json(value)); }

void WandbRow::merge(const WandbRow& later) {
  for (const Item& item : later.items_) set(item.path, item.json);
}

std::optional<std::string> WandbRow::find(const std::string& key) const {
  for (const Item& item : items_) {
    if (item.path.size() == 1 && item.path[0] == key) return item.json;
  }
  return std::nullopt;
}

ProtoMessage WandbRow::items(int64_t step) const {
  ProtoMessage record;
  const auto add = [&](const std::vector<std::string>& path, const std::string& json) {
    ProtoMessage message;
    for (const std::string& key : path) message.add_bytes(kNestedKey, key);
    record.add_message(kItem, message.add_bytes(kValueJson, json));
  };
  for (const Item& item : items_) {
    if (item.path != std::vector<std::string>{"_step"}) add(item.path, item.json);
  }
  add({"_step"}, std::to_string(step));
  return record;
}

ProtoMessage WandbRow::history(int64_t step) const {
  return items(step).add_message(kStep, ProtoMessage().add_int(kStepNumber, step));
}

ProtoMessage WandbRow::summary(int64_t step) const { return items(step); }

WandbRow WandbRow::from_record(int kind, std::string_view record) {
  WandbRow row;
  const auto content = field_of(record, kind);
  ProtoReader items(content.value_or(std::string_view{}));
  while (const auto item = items.next()) {
    if (item->number != kItem) continue;
    std::vector<std::string> path;
    std::string json;
    ProtoReader fields(item->bytes);
    while (const auto field = fields.next()) {
      if (field->number == kKey || field->number == kNestedKey) path.emplace_back(field->bytes);
      if (field->number == kValueJson) json = field->bytes;
    }
    row.set(std::move(path), std::move(json));
  }
  return row;
}

WandbPast read_wandb_past(const std::filesystem::path& file, int64_t step, bool cut) {
  WandbPast past;
  const std::string bytes = read_file(file);
  WandbReader reader(bytes);
  std::map<int64_t, WandbRow> summaries;  // of rows that are not written yet, by step
  uint64_t kept = bytes.size();
  while (const auto entry = reader.next()) {
    const std::string& record = entry->record;
    if (field_of(record, kWandbSummary)) {
      const WandbRow row = WandbRow::from_record(kWandbSummary, record);
      if (const int64_t at = step_of(row); at >= 0 && at <= step) summaries[at].merge(row);
    } else if (field_of(record, kWandbHistory)) {
      const WandbRow row = WandbRow::from_record(kWandbHistory, record);
      const int64_t at = step_of(row);
      if (at > step && cut) {
        kept = entry->offset;
        break;
      }
      past.last_step = std::max(at, past.last_step.value_or(at));
      past.runtime = number_or_zero(row.find("_runtime"));
      summaries.erase(summaries.begin(), summaries.upper_bound(at));
    }
    kept = entry->end;
  }
  if (cut && kept < bytes.size()) cut_file(file, kept);
  if (!summaries.empty()) past.unwritten = *summaries.rbegin();
  return past;
}

}  // namespace lorikeet
