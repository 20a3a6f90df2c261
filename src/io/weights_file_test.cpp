#include "io/weights_file.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "io/file_test_support.h"
#include "io/safetensors.h"
#include "io/torch_file_test_support.h"

namespace lorikeet {
namespace {

const std::string kOne = little(0x3f800000, 4);

WeightsFile opened(const TestFolder& folder, const std::string& pickle, const std::string& storage = kOne) {
  return open_weights_file(folder.write("model.ckpt", torch_bytes(pickle, {storage})));
}

/// {name: value}
std::string dict(const std::string& name, const std::string& value) { return str("}(", pickled(name), value, "u"); }

TEST(WeightsFile, OfSafetensorsHasItsMetadata) {
  TestFolder folder;
  write_safetensors(folder.path() / "a.safetensors", {{"x", torch::ones({2})}}, {{"format", "pt"}, {"k", "v"}});
  const auto file = open_weights_file(folder.path() / "a.safetensors");
  EXPECT_EQ(file.metadata.at("k"), "v");
  EXPECT_FALSE(file.global_step);
  EXPECT_EQ(file.weights->names(), std::vector<std::string>{"x"});
  EXPECT_EQ(file.weights->tensor("x").sum().item<float>(), 2);
}

TEST(WeightsFile, OfTorchSaveMayNestItsTensors) {
  TestFolder folder;
  EXPECT_EQ(opened(folder, state_dict_of("x")).weights->tensor("x").item<float>(), 1);
  EXPECT_EQ(opened(folder, dict("state_dict", state_dict_of("x"))).weights->names(), std::vector<std::string>{"x"});
  const auto file = opened(folder, str("}(", pickled("global_step"), pickled(875000), pickled("epoch"), pickled(3),
                                       pickled("state_dict"), state_dict_of("x"), "u"));
  EXPECT_EQ(file.global_step, 875000);
  EXPECT_EQ(file.weights->names(), std::vector<std::string>{"x"});
  EXPECT_EQ(file.weights->description(), (folder.path() / "model.ckpt").string());
}

TEST(WeightsFile, MayNameTheCallbackOfPytorchLightningButNotCallIt) {
  TestFolder folder;
  const std::string callback = global_of("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint");
  const auto file = opened(
      folder, str("}(", pickled("callbacks"), "}(", callback, "}u", pickled("state_dict"), state_dict_of("x"), "u"));
  EXPECT_EQ(file.weights->names(), std::vector<std::string>{"x"});
  expect_error<FormatError>("ModelCheckpoint, which is refused", [&] { opened(folder, dict("x", callback + ")R")); });
}

TEST(WeightsFile, OtherValuesAreNoWeights) {
  TestFolder folder;
  expect_error<FormatError>("holds a list, tuple or set; a dict of tensors was expected", [&] { opened(folder, "]"); });
  expect_error<FormatError>("holds no tensor", [&] { opened(folder, dict("x", pickled(1))); });
  expect_error<FormatError>("holds an integer; a dict", [&] { opened(folder, dict("state_dict", pickled(1))); });
  expect_error<FormatError>("holds no tensor", [&] {
    opened(folder, str("}q", std::string(1, '\0'), "(", pickled("state_dict"), "h", std::string(1, '\0'), "u"));
  });
}

TEST(WeightsFile, WhatIsNeitherIsToldByItsName) {
  TestFolder folder;
  expect_error<FormatError>("is no file of torch.save's", [&] { open_weights_file(folder.write("a.ckpt", "text")); });
  expect_error<FormatError>("a safetensors file has at least 8",
                            [&] { open_weights_file(folder.write("a.safetensors", "text")); });
  expect_error<FileError>("cannot read", [&] { open_weights_file(folder.path() / "absent.safetensors"); });
  // A pickle under another's name is read as what it is.
  EXPECT_EQ(open_weights_file(folder.write("a.safetensors", torch_bytes(state_dict_of("x"), {kOne}))).weights->names(),
            std::vector<std::string>{"x"});
}

}  // namespace
}  // namespace lorikeet
