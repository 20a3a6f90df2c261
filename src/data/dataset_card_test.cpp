#include "data/dataset_card.h"

#include <gtest/gtest.h>

#include "core/errors.h"

namespace lorikeet {
namespace {

std::string card(const std::string& yaml) { return "---\n" + yaml + "---\n# A data set\n"; }

/// "a[dir] train=x,y test=z; b"
std::string read(const std::string& readme, const std::string& yaml = "") {
  std::string text;
  for (const auto& config : dataset_configs(readme, yaml)) {
    text += (text.empty() ? "" : "; ") + config.name + (config.is_default ? "*" : "");
    if (!config.data_dir.empty()) text += "[" + config.data_dir + "]";
    if (!config.data_files) continue;
    for (const auto& split : *config.data_files) {
      text += " " + split.split + "=";
      for (const auto& pattern : split.patterns) text += (text.back() == '=' ? "" : ",") + pattern;
    }
  }
  return text;
}

TEST(DatasetCard, ReadsConfigurations) {
  EXPECT_EQ(read(card("configs:\n- config_name: a\n  data_files: x/*.parquet\n- config_name: b\n  data_dir: d\n"
                      "  default: true\n")),
            "a train=x/*.parquet; b*[d]");
  EXPECT_EQ(read(card("configs:\n- config_name: a\n  data_files: [x, y]\n")), "a train=x,y");
  EXPECT_EQ(
      read(card("configs:\n- config_name: a\n  data_files:\n  - split: train\n    path: [x, 'y*']\n  - split: test\n"
                "    path: z\n")),
      "a train=x,y* test=z");
  EXPECT_EQ(read(card("configs:\n- &a {config_name: a, data_dir: x}\n- {<<: *a, config_name: b}\n")), "a[x]; b[x]");
}

TEST(DatasetCard, OfWhatStandsThereTwiceTheLastCounts) {
  EXPECT_EQ(read(card("configs: [{config_name: a}]\nlicense: mit\nconfigs: [{config_name: b}]\n")), "b");
  EXPECT_EQ(read(card("configs: [{config_name: a, data_dir: x}, {config_name: b}, {config_name: a, data_dir: y}]\n")),
            "a[y]; b");
}

TEST(DatasetCard, ACardMayHaveNone) {
  EXPECT_EQ(read(""), "");
  EXPECT_EQ(read("# No metadata\n"), "");
  EXPECT_EQ(read(card("license: mit\n")), "");
  EXPECT_EQ(read(card("configs: []\n")), "");
}

TEST(DatasetCard, AFileOfItsOwnStandsInForTheCard) {
  const std::string readme = card("configs:\n- config_name: a\n");
  EXPECT_EQ(read(readme, "configs:\n- config_name: b\n"), "b");
  EXPECT_EQ(read(readme, "license: mit\n"), "a");
}

TEST(DatasetCard, RefusesWhatIsNoCard) {
  for (const char* bad :
       {"configs: {a: b}\n", "configs: [a]\n", "configs: [{name: a}]\n", "configs: [{config_name: [a]}]\n",
        "configs: [{config_name: a, data_files: {x: y}}]\n", "configs: [{config_name: a, data_files: [{split: s}]}]\n",
        "configs: [{config_name: a, data_files: [[x]]}]\n",
        "configs: [{config_name: a, data_files: [{split: s, path: x}, {split: s, path: y}]}]\n", "a: [\n",
        "a: &x [*x, *y]\n", "\t- a: b: c\n"}) {
    EXPECT_THROW(dataset_configs(card(bad), ""), FormatError) << bad;
  }
}

TEST(DatasetCard, SurvivesHostileCards) {
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 60; ++i) {
    const auto n = std::to_string(i), o = std::to_string(i - 1);
    bomb += "a" + n + ": &a" + n + " [*a" + o + ", *a" + o + "]\n";
  }
  EXPECT_EQ(read(card(bomb)), "");
  EXPECT_THROW(dataset_configs(card("configs: " + std::string(100000, '[') + "\n"), ""), FormatError);
  EXPECT_THROW(dataset_configs(card("configs: " + std::string(100000, '{') + "\n"), ""), FormatError);
  EXPECT_THROW(dataset_configs(card("a: " + std::string(5 << 20, 'x') + "\n"), ""), FormatError);
  EXPECT_THROW(dataset_configs(card("configs: &a [{config_name: *a}]\n"), ""), FormatError);
}

/// Each of `count` entries is made of its number.
template <typename Entry>
std::string entries(int count, const Entry& entry) {
  std::string text;
  for (int i = 0; i < count; ++i) text += entry(std::to_string(i));
  return text;
}

TEST(DatasetCard, RefusesMoreThanAnyDataSetHas) {
  const auto config = [](const std::string& n) { return "- {config_name: c" + n + "}\n"; };
  EXPECT_THROW(dataset_configs(card("configs:\n" + entries(10'001, config)), ""), FormatError);
  const auto split = [](const std::string& n) { return "- {split: s" + n + ", path: x}\n"; };
  EXPECT_THROW(
      dataset_configs(card("x: &x\n" + entries(10'001, split) + "configs: [{config_name: a, data_files: *x}]\n"), ""),
      FormatError);
  const auto same = [](const std::string& n) { return "- {config_name: c" + n + ", data_files: *x}\n"; };
  const auto word = [](const std::string&) { return "p,"; };
  EXPECT_THROW(dataset_configs(card("x: &x [" + entries(1000, word) + "]\nconfigs:\n" + entries(300, same)), ""),
               FormatError);
}

std::string chosen(const std::string& yaml, const std::optional<std::string>& name = std::nullopt) {
  const auto configs = dataset_configs(card(yaml), "");
  const auto* config = choose_config(configs, name);
  return config ? config->name : "(none)";
}

TEST(DatasetCard, ChoosesAConfiguration) {
  EXPECT_EQ(chosen(""), "(none)");
  EXPECT_EQ(chosen("", "default"), "(none)");
  EXPECT_EQ(chosen("configs: [{config_name: a}]\n"), "a");
  EXPECT_EQ(chosen("configs: [{config_name: a}, {config_name: b, default: true}]\n"), "b");
  EXPECT_EQ(chosen("configs: [{config_name: a}, {config_name: default}]\n"), "default");
  EXPECT_EQ(chosen("configs: [{config_name: a}, {config_name: b, default: true}]\n", "a"), "a");
}

TEST(DatasetCard, NamesTheConfigurationsThereAre) {
  EXPECT_THROW(chosen("", "a"), UsageError);
  const std::string two = "configs: [{config_name: a}, {config_name: b}]\n";
  try {
    chosen(two, "c");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "--dataset_config_name=c: the data set has the configurations a, b");
  }
  try {
    chosen(two);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "the data set has several configurations and no default one: a, b");
    EXPECT_EQ(error.hint(), "choose one: --dataset_config_name=a");
  }
  EXPECT_THROW(chosen("configs: [{config_name: a, default: true}, {config_name: b, default: true}]\n"), UsageError);
}

}  // namespace
}  // namespace lorikeet
