// The expected texts were read back by PyYAML 6 and huggingface_hub's ModelCard.
#include "hub/model_card.h"

#include <gtest/gtest.h>

namespace lorikeet {
namespace {

using Tags = std::vector<std::string>;

TEST(ModelCard, QuotesWhatYamlWouldTakeForSomethingElse) {
  const std::pair<const char*, const char*> cases[] = {
      {"a photo of sks dog", "a photo of sks dog"},
      {"someone/model-v1.5", "someone/model-v1.5"},
      {"", "''"},
      {"yes", "'yes'"},
      {"Off", "'Off'"},
      {"NULL", "'NULL'"},
      {"1e3", "'1e3'"},
      {"2020-01-01", "'2020-01-01'"},
      {".5", "'.5'"},
      {"- a", "'- a'"},
      {"a: b", "'a: b'"},
      {"a #b", "'a #b'"},
      {" a", "' a'"},
      {"a ", "'a '"},
      {"it's", "'it''s'"},
      {"<|x|>", "'<|x|>'"},
      {"\xC3\xA4\xE2\x98\x83", "'\xC3\xA4\xE2\x98\x83'"},
      {"a\nb\t\"c\\", "\"a\\x0Ab\\x09\\\"c\\\\\""},
      {"a\xC2\x85z", "\"a\\x85z\""},
      {"\x7F", "\"\\x7F\""},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(yaml_string(text), expected) << text;
}

TEST(ModelCard, HasTheMetadataOfDiffusersScriptsInTheirOrder) {
  ModelCard card;
  card.base_model = "someone/base";
  card.instance_prompt = "a photo: sks";
  card.tags = {"text-to-image", "lora"};
  card.title = "LoRA DreamBooth - me/dog";
  card.description = "A LoRA.";
  card.images = {"image_0.png"};
  card.command = "lorikeet train dreambooth";
  EXPECT_EQ(model_card_text(card),
            "---\nbase_model: someone/base\nlibrary_name: diffusers\nlicense: creativeml-openrail-m\ninference: true\n"
            "instance_prompt: 'a photo: sks'\ntags:\n- text-to-image\n- lora\n---\n\n# LoRA DreamBooth - me/dog\n\n"
            "A LoRA.\n\n![img_0](./image_0.png)\n\n## Training\n\n```bash\nlorikeet train dreambooth\n```\n");
}

std::string with_tags(const std::string& readme) { return with_card_tags(readme, {"lora", "x: y"}); }

TEST(ModelCard, AddsTagsToAReadmeAndLeavesTheRestAsItIs) {
  EXPECT_EQ(with_tags("---\nlicense: mit\ntags:\n  - a # mine\n  - \"lora\"\nz: 1\n---\n# Hi\n\ntags: no\n"),
            "---\nlicense: mit\ntags:\n  - a # mine\n  - \"lora\"\n  - 'x: y'\nz: 1\nlibrary_name: diffusers\n---\n# "
            "Hi\n\ntags: no\n");
  EXPECT_EQ(with_tags("---\nlibrary_name: peft\ntags: ['b, c', lora]\n---\n"),
            "---\nlibrary_name: peft\ntags: ['b, c', lora, 'x: y']\n---\n");
  EXPECT_EQ(with_tags("\n---\nlibrary_name: peft\ntags: []\n---\n"),
            "\n---\nlibrary_name: peft\ntags: [lora, 'x: y']\n---\n");
  EXPECT_EQ(with_tags("---\nlibrary_name: peft\ntags: a\n---\n"),
            "---\nlibrary_name: peft\ntags:\n- a\n- lora\n- 'x: y'\n---\n");
  EXPECT_EQ(with_tags("---\nlibrary_name: peft\ntags: null\n---\n"),
            "---\nlibrary_name: peft\ntags:\n- lora\n- 'x: y'\n---\n");
}

TEST(ModelCard, GivesMetadataToAReadmeWithout) {
  const std::string metadata = "---\nlibrary_name: diffusers\ntags:\n- lora\n- 'x: y'\n---\n";
  EXPECT_EQ(with_tags(""), metadata);
  EXPECT_EQ(with_tags("# Hi\n"), metadata + "# Hi\n");
  EXPECT_EQ(with_tags("---\nno end"), metadata + "---\nno end\n");
  EXPECT_EQ(with_tags("---\n---\ntext"), metadata + "text\n");
}

TEST(ModelCard, LeavesTagsAloneThatAreWrittenInAnotherWay) {
  for (const std::string tags : {"tags: [a,\n  b]", "tags: &x\n- a", "tags: >-\n  a", "tags: !!set {a}"}) {
    const std::string readme = "---\nlibrary_name: peft\n" + tags + "\n---\n";
    EXPECT_EQ(with_tags(readme), readme);
  }
}

}  // namespace
}  // namespace lorikeet
