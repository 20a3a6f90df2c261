#include "cli/help.h"

#include <gtest/gtest.h>

#include "core/errors.h"

namespace lorikeet {
namespace {

struct Sample {
  int64_t rank = 4;
};

OptionList fields(Sample& sample) {
  OptionList list;
  list.group("LoRA");
  list.add("rank", &sample.rank, "Rank of it.").at_least(1);
  return list;
}

int64_t last_rank = 0;
void remember(const Sample& sample) { last_rank = sample.rank; }

std::vector<Command> table() {
  return {
      bind({.name = "train dreambooth", .summary = "Learn", .about = "About it.", .example = "  example"}, remember),
      bind({.name = "draw", .summary = "Draw", .about = "Draws."}, remember)};
}

std::string refusal(const TextList& words) {
  try {
    help(words, table());
  } catch (const UsageError& error) {
    return std::string(error.what()) + " (" + error.hint() + ")";
  }
  return "";
}

TEST(Help, ListsCommandsAndDescribesOne) {
  EXPECT_NE(help({}, table()).find("\n  train dreambooth  Learn\n  draw              Draw\n"), std::string::npos);
  EXPECT_EQ(help({"train", "dreambooth"}, table()),
            "Usage: lorikeet train dreambooth [OPTIONS]\n\nAbout it.\n\nExample:\n  example\n"
            "\nLoRA:\n  --rank=N  (default 4; at least 1)\n        Rank of it.\n");
  EXPECT_EQ(help({"--contract"}, table()),
            "train dreambooth --rank int 4 [at least 1]\ndraw --rank int 4 [at least 1]\n");
  EXPECT_NE(help({"--markdown"}, table()).find("| [`lorikeet train dreambooth`](train-dreambooth.md) | Learn |\n"),
            std::string::npos);
  EXPECT_NE(help({"--markdown", "draw"}, table()).find("# lorikeet draw\n"), std::string::npos);
}

TEST(Help, RefusesWhatIsNoCommand) {
  EXPECT_EQ(refusal({"drow"}), "unknown command 'drow' (did you mean `lorikeet draw`?)");
  EXPECT_EQ(refusal({"xyzzy"}), "unknown command 'xyzzy' (`lorikeet help` lists the commands)");
  EXPECT_EQ(refusal({"train"}),
            "lorikeet train: one of dreambooth expected, found none (`lorikeet help train dreambooth` describes it)");
  EXPECT_EQ(refusal({"train", "dreamboth"}),
            "lorikeet train: one of dreambooth expected, found 'dreamboth' "
            "(`lorikeet help train dreambooth` describes it)");
}

TEST(Command, RunsWithItsOptionsOrAsksForHelp) {
  const auto commands = table();
  const auto [command, length] = find_command({"train", "dreambooth", "--rank=7"}, commands);
  ASSERT_EQ(command, &commands[0]);
  EXPECT_EQ(length, 2u);
  EXPECT_TRUE(command->run({"--rank=7"}));
  EXPECT_EQ(last_rank, 7);
  EXPECT_FALSE(command->run({"--help"}));
}

}  // namespace
}  // namespace lorikeet
