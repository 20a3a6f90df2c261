#include "cli/arguments.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/errors.h"

namespace lorikeet {
namespace {

struct Sample {
  std::string prompt;
  int64_t rank = 4;
  double rate = 1.0;
  bool crop = false;
  bool center = false;
  TextList targets = {"to_q"};
  std::optional<std::string> config;
};

OptionList fields(Sample& sample) {
  OptionList list;
  list.add("prompt", &sample.prompt, "");
  list.add("rank", &sample.rank, "");
  list.add("rate", &sample.rate, "");
  list.add("crop", &sample.crop, "");
  list.add("center_crop", &sample.center, "");
  list.add("targets", &sample.targets, "");
  list.add("config", &sample.config, "").command_line_only();
  return list;
}

Sample parsed(const TextList& arguments) {
  Sample sample;
  EXPECT_TRUE(parse_arguments(arguments, fields(sample)));
  return sample;
}

std::string refusal(const TextList& arguments) {
  Sample sample;
  try {
    parse_arguments(arguments, fields(sample));
  } catch (const UsageError& error) {
    return std::string(error.what()) + " (" + error.hint() + ")";
  }
  return "";
}

TEST(Arguments, BothSpellingsOfAValue) {
  EXPECT_EQ(parsed({"--rank=8", "--prompt", "a photo of sks dog"}).rank, 8);
  EXPECT_EQ(parsed({"--rank", "8", "--prompt=x"}).prompt, "x");
  EXPECT_EQ(parsed({"--prompt=a=b"}).prompt, "a=b");
  EXPECT_EQ(parsed({"--prompt="}).prompt, "");
  EXPECT_EQ(parsed({"--prompt=--rank=2"}).prompt, "--rank=2");
  EXPECT_EQ(parsed({"--rate", "-1.5"}).rate, -1.5) << "a negative number is no option";
  EXPECT_EQ(parsed({"--prompt", ""}).prompt, "");
  EXPECT_EQ(parsed({"--rank=8", "--rank=16"}).rank, 16) << "the last one counts";
}

TEST(Arguments, FlagsAndLists) {
  const Sample sample = parsed({"--crop", "--targets", "to_k", "to_v", "--rank", "2", "--targets=ff.net.2"});
  EXPECT_TRUE(sample.crop);
  EXPECT_EQ(sample.targets, (TextList{"to_k", "to_v", "ff.net.2"}));
  EXPECT_FALSE(parsed({"--crop", "--crop=false"}).crop);
  EXPECT_EQ(parsed({}).targets, (TextList{"to_q"}));
}

TEST(Arguments, UnambiguousBeginningsAreEnough) {
  EXPECT_TRUE(parsed({"--cen"}).center);
  EXPECT_EQ(parsed({"--ran=3"}).rank, 3);
  EXPECT_EQ(refusal({"--ra=3"}), "--ra may mean several options: --rank --rate (write the name out)");
}

TEST(Arguments, HelpIsAskedForOnlyWhereAnOptionCouldStand) {
  Sample sample;
  EXPECT_FALSE(parse_arguments({"--rank=8", "--help"}, fields(sample)));
  EXPECT_FALSE(parse_arguments({"-h"}, fields(sample)));
  EXPECT_EQ(sample.rank, 4) << "nothing is set";
  EXPECT_EQ(parsed({"--prompt", "-h"}).prompt, "-h");
}

TEST(Arguments, WrongOnesAreRefused) {
  EXPECT_EQ(refusal({"--ranc=3"}), "unknown option --ranc (did you mean --rank?)");
  EXPECT_EQ(refusal({"photos"}),
            "an option expected, found 'photos' (options begin with --; put quotes around a value with spaces in it)");
  EXPECT_EQ(refusal({"-r", "3"}).substr(0, 33), "an option expected, found '-r' (o");
  EXPECT_EQ(refusal({"--"}).substr(0, 30), "an option expected, found '--'");
  EXPECT_EQ(refusal({"--rank"}), "--rank: a value expected, found none (write --rank=VALUE)");
  EXPECT_EQ(refusal({"--prompt", "--rank=3"}), "--prompt: a value expected, found --rank=3 (write --prompt=VALUE)");
  EXPECT_EQ(refusal({"--crop", "yes"}).substr(0, 31), "an option expected, found 'yes'");
  EXPECT_EQ(refusal({"--rank=four"}).substr(0, 29), "--rank: a whole number expect");
}

TEST(Arguments, CommandLineGoesBeforeTheConfigFileBeforeDefaults) {
  const auto path = std::filesystem::path(testing::TempDir()) / "arguments_test.toml";
  std::ofstream(path) << "rank = 16\nrate = 0.5\ntargets = ['a']\n";
  const Sample sample = parsed({"--rank=32", "--config", path.string()});
  EXPECT_EQ(sample.rank, 32);
  EXPECT_EQ(sample.rate, 0.5);
  EXPECT_EQ(sample.targets, (TextList{"a"}));
  EXPECT_FALSE(sample.crop);
  EXPECT_THROW(parsed({"--config=absent.toml"}), FileError);
}

struct Placed {
  std::string in, out, output;
  TextList more;
  bool fast = false;
};

OptionList fields(Placed& placed) {
  OptionList list;
  list.add("in", &placed.in, "").required().positional();
  list.add("out", &placed.out, "").positional();
  list.add("more", &placed.more, "").positional();
  list.add("output", &placed.output, "").short_name('o');
  list.add("fast", &placed.fast, "").short_name('f');
  return list;
}

TEST(Arguments, WordsWithoutANameGoToTheirPlaces) {
  Placed placed;
  parse_arguments({"a", "--fast", "b", "-o", "f", "c", "d"}, fields(placed));
  EXPECT_EQ(placed.in, "a");
  EXPECT_EQ(placed.out, "b");
  EXPECT_EQ(placed.output, "f");
  EXPECT_EQ(placed.more, (TextList{"c", "d"}));
  EXPECT_TRUE(placed.fast);
  Placed brief;
  parse_arguments({"-f", "a"}, fields(brief));
  EXPECT_TRUE(brief.fast);
  EXPECT_EQ(brief.in, "a");
  Placed empty;
  try {
    fields(empty).check();
    ADD_FAILURE() << "a place is required";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "IN is required");
  }
  EXPECT_THROW(parse_arguments({"a", "-x"}, fields(empty)), UsageError) << "no such letter";
  EXPECT_THROW(parse_arguments({"-o"}, fields(empty)), UsageError) << "no value";
  EXPECT_EQ(fields(empty).positional_usage(), " IN OUT MORE...");
}

}  // namespace
}  // namespace lorikeet
