#include "hub/cache.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "core/errors.h"

namespace lorikeet {
namespace {
namespace fs = std::filesystem;

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";
constexpr const char* kVariables[] = {"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HOME"};

/// A cache as huggingface_hub lays it out, in a folder of its own; the environment is put back afterwards.
class HubCache : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kVariables) {
      const char* value = getenv(name);
      saved_.emplace_back(name, value ? std::optional<std::string>(value) : std::nullopt);
      unsetenv(name);
    }
    std::string pattern = (fs::temp_directory_path() / "hub_cache_XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    setenv("HF_HUB_CACHE", root_.c_str(), 1);
  }
  void TearDown() override {
    for (const auto& [name, value] : saved_) {
      value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
    }
    fs::remove_all(root_);
  }
  static void write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  fs::path repository() const { return root_ / "models--owner--name"; }
  /// Puts a file into the snapshot the way the Hub's client does: a relative link to a blob.
  void add(const std::string& name, const std::string& text = "{}") {
    const std::string blob = "blob" + std::to_string(blobs_++);
    write(repository() / "blobs" / blob, text);
    const fs::path link = repository() / "snapshots" / kCommit / name;
    fs::create_directories(link.parent_path());
    fs::create_symlink(fs::relative(repository() / "blobs" / blob, link.parent_path()), link);
  }
  void add_model() {
    for (const char* name :
         {"model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
          "vae/diffusion_pytorch_model.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors",
          "tokenizer/vocab.json", "tokenizer/merges.txt", "scheduler/scheduler_config.json"}) {
      add(name);
    }
    write(repository() / "refs" / "main", kCommit);
  }

  fs::path root_;
  int blobs_ = 0;
  std::vector<std::pair<std::string, std::optional<std::string>>> saved_;
};

template <class Exception, class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Exception& error) {
    return std::string(error.what()) + " | " + error.hint();
  }
  return "(nothing was thrown)";
}

TEST_F(HubCache, FolderFollowsTheEnvironmentInOrder) {
  setenv("HOME", "/home/someone", 1);
  unsetenv("HF_HUB_CACHE");
  EXPECT_EQ(hub_cache_folder(), "/home/someone/.cache/huggingface/hub");
  setenv("XDG_CACHE_HOME", "/xdg", 1);
  EXPECT_EQ(hub_cache_folder(), "/xdg/huggingface/hub");
  setenv("HF_HOME", "~/hf", 1);
  EXPECT_EQ(hub_cache_folder(), "/home/someone/hf/hub");
  setenv("HUGGINGFACE_HUB_CACHE", "$HOME/a${HOME}b$", 1);
  EXPECT_EQ(hub_cache_folder(), "/home/someone/a/home/someoneb$");
  setenv("HF_HUB_CACHE", "/direct", 1);
  EXPECT_EQ(hub_cache_folder(), "/direct");
}

TEST_F(HubCache, TellsIdsFromPaths) {
  for (const char* id : {"gpt2", "owner/name", "stable-diffusion-v1-5/stable-diffusion-v1-5", "a.b/c_d"}) {
    EXPECT_TRUE(is_hub_id(id)) << id;
  }
  for (const char* text : {"", "/a", "a/", "a/b/c", "../a", "a--b", "a b", "./a", "name.git", "~/x"}) {
    EXPECT_FALSE(is_hub_id(text)) << text;
  }
}

TEST_F(HubCache, AnExistingFolderIsItself) { EXPECT_EQ(resolve_model_folder(root_.string()), root_); }

TEST_F(HubCache, AWholeModelIsFoundByBranchTagAndCommit) {
  add_model();
  write(repository() / "refs" / "refs" / "pr" / "1", std::string(kCommit) + "\n");
  const fs::path snapshot = repository() / "snapshots" / kCommit;
  EXPECT_EQ(resolve_model_folder("owner/name"), snapshot);
  EXPECT_EQ(resolve_model_folder("owner/name", "refs/pr/1"), snapshot);
  EXPECT_EQ(resolve_model_folder("owner/name", kCommit), snapshot);
}

TEST_F(HubCache, ShardedWeightsCountWhenEveryShardIsThere) {
  add_model();
  const fs::path unet = repository() / "snapshots" / kCommit / "unet";
  fs::remove(unet / "diffusion_pytorch_model.safetensors");
  add("unet/diffusion_pytorch_model.safetensors.index.json",
      R"({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors", "c": "part-1.safetensors"}})");
  add("unet/part-1.safetensors");
  const auto message = message_of<HubError>([] { resolve_model_folder("owner/name"); });
  EXPECT_NE(message.find("unet/part-2.safetensors missing"), std::string::npos) << message;
  add("unet/part-2.safetensors");
  EXPECT_EQ(resolve_model_folder("owner/name"), repository() / "snapshots" / kCommit);
}

TEST_F(HubCache, PickledWeightsCountAsWell) {
  add_model();
  const fs::path snapshot = repository() / "snapshots" / kCommit;
  fs::remove(snapshot / "unet/diffusion_pytorch_model.safetensors");
  fs::remove(snapshot / "text_encoder/model.safetensors");
  add("unet/diffusion_pytorch_model.bin");
  add("text_encoder/model.bin");  // not what Transformers calls it
  const auto message = message_of<HubError>([] { resolve_model_folder("owner/name"); });
  EXPECT_NE(message.find("only in part: text_encoder/model.safetensors missing"), std::string::npos) << message;
  add("text_encoder/pytorch_model.bin");
  EXPECT_EQ(resolve_model_folder("owner/name"), snapshot);
}

TEST_F(HubCache, AVariantNeedsItsOwnWeights) {
  add_model();
  const auto message = message_of<HubError>([] { resolve_model_folder("owner/name", {}, "fp16"); });
  EXPECT_NE(message.find("unet/diffusion_pytorch_model.fp16.safetensors"), std::string::npos) << message;
  add("unet/diffusion_pytorch_model.fp16.safetensors");
  add("vae/diffusion_pytorch_model.fp16.safetensors");
  add("text_encoder/model.fp16.safetensors");
  EXPECT_EQ(resolve_model_folder("owner/name", {}, "fp16"), repository() / "snapshots" / kCommit);
}

TEST_F(HubCache, AnAbsentIdNamesTheCacheAndTheCommandThatHelps) {
  const auto message = message_of<HubError>([] { resolve_model_folder("owner/other", "v2"); });
  EXPECT_NE(message.find("\"owner/other\" is no folder here"), std::string::npos) << message;
  EXPECT_NE(message.find(root_.string()), std::string::npos) << message;
  EXPECT_NE(message.find("hub download owner/other --revision v2"), std::string::npos) << message;
}

TEST_F(HubCache, APartialModelNamesWhatIsMissing) {
  add_model();
  fs::remove(repository() / "snapshots" / kCommit / "vae" / "config.json");
  // A link whose blob is gone (a download that was cleaned up) is as good as no file.
  fs::remove(repository() / "blobs" / "blob6");
  const auto message = message_of<HubError>([] { resolve_model_folder("owner/name"); });
  EXPECT_NE(message.find("only in part: vae/config.json, text_encoder/model.safetensors missing"), std::string::npos)
      << message;
}

TEST_F(HubCache, APathThatDoesNotExistIsNotTakenForAnId) {
  for (const char* path : {"/no/such/folder", "./nowhere", "a/b/c"}) {
    const auto message = message_of<FileError>([&] { resolve_model_folder(path); });
    EXPECT_NE(message.find(std::string("there is no folder ") + path), std::string::npos) << message;
  }
  write(root_ / "model.safetensors", "x");
  const auto message = message_of<FileError>([&] { resolve_model_folder((root_ / "model.safetensors").string()); });
  EXPECT_NE(message.find("is a file"), std::string::npos) << message;
}

TEST_F(HubCache, RefusesARevisionThatClimbsOutAndADamagedReference) {
  add_model();
  EXPECT_THROW(resolve_model_folder("owner/name", "../../x"), UsageError);
  EXPECT_THROW(resolve_model_folder("owner/name", "/etc/passwd"), UsageError);
  write(repository() / "refs" / "main", "../../../etc");
  EXPECT_THROW(resolve_model_folder("owner/name"), HubError);
}

}  // namespace
}  // namespace lorikeet
