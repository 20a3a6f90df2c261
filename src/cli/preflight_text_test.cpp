#include "cli/preflight_text.h"

#include <gtest/gtest.h>

namespace lorikeet {
namespace {

TEST(PreflightText, OfAGoodDataSetIsThreeLines) {
  PictureDataset dataset;
  dataset.kind = "metadata.jsonl";
  PreflightReport report;
  report.pictures = report.per_epoch = report.measured = 1234;
  report.smallest_width = 512;
  report.smallest_height = 600;
  report.largest_width = 4000;
  report.largest_height = 3000;
  report.captions.count = 2468;
  report.captions.distinct = 1200;
  report.captions.shortest = 5;
  report.captions.longest = 210;
  report.counted_tokens = true;
  EXPECT_EQ(preflight_text(dataset, report),
            "Data set: metadata.jsonl\n"
            "Pictures: 1,234; from 512 x 600 to 4000 x 3000 pixels; headers read\n"
            "Captions: 2,468, 1,200 of them distinct; 5 to 210 characters; none longer than 77 tokens\n");
}

TEST(PreflightText, NamesWhatMaySpoilATraining) {
  PictureDataset dataset;
  dataset.kind = "caption files, folder names";
  dataset.skipped = {{"old.gif", "no picture"}};
  PreflightReport report;
  report.pictures = 50;
  report.per_epoch = 500;
  report.masks = 2;
  report.decoded = true;
  report.stopped = true;
  report.captions.count = 50;
  report.captions.empty = 3;
  report.counted_tokens = true;
  report.captions.cut_off.add("a.png: 91 tokens");
  report.unreadable.add("bad\n.png is empty");
  report.duplicates.add("b.png = a.png");
  report.extreme_shapes.add("c.png (4000 x 100)");
  report.bad_masks.add("a.mask.png is 9 x 8, a.png is 8 x 9");
  for (int i = 0; i < 1022; ++i) report.too_small.add(std::to_string(i) + ".png (30 x 20)");
  const std::string text = preflight_text(dataset, report);
  for (const char* part :
       {"Pictures: 50, 500 an epoch with their repeats; 2 with a mask; all decoded\n", "characters; 3 empty\n",
        "1 picture cannot be read:\n  bad?.png is empty\n",
        "1,022 pictures with a side shorter than the resolution, 512, to be enlarged:\n  0.png (30 x 20)\n",
        "  19.png (30 x 20)\n  and 1,002 more\n",
        "1 picture so long or wide that most of it is cut off:\n  c.png (4000",
        "1 picture with the same bytes as an earlier one:\n  b.png = a.png\n", "1 mask of no use:\n  a.mask.png is 9",
        "1 caption cut off behind 77 tokens:\n  a.png: 91 tokens\n",
        "1 file not part of the data set:\n  old.gif: no picture\n", "stopped early"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\nis not in\n" << text;
  }
}

}  // namespace
}  // namespace lorikeet
