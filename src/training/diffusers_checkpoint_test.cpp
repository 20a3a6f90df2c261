// The checkpoint, and what is in it, is made by tools/reference/torch_files.py.
#include "training/diffusers_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/digest.h"
#include "core/errors.h"
#include "engine/python_random.h"
#include "engine/random.h"
#include "io/file_test_support.h"
#include "io/torch_file_test_support.h"

namespace lorikeet {
namespace {

const std::filesystem::path kFolder = "tests/data/torch_files/checkpoint-7";

std::string hash_of(const std::vector<uint32_t>& words) {
  return sha256_hex({reinterpret_cast<const char*>(words.data()), words.size() * sizeof(uint32_t)});
}

TEST(DiffusersCheckpoint, HoldsWhatAccelerateWrote) {
  const auto expected = nlohmann::json::parse(read_file("tests/data/torch_files/expected.json"))["checkpoint"];
  const auto checkpoint = read_diffusers_checkpoint(kFolder);
  EXPECT_EQ(checkpoint.step, 7);
  EXPECT_EQ(checkpoint.lora, kFolder / "pytorch_lora_weights.safetensors");
  ASSERT_EQ(checkpoint.moments.size(), expected["moments"].size());
  for (size_t i = 0; i < expected["moments"].size(); ++i) {
    const auto& moments = checkpoint.moments.at(static_cast<int64_t>(i));
    EXPECT_EQ(moments.step, 7);
    ASSERT_EQ(moments.tensors.size(), 2U);
    for (const auto& [name, tensor] : moments.tensors) {
      const auto& wanted = expected["moments"][i][name];
      EXPECT_EQ(tensor.sizes().vec(), wanted["shape"].get<std::vector<int64_t>>());
      const auto values = torch::tensor(wanted["values"].get<std::vector<double>>(), torch::kFloat64);
      EXPECT_TRUE(torch::equal(tensor.to(torch::kFloat64).reshape(-1), values)) << i << " " << name;
    }
  }
  ASSERT_EQ(checkpoint.groups.size(), 1U);
  EXPECT_EQ(checkpoint.groups[0].parameters, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(checkpoint.groups[0].numbers.at("weight_decay"), 1e-2);
  EXPECT_EQ(checkpoint.groups[0].numbers.at("beta2"), 0.98);
  EXPECT_EQ(checkpoint.groups[0].numbers.at("initial_lr"), 1e-3);
  EXPECT_EQ(checkpoint.last_epoch, 7);
  EXPECT_EQ(checkpoint.last_lr, (std::vector<double>{expected["lr"].get<double>()}));
  EXPECT_TRUE(checkpoint.cuda_states.empty());
  ASSERT_TRUE(checkpoint.scaler);
  EXPECT_EQ(checkpoint.scaler->scale, 32768);
  EXPECT_EQ(checkpoint.scaler->growth_tracker, 3);
}

TEST(DiffusersCheckpoint, RandomStatesAreTaken) {
  const auto expected = nlohmann::json::parse(read_file("tests/data/torch_files/expected.json"))["checkpoint"];
  const auto checkpoint = read_diffusers_checkpoint(kFolder.string() + "/");
  EXPECT_EQ(hash_of(checkpoint.python_state), expected["random"]);
  EXPECT_EQ(hash_of(checkpoint.numpy_state), expected["numpy"]);
  const auto& state = checkpoint.torch_state;
  EXPECT_EQ(sha256_hex({static_cast<const char*>(state.data_ptr()), state.nbytes()}), expected["torch"]);
  auto generator = make_generator(0);
  set_generator_state(generator, state);
  EXPECT_TRUE(torch::equal(generator_state(generator), state));
  PythonRandom random(0);
  random.set_state(checkpoint.python_state);
  EXPECT_EQ(random.state(), checkpoint.python_state);
}

/// A copy of the checkpoint in which one file is missing or another.
struct Changed {
  explicit Changed(const std::string& file) {
    std::filesystem::copy(kFolder, path);
    std::filesystem::remove(path / file);
  }
  TestFolder folder;
  std::filesystem::path path = folder.path() / "checkpoint-3";
};

TEST(DiffusersCheckpoint, WithoutAScalerItHasNone) {
  const Changed changed("scaler.pt");
  EXPECT_FALSE(read_diffusers_checkpoint(changed.path).scaler);
  EXPECT_EQ(read_diffusers_checkpoint(changed.path).step, 3);
}

TEST(DiffusersCheckpoint, NamesWhatIsMissing) {
  for (const char* file :
       {"optimizer.bin", "scheduler.bin", "random_states_0.pkl", "pytorch_lora_weights.safetensors"}) {
    const Changed changed(file);
    expect_error<FileError>(file, [&] { read_diffusers_checkpoint(changed.path); });
  }
  expect_error<FileError>("random_states_1.pkl", [&] { read_diffusers_checkpoint(kFolder, 1); });
  expect_error<FileError>("there is no checkpoint folder nowhere", [&] { read_diffusers_checkpoint("nowhere"); });
}

TEST(DiffusersCheckpoint, OneFileInAnothersPlaceIsTold) {
  for (const auto& [file, what] : std::vector<std::pair<std::string, std::string>>{
           {"optimizer.bin", "optimizer.bin: there is no 'state' in a dict"},
           {"scheduler.bin", "scheduler.bin: there is no 'last_epoch' in a dict"},
           {"random_states_0.pkl", "random_states_0.pkl: there is no 'torch_manual_seed' in a dict"},
           {"scaler.pt", "scaler.pt: there is no 'scale' in a dict"}}) {
    const Changed changed(file);
    std::filesystem::copy(kFolder / (file == "scaler.pt" ? "optimizer.bin" : "scaler.pt"), changed.path / file);
    expect_error<FormatError>(what, [&] { read_diffusers_checkpoint(changed.path); });
  }
}

struct Wrong {
  std::string file, pickle, what;
};

std::string dict_of(const std::string& items) { return "}(" + items + "u"; }
std::string number_of(double value) {
  std::string bytes(reinterpret_cast<const char*>(&value), sizeof value);
  return str("G", std::string(bytes.rbegin(), bytes.rend()));
}
std::string list_of(const std::string& items) { return "](" + items + "e"; }

/// Random states whose parts are right but for the one given.
std::string random_states(const std::string& python, const std::string& numpy = "N") {
  const std::string bytes = global_of("torch._utils", "_rebuild_tensor_v2") + "(" + storage_of("ByteStorage", "0", 16) +
                            pickled(0) + pickled(16) + "\x85" + pickled(1) + "\x85\x89)tR";
  return dict_of(pickled("torch_manual_seed") + bytes + pickled("random_state") + python +
                 pickled("numpy_random_seed") + numpy);
}

std::string python_state_of(int32_t version, int32_t count, int32_t value) {
  std::string words = "(";
  for (int32_t i = 0; i < count; ++i) words += pickled(value);
  return pickled(version) + words + "tN\x87";
}

TEST(DiffusersCheckpoint, WrongValuesAreToldByName) {
  const auto state = [](const std::string& of_zero) {
    return dict_of(pickled("state") + dict_of(pickled(0) + of_zero) + pickled("param_groups") + "]");
  };
  const std::string good = python_state_of(3, 625, 1);
  const std::vector<Wrong> cases{
      {"optimizer.bin", "]", "there is no 'state' in a list"},
      {"optimizer.bin", dict_of(pickled("state") + "]"), "state is a list, tuple or set; expected a dict"},
      {"optimizer.bin", dict_of(pickled("state") + dict_of("NN")), "a parameter's number is None"},
      {"optimizer.bin", state("N"), "parameter 0 is None; expected a dict"},
      {"optimizer.bin", state(dict_of(pickled("step") + pickled(-1))), "parameter 0 is at step -1"},
      {"optimizer.bin", state(dict_of(pickled("step") + number_of(std::nan("")))), "parameter 0 is at step nan"},
      {"optimizer.bin", state(dict_of(pickled("step") + number_of(HUGE_VAL))), "parameter 0 is at step inf"},
      {"optimizer.bin", dict_of(pickled("state") + "}" + pickled("param_groups") + list_of("}")),
       "there is no 'params'"},
      {"scheduler.bin", dict_of(pickled("last_epoch") + number_of(0.5)), "last_epoch is a number; expected an integer"},
      {"scaler.pt", dict_of(pickled("scale") + "]"), "scale is a list, tuple or set; expected a number"},
      {"random_states_0.pkl", dict_of(pickled("torch_manual_seed") + tensor_of(4, 0, 4, 1)), "is no row of bytes"},
      {"random_states_0.pkl", random_states(python_state_of(2, 625, 1)), "random_state is not of version 3"},
      {"random_states_0.pkl", random_states(python_state_of(3, 624, 1)), "random_state has 624 words; expected 625"},
      {"random_states_0.pkl", random_states(python_state_of(3, 625, -1)), "a random word is -1"},
      {"random_states_0.pkl", random_states(good), "numpy_random_seed is None"},
      {"random_states_0.pkl", random_states(good, pickled("PCG64") + "NN\x87"), "is not of MT19937"},
      {"random_states_0.pkl", random_states(good, pickled("MT19937") + tensor_of(4, 0, 4, 1) + pickled(0) + "\x87"),
       "has no 624 words"},
  };
  for (const auto& [file, pickle, what] : cases) {
    SCOPED_TRACE(what);
    const Changed changed(file);
    std::ofstream(changed.path / file, std::ios::binary) << torch_bytes(pickle, {std::string(16, '\1')});
    expect_error<FormatError>((changed.path / file).string(), [&] { read_diffusers_checkpoint(changed.path); });
    expect_error<FormatError>(what, [&] { read_diffusers_checkpoint(changed.path); });
  }
}

TEST(DiffusersCheckpoint, TheFoldersNameIsItsStep) {
  TestFolder folder;
  for (const char* name : {"checkpoint", "checkpoint-", "checkpoint-x", "checkpoint-7b", "checkpoint--7",
                           "checkpoint-99999999999999999999", "7"}) {
    const auto path = folder.path() / name;
    std::filesystem::create_directory(path);
    expect_error<FormatError>("expected checkpoint-N", [&] { read_diffusers_checkpoint(path); });
  }
}

}  // namespace
}  // namespace lorikeet
