#include "data/preflight.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/errors.h"
#include "data/data_test_support.h"
#include "data/duplicates.h"

namespace lorikeet {
namespace {

using Names = std::vector<std::string>;

PictureRecord record_of(const TemporaryFolder& folder, const std::string& name, Names captions) {
  PictureRecord record;
  record.name = name;
  record.file = folder / name;
  record.captions = std::move(captions);
  return record;
}

void write(const TemporaryFolder& folder, const std::string& name, const std::string& bytes) {
  std::ofstream(folder / name, std::ios::binary) << bytes;
}

PreflightOptions options_for(int64_t resolution) {
  PreflightOptions options;
  options.resolution = resolution;
  return options;
}

TEST(Preflight, MeasuresAndNamesWhatStandsOut) {
  const TemporaryFolder folder;
  write(folder, "good.png", encode_png(noise(64, 80)));
  write(folder, "small.png", encode_png(noise(70, 20)));
  write(folder, "half.png", encode_png(noise(90, 90)).substr(0, 200));
  write(folder, "text.png", "no picture");
  std::vector<PictureRecord> records{record_of(folder, "good.png", {"a"}), record_of(folder, "small.png", {"b"}),
                                     record_of(folder, "half.png", {"c"}), record_of(folder, "text.png", {"d"}),
                                     record_of(folder, "gone.png", {"e"})};
  records[0].repeats = 10;
  const PreflightReport report = check_pictures(records, options_for(64));
  EXPECT_EQ(report.pictures, 5);
  EXPECT_EQ(report.per_epoch, 14);
  EXPECT_EQ(report.measured, 3);
  EXPECT_EQ(report.smallest_width, 70);
  EXPECT_EQ(report.largest_width, 90);
  EXPECT_EQ(report.too_small.names, Names{"small.png (70 x 20)"});
  EXPECT_EQ(report.extreme_shapes.names, Names{"small.png (70 x 20)"});
  EXPECT_EQ(report.unreadable.count, 2);
  EXPECT_NE(report.unreadable.names[0].find("text.png is not a picture"), std::string::npos);
  EXPECT_NE(report.unreadable.names[1].find("gone.png"), std::string::npos);
  EXPECT_EQ(records[0].width, 64);
  EXPECT_EQ(records[0].height, 80);
  EXPECT_EQ(records[3].width, 0);
  EXPECT_FALSE(report.decoded);
  EXPECT_FALSE(report.stopped);
}

TEST(Preflight, FindsDamageBehindTheHeaderWhenAsked) {
  const TemporaryFolder folder;
  std::vector<PictureRecord> records;
  for (int i = 0; i < 30; ++i) {
    const std::string name = std::to_string(i) + ".png", bytes = encode_png(noise(64 + i, 80));
    write(folder, name, i % 10 == 7 ? bytes.substr(0, 200) : bytes);
    records.push_back(record_of(folder, name, {"a"}));
  }
  PreflightOptions options = options_for(64);
  EXPECT_EQ(check_pictures(records, options).unreadable.count, 0);
  options.full_decode = true;
  for (const int64_t threads : {1, 4}) {
    options.threads = threads;
    int64_t last = 0;
    const auto report = check_pictures(records, options, [&](int64_t done, int64_t total) {
      EXPECT_EQ(done, ++last);
      EXPECT_EQ(total, 30);
    });
    EXPECT_EQ(last, 30);
    ASSERT_EQ(report.unreadable.count, 3);
    for (const int i : {0, 1, 2}) {
      EXPECT_EQ(report.unreadable.names[i].find(std::to_string(10 * i + 7) + ".png"), 0u) << report.unreadable.names[i];
    }
    EXPECT_EQ(report.measured, 27);
    EXPECT_EQ(records[7].width, 0);
  }
}

TEST(Preflight, FindsPicturesThatAreTheSame) {
  const TemporaryFolder folder;
  const std::string bytes = encode_png(noise(8, 8));
  std::string other = bytes;
  other[other.size() - 20] = static_cast<char>(other[other.size() - 20] + 1);
  write(folder, "a.png", bytes);
  write(folder, "b.png", other);
  write(folder, "c.png", bytes);
  write(folder, "d.png", "xx" + bytes + "yy");
  std::vector<PictureRecord> records;
  for (const char* name : {"a.png", "b.png", "c.png", "d.png", "a.png", "gone.png"}) {
    records.push_back(record_of(folder, name, {"x"}));
  }
  records[3].offset = 2;
  records[3].bytes = static_cast<int64_t>(bytes.size());
  EXPECT_EQ(find_duplicates(records), (std::vector<std::pair<size_t, size_t>>{{2, 0}, {3, 0}}))
      << "two rows that name one file are no duplicates";
  EXPECT_TRUE(find_duplicates(records, [] { return true; }).empty());
  const auto report = check_pictures(records, options_for(8));
  EXPECT_EQ(report.duplicates.names, (Names{"c.png = a.png", "d.png = a.png"}));
}

TEST(Preflight, CountsCaptions) {
  const TemporaryFolder folder;
  std::vector<PictureRecord> records{record_of(folder, "a", {"one", "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9"}),
                                     record_of(folder, "b", {"one"}), record_of(folder, "c", {" "}),
                                     record_of(folder, "d", {std::string(90, 'x')}),
                                     record_of(folder, "e", {std::string(90, 'x')})};
  PreflightOptions options = options_for(8);
  options.count_tokens = [](const std::string& caption) { return static_cast<int64_t>(caption.size()); };
  options.most_tokens = 89;
  const auto captions = check_pictures(records, options).captions;
  EXPECT_EQ(captions.count, 6);
  EXPECT_EQ(captions.distinct, 4);
  EXPECT_EQ(captions.empty, 1);
  EXPECT_EQ(captions.shortest, 1);
  EXPECT_EQ(captions.longest, 90);
  EXPECT_EQ(captions.cut_off.names, Names{"d: 90 tokens"});
}

TEST(Preflight, LooksAtMasks) {
  const TemporaryFolder folder;
  write(folder, "a.png", encode_png(noise(8, 9)));
  write(folder, "right.mask.png", encode_png(noise(8, 9)));
  write(folder, "wrong.mask.png", encode_png(noise(9, 8)));
  std::vector<PictureRecord> records(4, record_of(folder, "a.png", {"x"}));
  records[1].mask = folder / "right.mask.png";
  records[2].mask = folder / "wrong.mask.png";
  records[3].mask = folder / "gone.mask.png";
  const auto report = check_pictures(records, options_for(8));
  EXPECT_EQ(report.masks, 3);
  ASSERT_EQ(report.bad_masks.count, 2);
  EXPECT_EQ(report.bad_masks.names[0], "wrong.mask.png is 9 x 8, a.png is 8 x 9");
}

TEST(Preflight, KeepsTwentyNamesAndTheCount) {
  NameList list;
  for (int i = 0; i < 50; ++i) list.add(std::to_string(i));
  EXPECT_EQ(list.count, 50);
  EXPECT_EQ(list.names.size(), 20u);
}

TEST(Preflight, StopsWhenAsked) {
  const TemporaryFolder folder;
  write(folder, "a.png", encode_png(noise(8, 8)));
  std::vector<PictureRecord> records(1000, record_of(folder, "a.png", {"x"}));
  PreflightOptions options = options_for(8);
  int64_t seen = 0;
  options.stop = [&] { return seen >= 10; };
  const auto report = check_pictures(records, options, [&](int64_t done, int64_t) { seen = done; });
  EXPECT_TRUE(report.stopped);
  EXPECT_EQ(report.measured, 10);
}

TEST(Preflight, PassesOnWhatACallbackThrows) {
  const TemporaryFolder folder;
  write(folder, "a.png", encode_png(noise(8, 8)));
  std::vector<PictureRecord> records(50, record_of(folder, "a.png", {"x"}));
  PreflightOptions options = options_for(8);
  options.threads = 4;
  EXPECT_THROW(check_pictures(records, options, [](int64_t, int64_t) { throw Interrupted("enough"); }), Interrupted);
}

TEST(Preflight, OfNothingIsEmpty) {
  std::vector<PictureRecord> none;
  EXPECT_EQ(check_pictures(none, {}).pictures, 0);
}

}  // namespace
}  // namespace lorikeet
