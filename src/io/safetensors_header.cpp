#include "io/safetensors_header.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_set>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr size_t kMaxDimensions = 64;  // what torch's kernels take

/// Fills a SafetensorsHeader while the text streams by: no tree, so memory stays in proportion to what is kept.
/// A callback that returns false ends parsing; `problem()` then says why.
class HeaderReader {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  const std::string& problem() const { return problem_; }
  SafetensorsHeader take() { return std::move(header_); }

  bool null() {
    // The Python library reads `"__metadata__": null` as no metadata.
    if (place_ == Place::kTop && tensor_name_ == "__metadata__") return true;
    return unexpected("null");
  }
  bool boolean(bool value) { return unexpected(value ? "true" : "false"); }
  bool binary(binary_t&) { return unexpected("bytes"); }
  bool number_integer(number_integer_t value) { return unexpected(str("the number ", value)); }
  bool number_float(number_float_t, const string_t& text) { return unexpected(str("the number ", text.substr(0, 40))); }

  bool number_unsigned(number_unsigned_t value) {
    if (place_ == Place::kShape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return fail(str("has the dimension ", value, ", too large for a tensor"));
      }
      if (entry_.shape.size() == kMaxDimensions) {
        return fail(str("has more than ", kMaxDimensions, " dimensions"));
      }
      entry_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (place_ == Place::kOffsets && offsets_seen_ < 2) {
      (offsets_seen_++ == 0 ? entry_.begin : entry_.end) = value;
      return true;
    }
    return unexpected(str("the number ", value));
  }

  bool string(string_t& value) {
    if (place_ == Place::kMetadata) {
      if (header_.metadata.size() == kMaxSafetensorsMetadata) {
        return fail(str("has more than ", kMaxSafetensorsMetadata, " entries"));
      }
      if (header_.metadata.try_emplace(std::move(field_), std::move(value)).second) return true;
      return fail(str("has the key ", quoted_tensor_name(field_), " twice"));
    }
    if (place_ != Place::kTensor || field_ != "dtype") return unexpected(str("the text ", quoted_tensor_name(value)));
    const auto found = std::find_if(kSafetensorsDtypes.begin(), kSafetensorsDtypes.end(),
                                    [&](const SafetensorsDtype& dtype) { return dtype.name == value; });
    if (found == kSafetensorsDtypes.end()) {
      std::string known;
      for (const auto& dtype : kSafetensorsDtypes) known += str(known.empty() ? "" : " ", dtype.name);
      return fail(str("has the dtype ", quoted_tensor_name(value), "; expected one of ", known));
    }
    entry_.dtype = &*found;
    return true;
  }

  bool start_object(size_t) {
    if (place_ == Place::kOutside) {
      place_ = Place::kTop;
      return true;
    }
    if (place_ != Place::kTop) return unexpected("an object");
    if (tensor_name_ == "__metadata__") {
      place_ = Place::kMetadata;
      return true;
    }
    place_ = Place::kTensor;
    entry_ = {};
    offsets_seen_ = 0;
    fields_.clear();
    return true;
  }

  bool key(string_t& value) {
    if (place_ == Place::kTop) {
      if (header_.entries.size() == kMaxSafetensorsTensors && value != "__metadata__") {
        problem_ = str("it has more than ", kMaxSafetensorsTensors, " tensors");
        return false;
      }
      tensor_name_ = value;
      field_.clear();
      if (!names_.insert(value).second) return fail("is there twice");
      return true;
    }
    field_ = value;
    if (place_ == Place::kMetadata) return true;
    if (value != "dtype" && value != "shape" && value != "data_offsets") {
      return fail(str("has the field ", quoted_tensor_name(value), "; expected dtype, shape and data_offsets"));
    }
    if (!fields_.insert(value).second) return fail(str("has the field ", value, " twice"));
    return true;
  }

  bool end_object() {
    if (place_ == Place::kTensor) {
      for (const char* field : {"dtype", "shape", "data_offsets"}) {
        if (!fields_.contains(field)) return fail(str("has no ", field));
      }
      entry_.name = tensor_name_;
      header_.entries.push_back(std::move(entry_));
    }
    place_ = place_ == Place::kTop ? Place::kOutside : Place::kTop;
    return true;
  }

  bool start_array(size_t) {
    if (place_ == Place::kTensor && field_ == "shape") {
      place_ = Place::kShape;
    } else if (place_ == Place::kTensor && field_ == "data_offsets") {
      place_ = Place::kOffsets;
    } else {
      return unexpected("a list");
    }
    return true;
  }

  bool end_array() {
    if (place_ == Place::kOffsets && offsets_seen_ != 2) {
      return fail(str("has ", offsets_seen_, " data_offsets; expected 2"));
    }
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(size_t position, const std::string& token, const nlohmann::json::exception&) {
    problem_ = str("its header is not JSON at byte ", position, ", near ", quoted_tensor_name(token));
    return false;
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kShape, kOffsets };

  bool fail(const std::string& what) {
    const bool metadata = tensor_name_ == "__metadata__";
    problem_ = str(metadata ? "" : "tensor ", metadata ? tensor_name_ : quoted_tensor_name(tensor_name_), " ", what);
    return false;
  }

  bool unexpected(const std::string& value) {
    switch (place_) {
      case Place::kOutside:
        problem_ = str("its header is ", value, "; expected an object");
        return false;
      case Place::kTop:
        return fail(str("is ", value, "; expected an object"));
      case Place::kMetadata:
        return fail(str("has ", value, " for ", quoted_tensor_name(field_), "; expected text"));
      case Place::kTensor:
        return fail(str("has ", value, " as its ", field_, "; expected ",
                        field_ == "dtype" ? "text" : "a list of whole numbers, none negative"));
      case Place::kShape:
        return fail(str("has ", value, " in its shape; expected whole numbers, none negative"));
      case Place::kOffsets:
        return fail(str("has ", value, " in its data_offsets; expected two whole numbers, none negative"));
    }
    return false;
  }

  SafetensorsHeader header_;
  SafetensorsEntry entry_;
  std::string problem_, tensor_name_, field_;
  std::unordered_set<std::string> names_;
  std::set<std::string> fields_;
  Place place_ = Place::kOutside;
  int offsets_seen_ = 0;
};

/// Parsers keep the text they are in several times over, and once more for what they say about it.
void check_text_lengths(std::string_view json, const std::string& file) {
  const auto ends_number = [](char c) {
    return c <= ' ' || c == ',' || c == ':' || c == ']' || c == '[' || c == '{' || c == '}';
  };
  bool in_text = false;
  size_t begin = 0;  // of a name, text or number
  for (size_t at = 0; at < json.size(); ++at) {
    const char c = json[at];
    if (c == '"') {
      if (!in_text) begin = at;
      in_text = !in_text;
    } else if (in_text) {
      if (c == '\\') ++at;
    } else if (ends_number(c)) {
      begin = at + 1;
    }
    if (at < begin + kMaxSafetensorsText) continue;
    throw FormatError(str(file, ": its header has a name, text or number of more than ", kMaxSafetensorsText,
                          " bytes at byte ", begin));
  }
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t size : shape) text += str(text.size() > 1 ? ", " : "", size);
  return text + "]";
}

/// The bytes an entry's shape asks for. Zeros count as ones while checking for overflow, since torch multiplies
/// strides that way.
uint64_t bytes_of_shape(const SafetensorsEntry& entry, const std::string& file) {
  int64_t strides = entry.dtype->bytes;
  bool empty = false;
  for (const int64_t size : entry.shape) {
    empty = empty || size == 0;
    if (__builtin_mul_overflow(strides, std::max<int64_t>(size, 1), &strides)) {
      throw FormatError(str(file, ": tensor ", quoted_tensor_name(entry.name), " has the shape ",
                            shape_text(entry.shape), " of ", entry.dtype->name, ", more than 2^63 bytes"));
    }
  }
  return empty ? 0 : static_cast<uint64_t>(strides);
}

void check_entry(const SafetensorsEntry& entry, uint64_t data_bytes, const std::string& file) {
  const std::string name = str(file, ": tensor ", quoted_tensor_name(entry.name));
  if (entry.end < entry.begin) {
    throw FormatError(str(name, " ends at byte ", entry.end, ", before its begin at ", entry.begin));
  }
  const uint64_t expected = bytes_of_shape(entry, file);
  if (entry.end - entry.begin != expected) {
    throw FormatError(str(name, " has ", entry.end - entry.begin, " bytes; its shape ", shape_text(entry.shape), " of ",
                          entry.dtype->name, " needs ", expected));
  }
  if (entry.end > data_bytes) {
    throw FormatError(str(name, " ends at byte ", entry.end, ", but the file holds ", data_bytes, " bytes of tensors"),
                      "the file is probably cut short: copy or download it again");
  }
}

void check_layout(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes, const std::string& file) {
  uint64_t reached = 0;
  for (const auto& entry : entries) {
    if (entry.begin != reached) {
      const char* what = entry.begin < reached ? ", inside the tensor before it, which ends at "
                                               : ", leaving a hole: the tensor before it ends at ";
      throw FormatError(
          str(file, ": tensor ", quoted_tensor_name(entry.name), " begins at byte ", entry.begin, what, reached));
    }
    reached = entry.end;
  }
  if (reached != data_bytes) {
    throw FormatError(
        str(file, ": its tensors end at byte ", reached, ", but the file holds ", data_bytes, " bytes of them"));
  }
}

}  // namespace

std::string quoted_tensor_name(std::string_view name) {
  constexpr size_t kLongest = 200;
  std::string text = "'";
  for (const char c : name.substr(0, kLongest)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char escaped[5];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned char>(c));
      text += escaped;
    } else {
      text += c;
    }
  }
  return text + (name.size() > kLongest ? "...'" : "'");
}

SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes, const std::string& file) {
  if (!json.starts_with('{')) {
    const bool is_text = json.empty() || static_cast<unsigned char>(json[0]) < 0x80;  // else half a letter at best
    throw FormatError(str(file, ": its header begins with ",
                          is_text ? quoted_tensor_name(json.substr(0, 1)) : "no text", "; expected '{'"));
  }
  check_text_lengths(json, file);
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &reader)) {
    throw FormatError(str(file, ": ", reader.problem()));
  }
  SafetensorsHeader header = reader.take();
  for (const auto& entry : header.entries) check_entry(entry, data_bytes, file);
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& left, const auto& right) {
    return std::tie(left.begin, left.end, left.name) < std::tie(right.begin, right.end, right.name);
  });
  check_layout(header.entries, data_bytes, file);
  return header;
}

}  // namespace lorikeet
