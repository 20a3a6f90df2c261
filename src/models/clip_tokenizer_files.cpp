#include "models/clip_tokenizer_files.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <tuple>
#include <variant>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

using Json = nlohmann::ordered_json;  // the order of special tokens decides their ids
using LargeJson = nlohmann::json;     // looking up a key in the ordered kind takes as long as there are keys
namespace fs = std::filesystem;

constexpr size_t kLargestFile = size_t{64} << 20;
constexpr int64_t kClipLength = 77;            // when no file says it
constexpr int64_t kLongestLength = 1'000'000;  // Transformers writes 10^30 for "no limit"
constexpr const char* kNamedTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};

[[noreturn]] void fail(const std::string& file, const std::string& what) { throw FormatError(str(file, ": ", what)); }

template <class AnyJson>
std::string shown(const AnyJson& value) {
  const std::string text = value.dump(-1, ' ', false, AnyJson::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 80) + "...";
}

template <class AnyJson>
AnyJson read_object(const fs::path& path) {
  const std::string text = read_file(path, kLargestFile);
  bool too_deep = false;
  const auto shallow = [&](int depth, typename AnyJson::parse_event_t, AnyJson&) {
    too_deep = too_deep || depth > 32;
    return !too_deep;
  };
  AnyJson json = AnyJson::parse(text, shallow, false);
  if (too_deep) fail(path.string(), "nested more than 32 deep; expected a tokenizer's settings");
  if (json.is_discarded()) fail(path.string(), "not JSON; expected a JSON object");
  if (!json.is_object()) fail(path.string(), str(shown(json), " is not a JSON object"));
  return json;
}

std::optional<Json> read_object_if_there(const fs::path& path) {
  if (!fs::exists(path)) return std::nullopt;
  return read_object<Json>(path);
}

template <class AnyJson>
std::string text_of(const AnyJson& value, const std::string& what, const std::string& file) {
  if (!value.is_string()) fail(file, str(what, " is ", shown(value), "; expected text"));
  return value.template get<std::string>();
}

template <class AnyJson>
uint32_t id_of(const AnyJson& value, const std::string& token, const std::string& file) {
  if (!value.is_number_unsigned() || value.template get<uint64_t>() > 0x7fffffff) {
    fail(file,
         str("the token '", token, "' has the id ", shown(value), "; expected a whole number from 0 to 2147483647"));
  }
  return value.template get<uint32_t>();
}

bool flag_of(const Json& token, const char* name, const std::string& what, const std::string& file) {
  const auto found = token.find(name);
  if (found == token.end()) return false;
  if (!found->is_boolean()) fail(file, str(what, " has ", shown(*found), " as its ", name, "; expected true or false"));
  return found->get<bool>();
}

AddedToken added_token(const Json& value, const std::string& what, const std::string& file) {
  if (!value.is_object() || !value.contains("content")) {
    fail(file, str(what, " is ", shown(value), "; expected an object with a content"));
  }
  AddedToken token;
  token.content = text_of(value["content"], str("the content of ", what), file);
  token.single_word = flag_of(value, "single_word", what, file);
  token.lstrip = flag_of(value, "lstrip", what, file);
  token.rstrip = flag_of(value, "rstrip", what, file);
  token.special = flag_of(value, "special", what, file);
  if (value.contains("normalized")) token.normalized = flag_of(value, "normalized", what, file);
  return token;
}

/// A special token as the files give it. Transformers treats bare text and the object form differently, even for the
/// same content: whichever is added last decides how the token is looked for.
using SpecialToken = std::variant<std::string, AddedToken>;

const std::string& content_of(const SpecialToken& token) {
  if (const auto* text = std::get_if<std::string>(&token)) return *text;
  return std::get<AddedToken>(token).content;
}

TokenIds read_vocabulary(const LargeJson& json, const std::string& file) {
  if (!json.is_object()) fail(file, str("its vocabulary is ", shown(json), "; expected an object of tokens and ids"));
  TokenIds vocabulary;
  vocabulary.reserve(json.size());
  for (const auto& [token, id] : json.items()) vocabulary[token] = id_of(id, token, file);
  if (vocabulary.empty()) fail(file, "its vocabulary is empty");
  return vocabulary;
}

/// "left right", with exactly one space.
std::pair<std::string, std::string> split_merge(const std::string& line, const std::string& where,
                                                const std::string& file) {
  const size_t space = line.find(' ');
  if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
    fail(file, str(where, " is '", line.substr(0, 80), "'; expected two tokens with one space between"));
  }
  return {line.substr(0, space), line.substr(space + 1)};
}

Merges read_merges(const fs::path& path) {
  std::istringstream in(read_file(path, kLargestFile));
  Merges merges;
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.starts_with("#version")) continue;
    merges.push_back(split_merge(line, str("line ", number), path.string()));
  }
  return merges;
}

Merges read_merges(const LargeJson& json, const std::string& file) {
  if (!json.is_array()) fail(file, str("its merges are ", shown(json), "; expected a list"));
  Merges merges;
  for (const auto& merge : json) {
    const std::string where = str("merge ", merges.size() + 1);
    if (merge.is_array() && merge.size() == 2) {
      merges.emplace_back(text_of(merge[0], where, file), text_of(merge[1], where, file));
    } else {
      merges.push_back(split_merge(text_of(merge, where, file), where, file));
    }
  }
  return merges;
}

/// Follows Transformers' _from_pretrained and the constructors behind it: which files count, and in which order
/// tokens are added. Order matters: it gives ids, and a later token replaces an earlier one of the same content.
class TokenizerReader {
 public:
  explicit TokenizerReader(const fs::path& folder) : folder_(folder) {}

  TokenizerFiles read() {
    read_model();
    config_file_ = (folder_ / "tokenizer_config.json").string();
    config_ = read_object_if_there(config_file_).value_or(Json::object());
    if (config_.contains("added_tokens_decoder")) {
      read_specials(config_, config_file_, false);
      read_added_decoder();
    } else {
      read_specials(config_, config_file_, false);
      const fs::path map = folder_ / "special_tokens_map.json";
      if (const auto json = read_object_if_there(map)) read_specials(*json, map.string(), true);
      read_legacy_added();
    }
    take_named_tokens();
    collect_added();
    refuse_other_pipelines();
    read_length();
    return std::move(files_);
  }

 private:
  void read_model() {
    const fs::path one = folder_ / "tokenizer.json";
    const fs::path vocabulary = folder_ / "vocab.json", merges = folder_ / "merges.txt";
    if (fs::exists(one)) {
      files_.origin = one.string();
      const auto json = read_object<LargeJson>(one);
      const auto model = json.find("model");
      if (model == json.end() || !model->is_object() || !model->contains("vocab") || !model->contains("merges")) {
        fail(files_.origin, "no model with vocab and merges; expected a CLIP tokenizer, which is a BPE model");
      }
      files_.vocabulary = read_vocabulary((*model)["vocab"], files_.origin);
      files_.merges = read_merges((*model)["merges"], files_.origin);
      if (json.contains("added_tokens")) listed_ = json["added_tokens"];
    } else if (fs::exists(vocabulary) && fs::exists(merges)) {
      files_.origin = merges.string();
      files_.vocabulary = read_vocabulary(read_object<LargeJson>(vocabulary), vocabulary.string());
      files_.merges = read_merges(merges);
    } else {
      throw FileError(str("cannot find a tokenizer in ", folder_.string(),
                          ": expected vocab.json and merges.txt, or tokenizer.json"));
    }
  }

  /// Keeps every special token of `json`; later calls replace earlier ones.
  void read_specials(const Json& json, const std::string& file, bool all_special) {
    for (const auto& [key, value] : json.items()) {
      if (key == "extra_special_tokens" || key == "additional_special_tokens") {
        read_extra(value, key, file);
      } else if (key.ends_with("_token") && (value.is_string() || value.is_object() || is_named(key))) {
        specials_[key] = value.is_null() ? std::optional<SpecialToken>() : special_token(value, key, file, all_special);
        if (!is_named(key) && std::ranges::find(model_specific_, key) == model_specific_.end()) {
          model_specific_.push_back(key);
        }
      }
    }
  }

  static bool is_named(const std::string& key) {
    return std::ranges::find(kNamedTokens, key) != std::end(kNamedTokens);
  }

  static SpecialToken special_token(const Json& value, const std::string& key, const std::string& file, bool special) {
    if (value.is_string()) return value.get<std::string>();
    AddedToken token = added_token(value, key, file);
    token.special = token.special || special;
    return token;
  }

  void read_extra(const Json& value, const std::string& key, const std::string& file) {
    if (value.is_null()) return;
    if (!value.is_array() && !value.is_object()) fail(file, str(key, " is ", shown(value), "; expected a list"));
    for (const auto& token : value) extra_.push_back(special_token(token, key, file, true));
  }

  void read_added_decoder() {
    const Json& decoder = config_["added_tokens_decoder"];
    if (!decoder.is_object()) {
      fail(config_file_, str("added_tokens_decoder is ", shown(decoder), "; expected an object of ids and tokens"));
    }
    for (const auto& [key, value] : decoder.items()) {
      const bool digits = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
      if (!digits) fail(config_file_, str("added_tokens_decoder has the id '", key, "'; expected a whole number"));
      added_by_id_[std::stoll(key)] = added_token(value, str("the added token ", key), config_file_);
    }
  }

  void read_legacy_added() {
    const fs::path path = folder_ / "added_tokens.json";
    if (const auto json = read_object_if_there(path)) {
      for (const auto& [content, id] : json->items()) {
        AddedToken token;
        token.content = content;
        token.special = is_special(content);
        token.normalized = !token.special;
        added_by_id_[id_of(id, content, path.string())] = token;
      }
    }
    if (!listed_.is_array()) fail(files_.origin, str("added_tokens is ", shown(listed_), "; expected a list"));
    for (const auto& value : listed_) {
      AddedToken token = added_token(value, "an added token", files_.origin);
      if (!value.contains("id")) fail(files_.origin, str("the added token '", token.content, "' has no id"));
      added_by_id_[id_of(value["id"], token.content, files_.origin)] = token;
    }
  }

  bool is_special(const std::string& content) const {
    const auto matches = [&](const SpecialToken& token) { return content_of(token) == content; };
    return std::ranges::any_of(specials_, [&](const auto& item) { return item.second && matches(*item.second); }) ||
           std::ranges::any_of(extra_, matches);
  }

  /// The token a name stands for; CLIP's own when no file says it.
  std::string named(const char* key, const char* otherwise) {
    const auto [found, absent] = specials_.try_emplace(key, SpecialToken(std::string(otherwise)));
    if (!found->second) fail(config_file_, str(key, " is null; expected text"));
    return content_of(*found->second);
  }

  void take_named_tokens() {
    files_.start = named("bos_token", "<|startoftext|>");
    files_.end = named("eos_token", "<|endoftext|>");
    files_.unknown = named("unk_token", "<|endoftext|>");
    files_.pad = named("pad_token", "<|endoftext|>");
    for (auto& [key, token] : specials_) {
      if (!token) continue;
      for (const auto& [id, added] : added_by_id_) {
        if (added.content == content_of(*token)) token = SpecialToken(added);
      }
    }
  }

  void collect_added() {
    std::vector<SpecialToken> tokens;
    for (const auto& [id, token] : added_by_id_) tokens.emplace_back(token);
    const size_t from_decoder = tokens.size();
    const auto add = [&](const SpecialToken& token) {
      const auto known = [&](const SpecialToken& other) { return content_of(other) == content_of(token); };
      if (std::any_of(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(from_decoder), known)) return;
      if (std::ranges::find(tokens, token) == tokens.end()) tokens.push_back(token);
    };
    std::vector<std::string> order(std::begin(kNamedTokens), std::end(kNamedTokens));
    order.insert(order.end(), model_specific_.begin(), model_specific_.end());
    for (const auto& key : order) {
      const auto found = specials_.find(key);
      if (found != specials_.end() && found->second) add(*found->second);
    }
    for (const auto& token : extra_) add(token);
    for (const auto& token : tokens) files_.added.push_back(as_added(token));
  }

  AddedToken as_added(const SpecialToken& token) const {
    if (const auto* text = std::get_if<std::string>(&token)) {
      AddedToken added;
      added.content = *text;
      added.special = true;
      return added;
    }
    AddedToken added = std::get<AddedToken>(token);
    const auto names_it = [&](const auto& item) { return item.second && content_of(*item.second) == added.content; };
    if (std::ranges::any_of(specials_, names_it)) added.special = true;
    return added;
  }

  /// Settings under which Transformers itself would give other ids than CLIP's.
  void refuse_other_pipelines() const {
    const auto expect = [&](const char* key, const Json& expected) {
      const auto found = config_.find(key);
      if (found != config_.end() && !found->is_null() && *found != expected) {
        fail(config_file_, str(key, " is ", shown(*found), "; only ", shown(expected), " is supported"));
      }
    };
    expect("padding_side", "right");
    expect("truncation_side", "right");
    expect("split_special_tokens", false);
  }

  void read_length() {
    files_.model_max_length = kClipLength;
    const auto found = config_.find("model_max_length");
    if (found == config_.end() || found->is_null()) return;
    if (!found->is_number()) fail(config_file_, str("model_max_length is ", shown(*found), "; expected a number"));
    const double length = found->get<double>();
    if (!(length >= 2) || length != std::floor(length)) {
      fail(config_file_, str("model_max_length is ", shown(*found), "; expected a whole number, at least 2"));
    }
    if (length <= kLongestLength) files_.model_max_length = static_cast<int64_t>(length);
  }

  fs::path folder_;
  TokenizerFiles files_;
  Json listed_ = Json::array();  // what tokenizer.json lists as added_tokens
  Json config_ = Json::object();
  std::string config_file_;
  std::map<std::string, std::optional<SpecialToken>> specials_;
  std::vector<std::string> model_specific_;
  std::vector<SpecialToken> extra_;
  std::map<int64_t, AddedToken> added_by_id_;
};

}  // namespace

bool AddedToken::operator==(const AddedToken& other) const {
  return std::tuple(content, single_word, lstrip, rstrip, special, is_normalized()) ==
         std::tuple(other.content, other.single_word, other.lstrip, other.rstrip, other.special, other.is_normalized());
}

TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder) { return TokenizerReader(folder).read(); }

}  // namespace lorikeet
