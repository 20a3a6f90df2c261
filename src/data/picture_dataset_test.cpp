#include "data/picture_dataset.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "core/errors.h"
#include "data/data_test_support.h"
#include "data/picture_bytes.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

/// A folder to fill with pictures and texts, and to open.
class DataFolder {
 public:
  DataFolder& picture(const std::string& name) { return text(name, encode_png(noise(4, 3))); }
  DataFolder& text(const std::string& name, const std::string& bytes) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return *this;
  }
  PictureDataset open() {
    request.folder = folder_.path();
    return open_picture_dataset(request);
  }
  template <class E>
  std::string refusal(std::string* hint = nullptr) {
    try {
      open();
    } catch (const E& error) {
      EXPECT_FALSE(error.hint().empty());
      if (hint) *hint = error.hint();
      return error.what();
    }
    ADD_FAILURE() << "no such error";
    return "";
  }
  fs::path path() const { return folder_.path(); }

  DatasetRequest request;

 private:
  TemporaryFolder folder_;
};

Names names(const PictureDataset& dataset) {
  Names all;
  for (const auto& record : dataset.records) all.push_back(record.name);
  return all;
}

/// "name: caption|caption" of each record.
Names described(const PictureDataset& dataset) {
  Names all;
  for (const auto& record : dataset.records) {
    std::string text = record.name + ": ";
    for (size_t i = 0; i < record.captions.size(); ++i) text += (i ? "|" : "") + record.captions[i];
    all.push_back(text);
  }
  return all;
}

/// "name: reason"
Names skipped(const PictureDataset& dataset) {
  Names all;
  for (const auto& file : dataset.skipped) all.push_back(file.name + ": " + file.reason);
  return all;
}

TEST(PictureDataset, FollowsTheRowsOfMetadata) {
  DataFolder data;
  data.picture("a.png").picture("b.png").picture("sub/c.png").picture("unnamed.png").text("a.txt", "not used");
  data.text("metadata.jsonl",
            "{\"file_name\": \"sub/../b.png\", \"text\": [\"bee\", \"insect\"], \"id\": 1}\n"
            "{\"file_name\": \"./sub/c.png\", \"text\": \"cee\"}\n{\"file_name\": \"a.png\", \"text\": \"a\"}\n"
            "{\"file_name\": \"b.png\", \"text\": \"again\"}\n");
  const auto dataset = data.open();
  EXPECT_EQ(described(dataset), (Names{"b.png: bee|insect", "sub/c.png: cee", "a.png: a", "b.png: again"}));
  EXPECT_EQ(skipped(dataset),
            (Names{"a.txt: captions are in metadata.jsonl", "unnamed.png: not named in metadata.jsonl"}));
  EXPECT_EQ(dataset.kind, "metadata.jsonl");
  EXPECT_EQ(dataset.columns, (Names{"file_name", "text", "id"}));
  EXPECT_EQ(read_picture_bytes(dataset.records[0]), encode_png(noise(4, 3)));
}

TEST(PictureDataset, TakesMetadataFilesByTheirPaths) {
  DataFolder data;
  for (const char* name : {"z/1.png", "z/2.png", "a/1.png", "other/3.png"}) data.picture(name);
  data.text("z/metadata.csv", "file_name,text\n2.png,z2\n1.png,z1\n").text("other/3.txt", "three");
  data.text("a/metadata.jsonl", "{\"file_name\": \"1.png\", \"text\": \"a1\"}\n");
  const auto dataset = data.open();
  EXPECT_EQ(described(dataset), (Names{"a/1.png: a1", "z/2.png: z2", "z/1.png: z1", "other/3.png: three"}));
  EXPECT_EQ(dataset.kind, "metadata.csv, metadata.jsonl, caption files");
}

TEST(PictureDataset, SortsPicturesByTheBytesOfTheirPaths) {
  DataFolder data;
  data.request.default_caption = "x";
  const Names sorted{"10.png", "9.png", "B.png", "a b.png", "a-b.png", "a.d/x.png", "a.png", "a/b.png", "\xC3\xA4.png"};
  for (const auto& name : sorted) data.picture(name);
  EXPECT_EQ(names(data.open()), sorted);
  EXPECT_EQ(data.open().kind, "default caption");
}

TEST(PictureDataset, ReadsCaptionFilesAndFolderNames) {
  DataFolder data;
  for (const char* name : {"img/10_red cat/a.png", "img/10_red cat/b.png", "img/0_no/c.png", "img/2_x_y/in/d.png",
                           "img/1234567_date/e.png", "img/7_/f.png"}) {
    data.picture(name);
  }
  data.text("img/10_red cat/b.txt", "  a cat \n\nsecond line").text("img/10_red cat/b.caption", "not this");
  data.text("img/1234567_date/e.caption", "e").text("img/7_/f.txt", "");
  const auto dataset = data.open();
  EXPECT_EQ(described(dataset), (Names{"img/10_red cat/a.png: red cat", "img/10_red cat/b.png: a cat",
                                       "img/1234567_date/e.png: e", "img/2_x_y/in/d.png: x_y", "img/7_/f.png: "}));
  std::vector<int64_t> repeats;
  for (const auto& record : dataset.records) repeats.push_back(record.repeats);
  EXPECT_EQ(repeats, (std::vector<int64_t>{10, 10, 1, 2, 1}));
  EXPECT_EQ(skipped(dataset), Names{"img/0_no/c.png: its folder's name asks for 0 repeats"});
  EXPECT_EQ(dataset.kind, "caption files, folder names");
}

TEST(PictureDataset, PassesOverWhatIsNoPicture) {
  DataFolder data;
  data.picture("a.png").text("a.txt", "a").picture(".hidden.png").picture(".git/x.png").picture("__MACOSX/a.png");
  data.text(".DS_Store", "x")
      .text("notes.md", "x")
      .text("lost.txt", "x")
      .text("empty.jpg", "")
      .text("old.gif", "GIF89a");
  fs::create_symlink(data.path(), data.path() / "loop");
  fs::create_symlink(data.path() / "gone", data.path() / "dangling.png");
  ASSERT_EQ(::mkfifo((data.path() / "pipe.png").c_str(), 0600), 0);
  const TemporaryFolder elsewhere;
  write_image(elsewhere / "e.png", noise(4, 3));
  fs::create_symlink(elsewhere / "e.png", data.path() / "linked.png");
  data.text("linked.txt", "linked");
  const auto dataset = data.open();
  EXPECT_EQ(described(dataset), (Names{"a.png: a", "linked.png: linked"}));
  EXPECT_EQ(skipped(dataset),
            (Names{"dangling.png: a broken link", "empty.jpg: no JPEG, PNG or WebP file, whatever its name says",
                   "loop: a link to a folder, which is not followed", "lost.txt: no picture of this name",
                   "notes.md: no picture", "old.gif: no JPEG, PNG or WebP file, whatever its name says",
                   "pipe.png: not a regular file"}));
}

TEST(PictureDataset, ReadsOnlyTheAskedSplit) {
  DataFolder data;
  data.picture("train/a.png").text("train/a.txt", "a").picture("test/b.png").text("test/b.txt", "b");
  EXPECT_EQ(names(data.open()), Names{"train/a.png"});
  EXPECT_EQ(skipped(data.open()), (Names{"test/b.png: of the split test", "test/b.txt: of the split test"}));
  data.request.split = "test";
  EXPECT_EQ(names(data.open()), Names{"test/b.png"});
  data.request.split = "validation";
  EXPECT_EQ(data.refusal<UsageError>(), "the data set has no split \"validation\", it has: test, train");
  data.request.split = "train";
  data.text("metadata.csv", "file_name,text\ntest/b.png,bee\n");
  EXPECT_EQ(described(data.open()), Names{"test/b.png: bee"}) << "metadata says what belongs to the data set";
}

TEST(PictureDataset, FindsMasks) {
  DataFolder data;
  data.picture("a.jpg").picture("a.mask.png").picture("b.png").picture("c.mask.png");
  data.request.default_caption = "x";
  auto dataset = data.open();
  EXPECT_EQ(names(dataset), (Names{"a.jpg", "b.png"}));
  EXPECT_TRUE(dataset.records[0].mask.empty());
  EXPECT_EQ(skipped(dataset),
            (Names{"a.mask.png: a mask, and masks are not asked for", "c.mask.png: a mask of no picture"}));
  data.request.masks = true;
  dataset = data.open();
  EXPECT_EQ(dataset.records[0].mask, data.path() / "a.mask.png");
  EXPECT_TRUE(dataset.records[1].mask.empty());
  EXPECT_EQ(skipped(dataset), Names{"c.mask.png: a mask of no picture"});
  data.text("metadata.csv", "file_name,text\na.mask.png,x\n");
  EXPECT_NE(data.refusal<FormatError>().find("a.mask.png is a mask"), std::string::npos);
}

TEST(PictureDataset, NamesPicturesWithoutCaption) {
  DataFolder data;
  for (int i = 0; i < 7; ++i) data.picture(std::to_string(i) + ".png");
  data.text("3.txt", "three");
  std::string hint;
  EXPECT_EQ(data.refusal<FileError>(&hint),
            "6 of 7 pictures have no caption: 0.png, 1.png, 2.png, 4.png, 5.png and 1 more");
  EXPECT_NE(hint.find("--default_caption"), std::string::npos);
  data.request.default_caption = "a thing";
  EXPECT_EQ(described(data.open())[2], "2.png: a thing");
  EXPECT_EQ(described(data.open())[3], "3.png: three");
  EXPECT_EQ(data.open().kind, "caption files, default caption");
}

TEST(PictureDataset, NamesFilesThatAreNotThere) {
  DataFolder data;
  data.picture("a.png").text("metadata.csv", "file_name,text\na.png,x\nb.png,x\n");
  EXPECT_EQ(data.refusal<FileError>(), "a file named in metadata.csv is not there: b.png (line 3)");
  std::string rows = "file_name,text\n";
  for (int i = 0; i < 8; ++i) rows += "sub\\" + std::to_string(i) + ".png,x\n";
  data.text("metadata.csv", rows);
  std::string hint;
  EXPECT_EQ(data.refusal<FileError>(&hint),
            "files named in metadata.csv are not there: sub\\0.png (line 2), sub\\1.png (line 3), sub\\2.png (line 4), "
            "sub\\3.png (line 5), sub\\4.png (line 6) and 3 more");
  EXPECT_EQ(hint, "write folders with / instead of \\");
}

TEST(PictureDataset, RefusesPathsOutOfTheFolder) {
  DataFolder data;
  data.picture("in/a.png");
  for (const char* path : {"../a.png", "..", "x/../../../a.png", "/etc/passwd", "file:///etc/passwd", "C:\\\\a.png",
                           "\\\\a", "a.png\\u0000"}) {
    data.text("in/metadata.jsonl",
              std::string("{\"file_name\": \"") + (path[0] == '.' ? "../" : "") + path + "\", \"text\": \"x\"}\n");
    EXPECT_NE(data.refusal<FormatError>().find("in/metadata.jsonl, line 1: \""), std::string::npos) << path;
  }
  data.picture("b.png").text("in/metadata.jsonl", "{\"file_name\": \"../b.png\", \"text\": \"x\"}\n");
  data.text("b.txt", "b");
  EXPECT_EQ(described(data.open()), Names{"b.png: x"}) << "another folder of the data set";
}

TEST(PictureDataset, RefusesFoldersItCannotMakeSenseOf) {
  DataFolder data;
  EXPECT_NE(data.refusal<FileError>().find("it is empty"), std::string::npos);
  data.text("a.txt", "x");
  EXPECT_NE(data.refusal<FileError>().find("only a.txt (no picture of this name)"), std::string::npos);
  data.text("metadata.jsonl", "").text("metadata.csv", "");
  EXPECT_EQ(data.refusal<FormatError>(),
            "there are both metadata.csv and metadata.jsonl, expected one metadata file in a folder");
  DataFolder parquet;
  parquet.picture("a.png").text("metadata.parquet", "PAR1");
  EXPECT_NE(parquet.refusal<FormatError>().find("metadata.parquet"), std::string::npos);
  DatasetRequest nowhere;
  nowhere.folder = "/does/not/exist";
  EXPECT_THROW(open_picture_dataset(nowhere), FileError);
  nowhere.folder = "/etc/passwd";
  EXPECT_THROW(open_picture_dataset(nowhere), FileError);
}

/// What is inside Parquet files is tested elsewhere; here: that they are noticed, and which.
TEST(PictureDataset, RecognisesParquetFiles) {
  DataFolder data;
  data.text("data/train-00000-of-00001.parquet", "no Parquet").text("data/test-00000-of-00001.parquet", "no Parquet");
  data.text("README.md", "x");
  data.request.cache_dir = data.path() / ".cache";
  try {
    data.open();
    ADD_FAILURE() << "damaged Parquet files are not noticed";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("train-00000"), std::string::npos) << error.what();
  }
  data.request.split = "validation";
  EXPECT_THROW(data.open(), UsageError);
  DataFolder pictures;
  pictures.picture("cats/a.png").text("cats/a.txt", "a").text("cats/embedding.parquet", "x");
  EXPECT_EQ(described(pictures.open()), Names{"cats/a.png: a"});
  EXPECT_EQ(skipped(pictures.open()), Names{"cats/embedding.parquet: no picture"});
}

TEST(PictureDataset, TakesChosenFilesOnly) {
  DataFolder data;
  for (const char* name : {"a/1.png", "a/2.png", "b/3.png", "c/4.png"}) data.picture(name);
  data.text("a/metadata.csv", "file_name,text\n2.png,two\n").text("b/3.txt", "three");
  data.request.files = Names{"b/3.txt", "b/3.png"};
  EXPECT_EQ(described(data.open()), Names{"b/3.png: three"});
  // Where there is metadata it names all there is, wherever it lies.
  data.request.files = Names{"a/1.png", "a/2.png", "b/3.png", "b/3.txt", "a/metadata.csv"};
  EXPECT_EQ(described(data.open()), Names{"a/2.png: two"});
  EXPECT_EQ(skipped(data.open()),
            (Names{"a/1.png: not named in a/metadata.csv", "b/3.png: not named in any metadata file",
                   "b/3.txt: no picture of this name"}));
}

TEST(PictureBytes, AreLimited) {
  const TemporaryFolder folder;
  std::ofstream(folder / "a", std::ios::binary) << "0123456789";
  PictureRecord record;
  record.name = "row 1";
  record.file = folder / "a";
  record.offset = 2;
  record.bytes = 5;
  EXPECT_EQ(read_picture_bytes(record), "23456");
  EXPECT_THROW(read_picture_bytes(record, 4), FormatError);
  record.bytes = 9;
  EXPECT_THROW(read_picture_bytes(record), FileError);
}

}  // namespace
}  // namespace lorikeet
