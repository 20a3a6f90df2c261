#include "models/clip_tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "io/file_test_support.h"
#include "models/clip_tokenizer_bpe.h"

namespace lorikeet {
namespace {

using Json = nlohmann::ordered_json;
using Ids = std::vector<int64_t>;

const char* const kEmbedded = "models/lorikeet-base/tokenizer";

/// A tokenizer of bytes, the merges "c a", "ca t</w>" and the two markers, in files that a test may spoil.
class SmallTokenizer {
 public:
  SmallTokenizer() {
    for (const auto& symbol : byte_alphabet()) vocabulary_[symbol] = vocabulary_.size();
    for (const auto& symbol : byte_alphabet()) vocabulary_[symbol + "</w>"] = vocabulary_.size();
    for (const char* token : {"ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"})
      vocabulary_[token] = vocabulary_.size();
    write("vocab.json", vocabulary_);
    folder_.write("merges.txt", "#version: 0.2\nc a\nca t</w>\n");
  }

  void write(const std::string& file, const Json& json) const { folder_.write(file, json.dump()); }
  void write_text(const std::string& file, const std::string& text) const { folder_.write(file, text); }
  void remove(const std::string& file) const { std::filesystem::remove(folder_.path() / file); }
  const Json& vocabulary() const { return vocabulary_; }
  int64_t id(const std::string& token) const { return vocabulary_.at(token); }
  CLIPTokenizer open() const { return CLIPTokenizer::from_folder(folder_.path()); }
  std::string file(const std::string& name) const { return (folder_.path() / name).string(); }

  /// The ids of `text` without start and end.
  Ids inner(const std::string& text) const {
    const auto ids = open().encode(text);
    return {ids.begin() + 1, ids.end() - 1};
  }

 private:
  TestFolder folder_;
  Json vocabulary_ = Json::object();
};

Json token_json(const std::string& content, const Json& more = Json::object()) {
  Json token{{"content", content}, {"lstrip", false}, {"rstrip", false}, {"single_word", false}, {"normalized", false}};
  token.update(more);
  return token;
}

template <class E>
void expect_refused(const SmallTokenizer& files, const std::string& part) {
  expect_error<E>(part, [&] { files.open(); });
}

TEST(ClipTokenizer, GivesTheIdsOfTransformersForTheEmbeddedModel) {
  const auto tokenizer = CLIPTokenizer::from_folder(kEmbedded);
  const auto reference = Json::parse(read_file("tests/data/tokenizer_reference.json"));
  ASSERT_EQ(reference["cases"].size(), 300U);
  for (const auto& item : reference["cases"]) {
    const auto text = item["text"].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text), item["ids"].get<Ids>()) << text;
  }
  EXPECT_EQ(tokenizer.encode_padded("a photo of sks dog"), reference["padded"].get<Ids>());
  EXPECT_EQ(tokenizer.model_max_length(), 77);
  EXPECT_EQ(tokenizer.vocabulary_size(), 6150);
}

TEST(ClipTokenizer, CutsAndPadsToTheLengthAskedFor) {
  const SmallTokenizer files;
  const auto tokenizer = files.open();
  const int64_t start = tokenizer.start_id(), end = tokenizer.end_id(), cat = files.id("cat</w>");
  EXPECT_EQ(tokenizer.encode("cat cat"), (Ids{start, cat, cat, end}));
  EXPECT_EQ(tokenizer.encode("cat", 5).ids, (Ids{start, cat, end, end, end}));
  EXPECT_EQ(tokenizer.encode("cat", 5).attention_mask, (Ids{1, 1, 1, 0, 0}));
  EXPECT_EQ(tokenizer.encode("cat cat cat", 3).ids, (Ids{start, cat, end}));
  EXPECT_EQ(tokenizer.encode("cat cat cat", 3).attention_mask, (Ids{1, 1, 1}));
  EXPECT_EQ(tokenizer.encode("cat", 2).ids, (Ids{start, end}));
  EXPECT_EQ(tokenizer.encode("", 3).ids, (Ids{start, end, end}));
  EXPECT_EQ(tokenizer.encode_padded("cat").size(), 77U);
  for (const int64_t length : {1, 0, -1}) {
    expect_error<UsageError>(str("cannot be cut to ", length, " tokens"), [&] { tokenizer.encode("cat", length); });
  }
}

TEST(ClipTokenizer, MergesTheLowestRankFirst) {
  const SmallTokenizer files;
  EXPECT_EQ(files.inner("cat"), Ids{files.id("cat</w>")});
  EXPECT_EQ(files.inner("cats"), (Ids{files.id("ca"), files.id("t"), files.id("s</w>")}));
  EXPECT_EQ(files.inner("CAT\t cat"), (Ids{files.id("cat</w>"), files.id("cat</w>")}));
  EXPECT_EQ(files.inner("12"), (Ids{files.id("1</w>"), files.id("2</w>")}));
}

TEST(ClipTokenizer, DecodesToTextForPeople) {
  const SmallTokenizer files;
  const auto tokenizer = files.open();
  EXPECT_EQ(tokenizer.decode(files.inner("  Cat's   Ärger 12 🙂 ")), "cat 's ärger 1 2 🙂");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("cat")), "<|startoftext|>cat <|endoftext|>");
  EXPECT_EQ(tokenizer.decode({}), "");
  EXPECT_EQ(tokenizer.decode({files.id(byte_alphabet()[0xc3])}), "\ufffd");
  for (const int64_t id : {int64_t{-1}, tokenizer.vocabulary_size(), int64_t{1} << 32}) {
    expect_error<UsageError>(str("no token has the id ", id), [&] { tokenizer.decode({id}); });
  }
}

TEST(ClipTokenizer, ReadsBytesThatAreNotUtf8AsReplacementCharacters) {
  const SmallTokenizer files;
  EXPECT_EQ(files.inner("a\xff\xe2\x82 b"), files.inner("a\ufffd\ufffd b"));
  EXPECT_EQ(files.inner(std::string("a\0b", 3)).size(), 3U);
}

TEST(ClipTokenizer, TakesLongWordsInReasonableTime) {
  const SmallTokenizer files;
  std::string word;
  for (int i = 0; i < 100'000; ++i) word += "cat";
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(files.inner(word).size(), 200'000U - 1);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(ClipTokenizer, PadsWithTheTokenThatTheFilesName) {
  SmallTokenizer files;
  files.write("special_tokens_map.json", {{"pad_token", "!"}});
  const auto tokenizer = files.open();
  EXPECT_EQ(tokenizer.pad_id(), files.id("!"));
  EXPECT_EQ(tokenizer.encode("cat", 4).ids,
            (Ids{tokenizer.start_id(), files.id("cat</w>"), tokenizer.end_id(), files.id("!")}));
  // The pad token is cut out of texts, so it never gets a word's end mark.
  EXPECT_EQ(files.inner("cat!!"), (Ids{files.id("cat</w>"), files.id("!"), files.id("!")}));
  files.remove("special_tokens_map.json");
  EXPECT_EQ(files.inner("cat!"), (Ids{files.id("cat</w>"), files.id("!</w>")}));
}

TEST(ClipTokenizer, ReadsALoneTokenizerJsonWithEitherFormOfMerges) {
  for (const Json& merges :
       {Json::array({"c a", "ca t</w>"}), Json::array({Json::array({"c", "a"}), Json::array({"ca", "t</w>"})})}) {
    SmallTokenizer files;
    const int64_t next = static_cast<int64_t>(files.vocabulary().size());
    files.write("tokenizer.json",
                {{"added_tokens", Json::array({token_json("<new>", {{"id", next}, {"special", true}})})},
                 {"model", {{"type", "BPE"}, {"vocab", files.vocabulary()}, {"merges", merges}}}});
    files.remove("vocab.json");
    files.remove("merges.txt");
    EXPECT_EQ(files.inner("cat <new>cat"), (Ids{files.id("cat</w>"), next, files.id("cat</w>")}));
    EXPECT_EQ(files.open().vocabulary_size(), next + 1);
  }
}

TEST(ClipTokenizer, NumbersAddedTokensInTheOrderOfTheirFile) {
  SmallTokenizer files;
  const int64_t next = static_cast<int64_t>(files.vocabulary().size());
  files.write("added_tokens.json", {{"<b>", next + 1}, {"<a>", next}, {"Mixed", next + 2}});
  EXPECT_EQ(files.inner("<a><b>mIxEd"), (Ids{next, next + 1, next + 2}));
}

TEST(ClipTokenizer, HonoursHowAnAddedTokenWantsToBeFound) {
  SmallTokenizer files;
  const int64_t next = static_cast<int64_t>(files.vocabulary().size());
  const auto key = [&](int64_t i) { return std::to_string(next + i); };
  files.write("tokenizer_config.json", {{"added_tokens_decoder",
                                         {{key(0), token_json("Dog")},
                                          {key(1), token_json("Folded", {{"normalized", true}})},
                                          {key(2), token_json("word", {{"single_word", true}})},
                                          {key(3), token_json("lo")},
                                          {key(4), token_json("longer")},
                                          {key(5), token_json("<both>", {{"lstrip", true}, {"rstrip", true}})}}}});
  const Ids a = files.inner("a");
  EXPECT_EQ(files.inner("Dog"), Ids{next});
  EXPECT_EQ(files.inner("dog").size(), 3U);
  EXPECT_EQ(files.inner("FOLDED"), Ids{next + 1});
  EXPECT_EQ(files.inner("word"), Ids{next + 2});
  EXPECT_EQ(files.inner("word.").front(), next + 2);
  EXPECT_EQ(files.inner("words").size(), 5U);
  EXPECT_EQ(files.inner("sword").size(), 5U);
  EXPECT_EQ(files.inner("longerlo"), (Ids{next + 4, next + 3}));
  EXPECT_EQ(files.inner("a  <both> \n a"), (Ids{a[0], next + 5, a[0]}));
}

TEST(ClipTokenizer, TakesTheLengthFromTheConfig) {
  const auto length_of = [](const Json& value) {
    SmallTokenizer files;
    files.write("tokenizer_config.json", {{"model_max_length", value}});
    return files.open().model_max_length();
  };
  EXPECT_EQ(length_of(64), 64);
  EXPECT_EQ(length_of(nullptr), 77);
  EXPECT_EQ(length_of(1e30), 77);  // how Transformers writes that there is no limit
  EXPECT_EQ(SmallTokenizer().open().model_max_length(), 77);
}

TEST(ClipTokenizerDamage, MissingFilesAreFileErrors) {
  for (const char* file : {"vocab.json", "merges.txt"}) {
    SmallTokenizer files;
    files.remove(file);
    expect_refused<FileError>(files, "expected vocab.json and merges.txt, or tokenizer.json");
  }
  expect_error<FileError>("cannot find a tokenizer in absent", [] { CLIPTokenizer::from_folder("absent"); });
}

TEST(ClipTokenizerDamage, VocabulariesAreChecked) {
  SmallTokenizer files;
  const auto expect = [&](const std::string& text, const std::string& part) {
    files.write_text("vocab.json", text);
    expect_refused<FormatError>(files, files.file("vocab.json") + ": " + part);
  };
  expect("{", "not JSON; expected a JSON object");
  expect("\xff", "not JSON");
  expect("[1]", "[1] is not a JSON object");
  expect("{}", "its vocabulary is empty");
  expect(R"({"a":-1})", "the token 'a' has the id -1; expected a whole number from 0 to 2147483647");
  expect(R"({"a":1.5})", "the token 'a' has the id 1.5");
  expect(R"({"a":"1"})", R"(the token 'a' has the id "1")");
  expect(R"({"a":2147483648})", "the token 'a' has the id 2147483648");
  expect(str(R"({"a":)", std::string(100'000, '[')), "nested more than 32 deep");
  files.write_text("vocab.json", R"({"a":0})");
  expect_refused<FormatError>(files, "its vocabulary has neither the token 'Ā' nor the unknown token '<|endoftext|>'");
}

TEST(ClipTokenizerDamage, MergesAreChecked) {
  SmallTokenizer files;
  const auto expect = [&](const std::string& text, const std::string& part) {
    files.write_text("merges.txt", text);
    expect_refused<FormatError>(files, files.file("merges.txt") + ": " + part);
  };
  expect("#version: 0.2\nc a\nca\n", "line 3 is 'ca'; expected two tokens with one space between");
  expect("c a t\n", "line 1 is 'c a t'");
  expect("\n", "line 1 is ''");
  expect("c a\nx y\n", "merge 2 speaks of the token 'xy', which is not in the vocabulary");
  expect("zz a\n", "merge 1 speaks of the token 'zz'");
}

TEST(ClipTokenizerDamage, TokenizerJsonIsChecked) {
  SmallTokenizer files;
  const auto expect = [&](const Json& json, const std::string& part) {
    files.write("tokenizer.json", json);
    expect_refused<FormatError>(files, files.file("tokenizer.json") + ": " + part);
  };
  expect(Json::object(), "no model with vocab and merges");
  expect({{"model", {{"type", "Unigram"}}}}, "no model with vocab and merges");
  expect({{"model", {{"vocab", Json::array()}, {"merges", Json::array()}}}}, "its vocabulary is []");
  expect({{"model", {{"vocab", files.vocabulary()}, {"merges", "c a"}}}}, "its merges are \"c a\"; expected a list");
  expect({{"model", {{"vocab", files.vocabulary()}, {"merges", Json::array({1})}}}}, "merge 1 is 1; expected text");
  const Json model{{"vocab", files.vocabulary()}, {"merges", Json::array()}};
  expect({{"model", model}, {"added_tokens", 1}}, "added_tokens is 1; expected a list");
  expect({{"model", model}, {"added_tokens", Json::array({token_json("x")})}}, "the added token 'x' has no id");
  expect({{"model", model}, {"added_tokens", Json::array({token_json("x", {{"id", -1}})})}},
         "the token 'x' has the id -1");
}

TEST(ClipTokenizerDamage, ConfigsAreChecked) {
  const auto expect = [](const std::string& file, const Json& json, const std::string& part) {
    SmallTokenizer files;
    files.write(file, json);
    expect_refused<FormatError>(files, files.file(file) + ": " + part);
  };
  const std::string config = "tokenizer_config.json";
  expect(config, Json::array(), "[] is not a JSON object");
  expect(config, {{"bos_token", 1}}, "bos_token is 1; expected an object with a content");
  expect(config, {{"bos_token", nullptr}}, "bos_token is null; expected text");
  expect(config, {{"eos_token", {{"content", 5}}}}, "the content of eos_token is 5; expected text");
  expect(config, {{"eos_token", {{"content", "x"}, {"lstrip", 1}}}},
         "eos_token has 1 as its lstrip; expected true or false");
  expect(config, {{"extra_special_tokens", 3}}, "extra_special_tokens is 3; expected a list");
  expect(config, {{"added_tokens_decoder", 3}}, "added_tokens_decoder is 3");
  expect(config, {{"added_tokens_decoder", {{"x", token_json("a")}}}}, "added_tokens_decoder has the id 'x'");
  expect(config, {{"added_tokens_decoder", {{"1", "a"}}}}, R"(the added token 1 is "a"; expected an object)");
  expect(config, {{"model_max_length", "77"}}, R"(model_max_length is "77"; expected a number)");
  expect(config, {{"model_max_length", 1}}, "model_max_length is 1; expected a whole number, at least 2");
  expect(config, {{"model_max_length", 77.5}}, "model_max_length is 77.5");
  expect(config, {{"padding_side", "left"}}, R"(padding_side is "left"; only "right" is supported)");
  expect(config, {{"truncation_side", "left"}}, R"(truncation_side is "left"; only "right" is supported)");
  expect(config, {{"split_special_tokens", true}}, "split_special_tokens is true; only false is supported");
  expect("special_tokens_map.json", {{"pad_token", {{"text", "x"}}}},
         R"(pad_token is {"text":"x"}; expected an object)");
  expect("added_tokens.json", {{"<x>", "1"}}, R"(the token '<x>' has the id "1")");
}

}  // namespace
}  // namespace lorikeet
