#include "core/options.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>

#include "core/errors.h"

namespace lorikeet {
namespace {

struct Sample {
  std::string folder;
  int64_t size = 512;
  double rate = 1e-4;
  bool crop = false;
  std::string mode = "lanczos";
  TextList targets = {"to_q", "to_k"};
  std::optional<int64_t> steps;
  std::optional<double> alpha;
  std::optional<std::string> precision;
  std::optional<TextList> pictures;
  std::optional<std::string> token;
  std::optional<std::string> config;
};

OptionList fields(Sample& sample) {
  OptionList list;
  list.group("Input");
  list.add("folder", &sample.folder, "Where the pictures are.").required();
  list.add("size", &sample.size, "Side of a picture, in pixels.").at_least(8).multiple_of(8);
  list.add("crop", &sample.crop, "Crop.");
  list.add("mode", &sample.mode, "How to resize.").choices({"lanczos", "bicubic"});
  list.group("Numbers");
  list.add("rate", &sample.rate, "Rate.").above(0).below(1);
  list.add("targets", &sample.targets, "Layers.");
  list.add("steps", &sample.steps, "Steps.").at_least(1);
  list.add("alpha", &sample.alpha, "Alpha.");
  list.add("precision", &sample.precision, "Precision | of <numbers>.").choices({"no", "bf16"});
  list.add("pictures", &sample.pictures, "Pictures.");
  list.add("token", &sample.token, "Token.").secret();
  list.add("config", &sample.config, "Config file.").command_line_only();
  return list;
}

/// The error that `work` throws, as "message (hint)".
std::string usage_error(const std::function<void()>& work) {
  try {
    work();
  } catch (const UsageError& error) {
    return std::string(error.what()) + " (" + error.hint() + ")";
  }
  return "no UsageError";
}

struct OptionsTest : testing::Test {
  Sample sample;
  OptionList list = fields(sample);

  std::string assign_error(const char* name, const TextList& values) {
    return usage_error([&] { list.at(name).assign(values); });
  }
};

TEST_F(OptionsTest, AssignsEveryType) {
  list.at("folder").assign({"photos"});
  list.at("size").assign({"+64"});
  list.at("rate").assign({"5e-4"});
  list.at("crop").assign({});
  list.at("targets").assign({"a", "b", "c"});
  list.at("steps").assign({"7"});
  list.at("alpha").assign({"-2"});
  list.at("precision").assign({"bf16"});
  list.at("pictures").assign({"x.png"});
  EXPECT_EQ(sample.folder, "photos");
  EXPECT_EQ(sample.size, 64);
  EXPECT_EQ(sample.rate, 5e-4);
  EXPECT_TRUE(sample.crop);
  EXPECT_EQ(sample.targets, (TextList{"a", "b", "c"}));
  EXPECT_EQ(sample.steps, 7);
  EXPECT_EQ(sample.alpha, -2.0);
  EXPECT_EQ(sample.precision, "bf16");
  EXPECT_EQ(sample.pictures, (TextList{"x.png"}));
  list.check();
  list.at("crop").assign({"false"});
  EXPECT_FALSE(sample.crop);
}

TEST_F(OptionsTest, RefusesTextOfAnotherType) {
  EXPECT_EQ(assign_error("size", {"big"}), "--size: a whole number expected, found 'big' (`--help` describes --size)");
  for (const char* bad : {"", "1.5", "12px", "0x10", "+-3", "+", " 4"}) {
    EXPECT_NE(assign_error("size", {bad}).find("--size: a whole number expected"), std::string::npos) << bad;
  }
  EXPECT_NE(assign_error("size", {"99999999999999999999"}).find("representable"), std::string::npos);
  EXPECT_NE(assign_error("rate", {"fast"}).find("--rate: a number expected, found 'fast'"), std::string::npos);
  EXPECT_NE(assign_error("rate", {"nan"}).find("a finite number expected"), std::string::npos);
  EXPECT_NE(assign_error("rate", {"inf"}).find("a finite number expected"), std::string::npos);
  EXPECT_NE(assign_error("crop", {"maybe"}).find("true or false expected, found 'maybe'"), std::string::npos);
  EXPECT_NE(assign_error("steps", {"x"}).find("--steps: a whole number expected"), std::string::npos);
  EXPECT_NE(assign_error("targets", {}).find("one or more values expected"), std::string::npos);
  EXPECT_NE(assign_error("folder", {"a", "b"}).find("one value expected, found 'a b'"), std::string::npos);
}

TEST_F(OptionsTest, ChecksNameTheOptionTheValueAndTheConstraint) {
  EXPECT_EQ(usage_error([&] { list.check(); }),
            "--folder is required (give --folder=..., or put it into a --config file)");
  sample.folder = "photos";
  list.check();
  const auto refused = [&](auto& member, auto value) {
    const auto before = member;
    member = value;
    const std::string error = usage_error([&] { list.check(); });
    member = before;
    return error;
  };
  EXPECT_EQ(refused(sample.size, 60),
            "--size: a multiple of 8, at least 8 expected, found '60' (`--help` describes --size)");
  EXPECT_NE(refused(sample.size, 0).find("found '0'"), std::string::npos);
  EXPECT_EQ(refused(sample.rate, 0.0), "--rate: above 0, below 1 expected, found '0.0' (`--help` describes --rate)");
  EXPECT_NE(refused(sample.rate, 1.0).find("found '1.0'"), std::string::npos);
  EXPECT_NE(refused(sample.rate, std::numeric_limits<double>::quiet_NaN()).find("a finite number expected"),
            std::string::npos);
  EXPECT_NE(refused(sample.steps, 0).find("--steps: at least 1 expected, found '0'"), std::string::npos);
  EXPECT_EQ(refused(sample.mode, "lanczoss"),
            "--mode: one of lanczos, bicubic expected, found 'lanczoss' (did you mean --mode=lanczos?)");
  EXPECT_NE(refused(sample.precision, "fp8").find("one of no, bf16 expected, found 'fp8'"), std::string::npos);
}

TEST_F(OptionsTest, UnknownNamesGetTheNearestOne) {
  EXPECT_EQ(usage_error([&] { list.at("folde"); }), "unknown option --folde (did you mean --folder?)");
  EXPECT_EQ(usage_error([&] { list.at("zzzzzz"); }), "unknown option --zzzzzz (`--help` lists all options)");
  EXPECT_EQ(nearest_name("trian", {"train", "generate"}), "train");
  EXPECT_EQ(nearest_name("x", {"train", "generate"}), "");
}

TEST_F(OptionsTest, JsonIsReadBackAsItWasWritten) {
  sample.folder = "a \"quoted\" folder";
  sample.rate = 0.1;
  sample.steps = 3;
  sample.token = "hf_secret";
  sample.pictures = TextList{"1.png", "2.png"};
  const std::string json = list.to_json();
  EXPECT_EQ(json.find("hf_secret"), std::string::npos);
  EXPECT_EQ(json.find("config"), std::string::npos);

  Sample copy;
  copy.alpha = 5;
  fields(copy).read_json(json, "run.json");
  EXPECT_EQ(copy.folder, sample.folder);
  EXPECT_EQ(copy.rate, 0.1);
  EXPECT_EQ(copy.steps, 3);
  EXPECT_EQ(copy.pictures, sample.pictures);
  EXPECT_EQ(copy.targets, sample.targets);
  EXPECT_FALSE(copy.alpha.has_value()) << "null unsets";
  EXPECT_FALSE(copy.token.has_value());
}

TEST_F(OptionsTest, TomlSetsTheSameNames) {
  list.read_toml("folder = 'p'\nsize = 1_024\nrate = 1\ncrop = true\ntargets = ['x', 'y']\nalpha = 2.5\n", "a.toml");
  EXPECT_EQ(sample.folder, "p");
  EXPECT_EQ(sample.size, 1024);
  EXPECT_EQ(sample.rate, 1.0) << "a whole number is a number";
  EXPECT_TRUE(sample.crop);
  EXPECT_EQ(sample.targets, (TextList{"x", "y"}));
  EXPECT_EQ(sample.alpha, 2.5);
}

TEST_F(OptionsTest, ConfigErrorsNameTheFileAndTheOption) {
  const auto json = [&](const char* text) { return usage_error([&] { list.read_json(text, "c.json"); }); };
  const auto toml = [&](const char* text) { return usage_error([&] { list.read_toml(text, "c.toml"); }); };
  EXPECT_EQ(json(R"({"siz": 8})"), "c.json: unknown option --siz (did you mean --size?)");
  EXPECT_EQ(json(R"({"size": "8"})"), "c.json: size: a whole number expected, found \"8\" ()");
  EXPECT_EQ(json(R"({"size": 8.5})"), "c.json: size: a whole number expected, found 8.5 ()");
  EXPECT_EQ(json(R"({"size": null})"), "c.json: size: a whole number expected, found null ()");
  EXPECT_EQ(json(R"({"crop": 1})"), "c.json: crop: true or false expected, found 1 ()");
  EXPECT_EQ(json(R"({"targets": "to_q"})"), "c.json: targets: a list of texts expected, found \"to_q\" ()");
  EXPECT_EQ(json(R"({"targets": [1]})"), "c.json: targets: a list of texts expected, found [1] ()");
  EXPECT_EQ(json(R"({"folder": 3})"), "c.json: folder: a text expected, found 3 ()");
  EXPECT_NE(json(R"({"targets": []})").find("c.json: --targets: one or more values"), std::string::npos);
  EXPECT_NE(json(R"({"size": 18446744073709551615})").find("representable"), std::string::npos);
  EXPECT_NE(json(R"({"config": "x"})").find("--config belongs on the command line"), std::string::npos);
  EXPECT_NE(json("[1]").find("a JSON object expected, found array"), std::string::npos);
  EXPECT_NE(json("{").find("c.json: not JSON"), std::string::npos);
  EXPECT_NE(toml("size = ").find("c.toml, line 1: not TOML"), std::string::npos);
  EXPECT_NE(toml("\n[model]\nsize = 8\n").find("c.toml, line 2: a plain value expected, found a table"),
            std::string::npos);
  EXPECT_NE(toml("size = 1979-05-27\n").find("date or time"), std::string::npos);
  EXPECT_NE(toml("size = 'x'\n").find("c.toml: size: a whole number expected"), std::string::npos);
}

TEST_F(OptionsTest, ConfigFilesAreReadByTheirExtension) {
  const auto folder = std::filesystem::path(testing::TempDir());
  std::ofstream(folder / "options_test.toml") << "size = 16\n";
  std::ofstream(folder / "options_test.json") << "{\"rate\": 0.5}";
  list.read_config((folder / "options_test.toml").string());
  list.read_config((folder / "options_test.json").string());
  EXPECT_EQ(sample.size, 16);
  EXPECT_EQ(sample.rate, 0.5);
  EXPECT_THROW(list.read_config((folder / "absent.toml").string()), FileError);
  EXPECT_NE(usage_error([&] { list.read_config("x.yaml"); }).find("named .toml or .json expected, found 'x.yaml'"),
            std::string::npos);
}

TEST_F(OptionsTest, DefaultsAreThoseOfTheStruct) {
  sample.size = 8;
  EXPECT_EQ(list.at("size").default_text(), "512");
  EXPECT_EQ(list.at("size").value_text(), "8");
  EXPECT_EQ(list.contract("cmd").substr(0, 100),
            "cmd --folder str required\ncmd --size int 512 [a multiple of 8, at least 8]\ncmd --crop flag false\ncmd");
  EXPECT_NE(list.contract("cmd").find("cmd --rate float 0.0001 [above 0, below 1]\n"), std::string::npos);
  EXPECT_NE(list.contract("cmd").find("cmd --targets list to_q to_k\n"), std::string::npos);
}

TEST_F(OptionsTest, HelpIsGroupedAndFitsTheScreen) {
  list.add("long", &sample.size, std::string(40, 'a') + " " + std::string(40, 'b') + " " + std::string(40, 'c'));
  const std::string help = list.help_text();
  EXPECT_EQ(help.substr(0, 71), "\nInput:\n  --folder=TEXT  (required)\n        Where the pictures are.\n  -");
  EXPECT_NE(help.find("  --size=N  (default 512; a multiple of 8, at least 8)\n"), std::string::npos);
  EXPECT_NE(help.find("  --crop\n"), std::string::npos);
  EXPECT_NE(help.find("\nNumbers:\n"), std::string::npos);
  EXPECT_NE(help.find("bbb\n        ccc"), std::string::npos);
  const std::string page = list.markdown();
  EXPECT_NE(page.find("\n## Numbers\n"), std::string::npos);
  EXPECT_NE(page.find("| `--folder` | str | **required** | Where the pictures are. |\n"), std::string::npos);
  EXPECT_NE(page.find("Precision \\| of \\<numbers>."), std::string::npos);
}

}  // namespace
}  // namespace lorikeet
