#include "io/weights.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "core/text.h"
#include "io/file_test_support.h"
#include "io/safetensors.h"
#include "io/torch_file_test_support.h"

namespace lorikeet {
namespace {

const std::string kStem = "diffusion_pytorch_model";

void write_part(const TestFolder& folder, const std::string& file, const std::string& name, float value) {
  write_safetensors(folder.path() / file, {{name, torch::full({2}, value)}});
}

std::string index_of(const std::string& map) { return str(R"({"metadata":{"total_size":16},"weight_map":)", map, "}"); }

float first(const WeightSource& source, const std::string& name) { return source.tensor(name)[0].item<float>(); }

/// Refused, with `part` in the message.
template <class E>
std::string refused(const TestFolder& folder, const std::string& part, std::optional<std::string> variant = {}) {
  return expect_error<E>(part, [&] { open_weights(folder.path(), kStem, variant); });
}

TEST(Weights, OneFileIsRead) {
  TestFolder folder;
  write_part(folder, kStem + ".safetensors", "a", 1);
  const auto source = open_weights(folder.path(), kStem);
  EXPECT_EQ(source->names(), std::vector<std::string>{"a"});
  EXPECT_TRUE(source->contains("a"));
  EXPECT_FALSE(source->contains("b"));
  EXPECT_EQ(first(*source, "a"), 1);
  EXPECT_EQ(source->description(), (folder.path() / (kStem + ".safetensors")).string());
  expect_error<FormatError>("no tensor 'b' among its 1", [&] { source->tensor("b"); });
}

TEST(Weights, AVariantIsItsOwnFile) {
  TestFolder folder;
  write_part(folder, kStem + ".safetensors", "a", 1);
  write_part(folder, kStem + ".fp16.safetensors", "a", 2);
  EXPECT_EQ(first(*open_weights(folder.path(), kStem), "a"), 1);
  EXPECT_EQ(first(*open_weights(folder.path(), kStem, "fp16"), "a"), 2);
  const auto hint = refused<FileError>(folder,
                                       "tried diffusion_pytorch_model.bf16.safetensors, "
                                       "diffusion_pytorch_model.safetensors.index.bf16.json, "
                                       "diffusion_pytorch_model.safetensors.bf16.index.json, "
                                       "diffusion_pytorch_model.bf16.bin",
                                       "bf16");
  EXPECT_NE(hint.find("found diffusion_pytorch_model.fp16.safetensors, diffusion_pytorch_model.safetensors"),
            std::string::npos)
      << hint;
}

TEST(Weights, AVariantCannotLeaveTheFolder) {
  TestFolder folder;
  for (const std::string variant : {"../x", "", "a/b", "a\\b"}) {
    refused<UsageError>(folder, "is no part of a file name", variant);
  }
}

TEST(Weights, ShardsAreReadUnderEveryNameOfTheirIndex) {
  for (const std::string index :
       {".safetensors.index.json", ".safetensors.index.fp16.json", ".safetensors.fp16.index.json"}) {
    SCOPED_TRACE(index);
    TestFolder folder;
    write_part(folder, "part-00001-of-00002.safetensors", "b", 1);
    write_part(folder, "part-00002-of-00002.safetensors", "a", 2);
    folder.write(kStem + index,
                 index_of(R"({"b":"part-00001-of-00002.safetensors","a":"part-00002-of-00002.safetensors"})"));
    const bool plain = index == ".safetensors.index.json";
    const auto source = open_weights(folder.path(), kStem, plain ? std::nullopt : std::optional<std::string>("fp16"));
    EXPECT_EQ(source->names(), (std::vector<std::string>{"a", "b"}));
    EXPECT_TRUE(source->contains("a"));
    EXPECT_EQ(first(*source, "a"), 2);
    EXPECT_EQ(first(*source, "b"), 1);
    EXPECT_EQ(source->description(), (folder.path() / (kStem + index)).string());
    expect_error<FormatError>("no tensor 'c' among its 2", [&] { source->tensor("c"); });
  }
}

TEST(Weights, DamagedIndexFilesAreRefused) {
  TestFolder folder;
  write_part(folder, "part.safetensors", "a", 1);
  const auto index = [&](const std::string& text) { folder.write(kStem + ".safetensors.index.json", text); };
  index("[");
  refused<FormatError>(folder, "not a JSON object");
  index("[]");
  refused<FormatError>(folder, "not a JSON object");
  index(std::string(100'000, '['));
  refused<FormatError>(folder, "not a JSON object");
  index("{}");
  refused<FormatError>(folder, "no weight_map");
  index(index_of("[]"));
  refused<FormatError>(folder, "no weight_map");
  index(index_of(R"({"a":1})"));
  refused<FormatError>(folder, "weight_map gives '1' for 'a'; expected a file name");
  index(index_of(R"({"a":"absent.safetensors"})"));
  refused<FileError>(folder, "absent.safetensors, which diffusion_pytorch_model.safetensors.index.json names");
  index(index_of(R"({"a":"part.safetensors","b":"part.safetensors"})"));
  refused<FormatError>(folder, "part.safetensors: no tensor 'b', though");
}

TEST(Weights, AnIndexCannotNameFilesElsewhere) {
  TestFolder folder;
  for (const std::string shard :
       {"../x.safetensors", "/etc/passwd", "sub/x.safetensors", "..", ".", "", "a\\\\b", "a\\u0000b"}) {
    SCOPED_TRACE(shard);
    folder.write(kStem + ".safetensors.index.json", index_of(str(R"({"a":")", shard, "\"}")));
    refused<FormatError>(folder, "expected a plain file name of the same folder");
  }
}

TEST(Weights, PickledOnesAreReadWhereThereAreNoOthers) {
  for (const std::string stem : {"diffusion_pytorch_model", "model"}) {
    SCOPED_TRACE(stem);
    TestFolder folder;
    const std::string bin = stem == "model" ? "pytorch_model" : stem;
    folder.write(bin + ".bin", torch_bytes(state_dict_of("a"), {little(0x3f800000, 4)}));
    folder.write(bin + ".fp16.bin", torch_bytes(state_dict_of("a"), {little(0x40000000, 4)}));
    EXPECT_EQ(first(*open_weights(folder.path(), stem), "a"), 1);
    EXPECT_EQ(first(*open_weights(folder.path(), stem, "fp16"), "a"), 2);
    const auto hint = expect_error<FileError>("tried " + stem + ".bf16.safetensors, ",
                                              [&] { open_weights(folder.path(), stem, "bf16"); });
    EXPECT_NE(hint.find("found " + bin + ".bin, " + bin + ".fp16.bin"), std::string::npos) << hint;
    write_part(folder, stem + ".safetensors", "a", 3);
    EXPECT_EQ(first(*open_weights(folder.path(), stem), "a"), 3);
  }
}

TEST(Weights, AnEmptyOrMissingFolderIsNamed) {
  TestFolder folder;
  refused<FileError>(folder, "cannot find weights in " + folder.path().string());
  expect_error<FileError>("cannot find the folder", [&] { open_weights(folder.path() / "absent", kStem); });
}

TEST(Weights, TensorsInMemoryAreASourceToo) {
  const auto source = weights_from_tensors({{"b", torch::ones({1})}, {"a", torch::zeros({1})}}, "two tensors");
  EXPECT_EQ(source->names(), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(first(*source, "b"), 1);
  EXPECT_EQ(source->description(), "two tensors");
  expect_error<FormatError>("two tensors: no tensor 'c' among its 2", [&] { source->tensor("c"); });
  expect_error<FormatError>("a tensor is there twice", [] {
    weights_from_tensors({{"a", torch::ones({1})}, {"a", torch::ones({1})}}, "doubled");
  });
}

}  // namespace
}  // namespace lorikeet
