#include "data/metadata_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "core/errors.h"
#include "data/data_test_support.h"

namespace lorikeet {
namespace {

struct Contents {
  std::vector<MetadataRow> rows;
  std::vector<std::string> columns;
};

Contents read(const std::string& name, const std::string& bytes, DatasetRequest request = {}) {
  static const TemporaryFolder folder;
  std::filesystem::remove(folder / name);  // writing over a file waits for the disk
  std::ofstream(folder / name, std::ios::binary) << bytes;
  request.folder = folder.path();
  Contents contents;
  read_metadata_file(
      request, name, [&](MetadataRow row) { contents.rows.push_back(std::move(row)); }, contents.columns);
  return contents;
}

using Captions = std::vector<std::string>;

TEST(MetadataFile, ReadsJsonLines) {
  const auto contents = read("metadata.jsonl",
                             "\xEF\xBB\xBF{\"text\": \"a \\u00e9\", \"file_name\": \"b.png\", \"id\": 7}\r\n\n"
                             "{\"file_name\": \"sub/a.png\", \"text\": [\"one\", \"two\"]}\n"
                             "{\"file_name\": \"c.png\", \"text\": null}\n{\"file_name\": \"d.png\"}\n"
                             "{\"file_name\": \"e.png\", \"text\": []}\n{\"file_name\": \"f.png\", \"text\": \"\"}");
  ASSERT_EQ(contents.rows.size(), 6u);
  EXPECT_EQ(contents.rows[0].file_name, "b.png");
  EXPECT_EQ(contents.rows[0].captions, Captions{"a \xC3\xA9"});
  EXPECT_EQ(contents.rows[1].captions, (Captions{"one", "two"}));
  EXPECT_EQ(contents.rows[1].where, "metadata.jsonl, line 3");
  for (const size_t i : {2, 3, 4}) EXPECT_TRUE(contents.rows[i].captions.empty()) << i;
  EXPECT_EQ(contents.rows[5].captions, Captions{""}) << "an empty caption is one, null is none";
  EXPECT_EQ(contents.columns, (std::vector<std::string>{"text", "file_name", "id"}));
}

TEST(MetadataFile, ReadsCsv) {
  const auto contents = read("metadata.csv", "id,file_name,text\n1,a.png,\"a, b\"\n2,b.png,\n3,c.png\n");
  ASSERT_EQ(contents.rows.size(), 3u);
  EXPECT_EQ(contents.rows[0].captions, Captions{"a, b"});
  EXPECT_TRUE(contents.rows[1].captions.empty());
  EXPECT_TRUE(contents.rows[2].captions.empty());
  EXPECT_EQ(contents.rows[2].file_name, "c.png");
  EXPECT_EQ(contents.columns, (std::vector<std::string>{"id", "file_name", "text"}));
}

TEST(MetadataFile, FindsThePicturesColumn) {
  EXPECT_EQ(read("metadata.jsonl", "{\"image_file_name\": \"a.png\", \"text\": \"x\"}").rows[0].file_name, "a.png");
  DatasetRequest request;
  request.image_column = "photo";
  EXPECT_EQ(read("metadata.csv", "photo_file_name,text\na.png,x\n", request).rows[0].file_name, "a.png");
}

template <class E>
std::string refusal(const std::string& name, const std::string& bytes, const DatasetRequest& request = {},
                    std::string* hint = nullptr) {
  try {
    read(name, bytes, request);
  } catch (const E& error) {
    if (hint) *hint = error.hint();
    return error.what();
  }
  return "";
}

TEST(MetadataFile, NamesTheColumnsWhenTheCaptionsAreNotThere) {
  std::string hint;
  const std::string row = "{\"file_name\": \"a.png\", \"caption\": \"x\"}\n";
  EXPECT_EQ(refusal<UsageError>("metadata.jsonl", row, {}, &hint),
            "--caption_column=text: metadata.jsonl has the columns file_name, caption");
  EXPECT_EQ(hint, "did you mean --caption_column=\"caption\"?");
  EXPECT_EQ(refusal<UsageError>("metadata.csv", "file_name,caption\na.png,x\n", {}, &hint),
            "--caption_column=text: metadata.csv has the columns file_name, caption");
  EXPECT_EQ(hint, "did you mean --caption_column=\"caption\"?");
  EXPECT_NE(refusal<UsageError>("metadata.csv", "file_name, text\na.png,x\n", {}, &hint), "");
  EXPECT_EQ(hint, "did you mean --caption_column=\" text\"?");
  DatasetRequest request;
  request.default_caption = "all";
  EXPECT_NE(refusal<UsageError>("metadata.jsonl", row, request), "") << "a caption column must not be overlooked";
  EXPECT_EQ(read("metadata.jsonl", "{\"file_name\": \"a.png\", \"id\": 1}", request).rows.size(), 1u);
  EXPECT_NE(refusal<UsageError>("metadata.jsonl", "{\"file_name\": \"a.png\", \"id\": 1}"), "");
}

TEST(MetadataFile, NamesTheColumnsWhenThePicturesAreNotThere) {
  EXPECT_EQ(
      refusal<UsageError>("metadata.jsonl", "{\"image\": \"a.png\", \"text\": \"x\"}"),
      "--image_column=image: metadata.jsonl has the columns image, text, expected file_name with the names of the "
      "pictures");
  EXPECT_NE(refusal<UsageError>("metadata.csv", "image,text\na.png,x\n"), "");
  DatasetRequest request;
  request.image_column = "photo";
  EXPECT_NE(refusal<UsageError>("metadata.csv", "file_name,text\na.png,x\n", request).find("photo_file_name"),
            std::string::npos);
}

TEST(MetadataFile, NamesTheDamagedLine) {
  const std::string good = "{\"file_name\": \"a.png\", \"text\": \"x\"}\n";
  const auto json = [&](const std::string& line) { return refusal<FormatError>("metadata.jsonl", good + line + "\n"); };
  EXPECT_TRUE(json("{\"file_name\": \"b.png\"").starts_with("metadata.jsonl, line 2: damaged JSON at its byte"));
  EXPECT_TRUE(json("[1]").starts_with("metadata.jsonl, line 2: of the type array"));
  EXPECT_TRUE(json("{\"file_name\": 5}").starts_with("metadata.jsonl, line 2: file_name is of the type number"));
  EXPECT_TRUE(json("{\"text\": \"x\"}").starts_with("metadata.jsonl, line 2: no file is named"));
  EXPECT_TRUE(
      json("{\"file_name\": \"b.png\", \"text\": 5}").starts_with("metadata.jsonl, line 2: a caption is of the "));
  EXPECT_TRUE(json("{\"file_name\": \"b.png\", \"text\": [[]]}").starts_with("metadata.jsonl, line 2: a caption is "));
  EXPECT_TRUE(json("{\"file_name\": \"\xFF\"}").starts_with("metadata.jsonl, line 2: damaged JSON"));
  EXPECT_TRUE(json(std::string(500'000, '[')).starts_with("metadata.jsonl, line 2: damaged JSON"));
  const std::string long_caption = "{\"file_name\": \"b.png\", \"text\": \"" + std::string(100'001, 'x') + "\"}";
  EXPECT_TRUE(json(long_caption).starts_with("metadata.jsonl, line 2: a caption of 100001 bytes"));
  const auto csv = [&](const std::string& line) {
    return refusal<FormatError>("metadata.csv", "file_name,text\na.png,x\n" + line + "\n");
  };
  EXPECT_TRUE(csv("b.png,one, two").starts_with("metadata.csv, line 3: 3 fields, expected 2"));
  EXPECT_TRUE(csv(",x").starts_with("metadata.csv, line 3: no file is named"));
  EXPECT_TRUE(csv("b.png,caf\xE9").starts_with("metadata.csv, line 3: the caption is not UTF-8"));
}

TEST(MetadataFile, MayBeEmpty) {
  EXPECT_TRUE(read("metadata.jsonl", "\n \n").rows.empty());
  EXPECT_TRUE(read("metadata.csv", "").rows.empty());
}

TEST(MetadataFile, SurvivesDamage) {
  const std::string seeds[] = {"{\"file_name\": \"a.png\", \"text\": [\"x\", \"y\"], \"n\": {\"a\": [1, 2e9]}}\n",
                               "file_name,text\n\"a.png\",\"x \"\"y\"\"\"\n"};
  std::mt19937 random(11);
  const std::string palette = "\"\\{}[],:\n\r0ae\xC3\xFF";
  for (int round = 0; round < 1500; ++round) {
    std::string bytes = seeds[round % 2] + seeds[round % 2];
    for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] = palette[random() % palette.size()];
    try {
      read(round % 2 ? "metadata.csv" : "metadata.jsonl", bytes);
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace lorikeet
