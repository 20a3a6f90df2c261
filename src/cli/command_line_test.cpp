#include "cli/command_line.h"

#include <gtest/gtest.h>

namespace lorikeet {
namespace {

struct Sample {
  std::string prompt;
  std::optional<int64_t> steps;
  double rate = 0.5;
  bool flag = false;
  TextList names;
  std::optional<std::string> token, config;
};

OptionList fields(Sample& o) {
  OptionList list;
  list.add("prompt", &o.prompt, "");
  list.add("steps", &o.steps, "");
  list.add("rate", &o.rate, "");
  list.add("flag", &o.flag, "");
  list.add("names", &o.names, "");
  list.add("token", &o.token, "").secret();
  list.add("config", &o.config, "").command_line_only();
  return list;
}

TEST(CommandLine, QuotesForAShell) {
  EXPECT_EQ(shell_word("models/base-1.5_x:y"), "models/base-1.5_x:y");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("two words"), "'two words'");
  EXPECT_EQ(shell_word("it's $x `y`"), "'it'\\''s $x `y`'");
  EXPECT_EQ(shell_word("image_*.png"), "'image_*.png'");
}

TEST(CommandLine, GivesWhatDiffersFromTheDefaultsAndNoSecrets) {
  EXPECT_EQ(command_line("try", Sample{}), "lorikeet try");
  Sample sample;
  sample.prompt = "a dog's";
  sample.steps = 3;
  sample.flag = true;
  sample.names = {"a", "b c"};
  sample.token = "hf_secret";
  sample.config = "x.toml";
  EXPECT_EQ(command_line("try", sample),
            "lorikeet try \\\n  --prompt='a dog'\\''s' \\\n  --steps=3 \\\n  --flag \\\n  --names a 'b c'");
}

}  // namespace
}  // namespace lorikeet
