#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "core/text.h"
#include "io/file_test_support.h"
#include "io/safetensors.h"
#include "io/safetensors_header.h"
#include "lora/lora_fuzz_support.h"

namespace lorikeet {
namespace {

constexpr const char* kEndings[] = {".lora_A.weight",
                                    ".lora_B.weight",
                                    ".lora_B.bias",
                                    ".lora_magnitude_vector",
                                    ".lora.down.weight",
                                    ".lora.up.weight",
                                    "_lora.down.weight",
                                    ".alpha",
                                    ".lora_down.weight",
                                    ".lora_up.weight",
                                    ".lora_mid.weight",
                                    ".scale",
                                    ".dora_scale",
                                    ".hada_w1_a",
                                    ".hada_w1_b",
                                    ".hada_w2_a",
                                    ".hada_w2_b",
                                    ".hada_t1",
                                    ".hada_t2",
                                    ".lokr_w1",
                                    ".lokr_w1_a",
                                    ".lokr_w1_b",
                                    ".lokr_w2",
                                    ".lokr_w2_a",
                                    ".lokr_w2_b",
                                    ".lokr_t2",
                                    ".diff",
                                    ".diff_b",
                                    ".w_norm",
                                    ".b_norm",
                                    ".lora_A.x.weight",
                                    ".oft_blocks",
                                    ":up",
                                    ".string_to_param.*",
                                    ""};
constexpr const char* kBeginnings[] = {
    "unet.",    "text_encoder.",     "text_encoder_2.",        "lora_unet_",  "lora_te_", "lora_te1_",     "lora_te2_",
    "lycoris_", "base_model.model.", "model.diffusion_model.", "bundle_emb.", "unet:",    "text_encoder:", ""};
constexpr int64_t kSizes[] = {0,
                              1,
                              2,
                              3,
                              4,
                              6,
                              8,
                              9,
                              36,
                              54,
                              64,
                              300,
                              4096,
                              65536,
                              -1,
                              2147483647,
                              4294967296,
                              int64_t{1} << 40,
                              int64_t{1} << 62,
                              std::numeric_limits<int64_t>::max(),
                              std::numeric_limits<int64_t>::min()};
constexpr int64_t kRealSizes[] = {1, 2, 3, 4, 5, 6, 8, 9, 16, 64, 300, 1000};
constexpr const char* kNumbers[] = {
    "null", "\"8\"", "1e999", "-0.0", "1e308", "1e-320", "NaN", "true", "[8]", "{}", "0", "-4", "9223372036854775808"};

/// What one may hope to trip a reader of settings with.
std::string hostile_json(FuzzRandom& random) {
  const auto repeated = [&](const std::string& part) {
    std::string text;
    for (size_t i = 1 + random.below(5000); i > 0; --i) text += part;
    return text;
  };
  const auto number = [&] { return std::string(random.pick(kNumbers)); };
  switch (random.below(8)) {
    case 0:
      return repeated("[");
    case 1:
      return repeated("{\"unet.alpha_pattern\":");
    case 2:
      return lorikeet::str("{\"unet.alpha_pattern\":{\"", repeated("\\\\."), "\":1}}");
    case 3:
      return lorikeet::str("{\"unet.r\":", number(), ",\"unet.lora_alpha\":", number(), ",\"r\":", number(), "}");
    case 4:
      return lorikeet::str("{\"lora_alpha\":", number(), ",\"use_rslora\":", number(), "}");
    case 5:
      return lorikeet::str("{\"unet.alpha_pattern\":{\"to_q\":", number(), ",\"^down_blocks\":1,\"to_q\":2},",
                           "\"unet.lora_alpha\":4}");
    case 6:
      return lorikeet::str("{\"unet.alpha_pattern\":{\"(a+)+$\":1},\"text_encoder.lora_alpha\":", number(), "}");
    default:
      return lorikeet::str("{\"unet.target_modules\":[", repeated("\"x\","), "1],\"unet.lora_alpha\":2}");
  }
}

class Mutator {
 public:
  Mutator(FuzzFile file, FuzzRandom& random) : file_(std::move(file)), random_(random) {}

  std::string run() {
    for (size_t changes = random_.one_in(3) ? 3 : 1; changes > 0; --changes) change();
    std::string header = header_text(), data;
    for (const auto& tensor : file_.tensors) data += tensor.bytes;
    if (random_.one_in(16)) damage_bytes(header, random_);
    if (random_.one_in(24)) damage_bytes(data, random_);
    std::string bytes = safetensors_bytes(header, data);
    if (random_.one_in(24)) bytes[random_.below(8)] = static_cast<char>(random_.below(256));
    if (random_.one_in(24)) bytes.resize(random_.below(bytes.size() + 1));
    return bytes;
  }

 private:
  FuzzTensor& some() { return file_.tensors[random_.below(file_.tensors.size())]; }

  void change() {
    if (file_.tensors.empty()) return;
    switch (random_.below(16)) {
      case 0:
      case 1:
        return flip_bits(some().bytes);
      case 2:
      case 3:
        return set_number(some());
      case 4:
        return set_dtype(some());
      case 5:
        return set_size(some());
      case 6:
      case 7:
        return reshape(some());
      case 8:
      case 9:
      case 10:
        return resize_layer();
      case 11:
      case 12:
        return rename();
      case 13:
        return set_metadata();
      case 14:
        return add_or_drop();
      default:
        lies_about_ranges_ = true;
    }
  }

  void flip_bits(std::string& bytes) {
    for (size_t flips = 1 + random_.below(4); flips > 0 && !bytes.empty(); --flips) {
      bytes[random_.below(bytes.size())] ^= static_cast<char>(1 << random_.below(8));
    }
  }

  /// One number, or all of them.
  void set_number(FuzzTensor& tensor) {
    constexpr float kWild[] = {0,
                               -1,
                               1e-45F,
                               1e30F,
                               -3e38F,
                               65505,
                               std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::quiet_NaN()};
    const float number = random_.pick(kWild);
    const size_t count = tensor.bytes.size() / 4;
    if (tensor.dtype != "F32" || count == 0) return flip_bits(tensor.bytes);
    const size_t begin = random_.below(count), end = random_.one_in(3) ? count : begin + 1;
    for (size_t i = begin; i < end; ++i) std::memcpy(tensor.bytes.data() + i * 4, &number, 4);
    if (tensor.bytes.size() == 4 && random_.one_in(2)) {  // an alpha, perhaps in more than float32 holds
      const double wide = random_.pick(std::array{1e300, -1e-300, 1e39, 5e-324, 0.1});
      tensor.dtype = "F64";
      tensor.bytes.assign(reinterpret_cast<const char*>(&wide), 8);
    }
  }

  /// The bytes as another type, mostly of as many numbers.
  void set_dtype(FuzzTensor& tensor) {
    const auto& type = random_.pick(kSafetensorsDtypes);
    tensor.dtype = type.name;
    if (!random_.one_in(6)) fill(tensor, type.bytes);
  }

  /// As many bytes as the shape asks for, where those are few; a lie otherwise.
  static void fill(FuzzTensor& tensor, int64_t element_bytes) {
    double count = static_cast<double>(element_bytes);
    for (const int64_t size : tensor.shape) count *= static_cast<double>(size);
    if (!(count >= 0 && count <= 1e6) || tensor.bytes.empty()) return;
    const std::string bytes = tensor.bytes;
    while (static_cast<double>(tensor.bytes.size()) < count) tensor.bytes += bytes;
    tensor.bytes.resize(static_cast<size_t>(count));
  }

  void set_size(FuzzTensor& tensor) {
    if (tensor.shape.empty() || random_.one_in(8)) tensor.shape.push_back(1);
    tensor.shape[random_.below(tensor.shape.size())] = random_.pick(kSizes);
    if (random_.one_in(4)) tensor.shape.insert(tensor.shape.begin(), 0);
    // An empty tensor may claim any other size, as it has no bytes.
    if (std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end()) tensor.bytes.clear();
  }

  /// As many numbers in another shape.
  void reshape(FuzzTensor& tensor) {
    auto& shape = tensor.shape;
    switch (random_.below(4)) {
      case 0:
        std::reverse(shape.begin(), shape.end());
        break;
      case 1:
        shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(random_.below(shape.size() + 1)), 1);
        break;
      case 2:
        if (shape.size() != 4 || shape[2] != shape[3] || shape[2] > 5 || shape[1] > 1000) break;
        shape = {shape[0], shape[1] * shape[2] * shape[3]};
        break;
      default:
        for (size_t i = 0; i < shape.size(); ++i) {
          if (shape[i] < 4 || shape[i] % 2 != 0) continue;
          shape[i] /= 2;
          shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(random_.below(shape.size() + 1)), 2);
          break;
        }
    }
  }

  /// Another size wherever one layer has a certain one, so that its factors still go together.
  void resize_layer() {
    const std::string layer = layer_of(some().name);
    std::vector<FuzzTensor*> parts;
    std::vector<int64_t> sizes;
    for (auto& tensor : file_.tensors) {
      if (layer_of(tensor.name) != layer || tensor.dtype != "F32") continue;
      parts.push_back(&tensor);
      sizes.insert(sizes.end(), tensor.shape.begin(), tensor.shape.end());
    }
    if (sizes.empty()) return;
    const int64_t old = random_.pick(sizes), fresh = random_.pick(kRealSizes);
    const size_t only = random_.one_in(4) ? random_.below(4) : 4;  // this dimension of each, or all
    for (auto* tensor : parts) {
      for (size_t axis = 0; axis < tensor->shape.size(); ++axis) {
        if (tensor->shape[axis] == old && (only == 4 || only == axis)) tensor->shape[axis] = fresh;
      }
      fill(*tensor, 4);
    }
  }

  static std::string layer_of(const std::string& name) {
    for (const char* ending : kEndings) {
      if (*ending != '\0' && name.ends_with(ending)) return name.substr(0, name.size() - std::strlen(ending));
    }
    return name;
  }

  void rename() {
    auto& tensor = some();
    std::string& name = tensor.name;
    switch (random_.below(8)) {
      case 0:
        std::swap(name, some().name);
        break;
      case 1:
        name = some().name;  // twice, then
        break;
      case 2:
      case 3:
        name = layer_of(name) + random_.pick(kEndings);
        break;
      case 4:
        name = random_.pick(kBeginnings) + name.substr(std::min(name.size(), size_t{3} + random_.below(8)));
        break;
      case 5:
        name.insert(random_.below(name.size() + 1), std::string(1 + random_.below(2000), '_'));
        break;
      case 6:
        name.insert(random_.below(name.size() + 1),
                    random_.pick(std::array{"\xff", "\xc3", "\x1b[2J", "\\u0000", "\"", "."}));
        break;
      default:
        damage_bytes(name, random_);
    }
  }

  void set_metadata() {
    constexpr const char* kKeys[] = {
        "lora_adapter_metadata", "ss_network_args", "<s1>", "name", "format", "unet:0:rank"};
    const std::string key = random_.one_in(2) ? kKeys[0] : random_.pick(kKeys);
    std::string value = random_.one_in(8) ? "<embed>" : hostile_json(random_);
    if (random_.one_in(6)) damage_bytes(value, random_);
    for (auto& [there, text] : file_.metadata) {
      if (there == key) return std::swap(text, value);
    }
    file_.metadata.emplace_back(key, value);
  }

  void add_or_drop() {
    const size_t at = random_.below(file_.tensors.size());
    if (random_.one_in(2)) {
      file_.tensors.erase(file_.tensors.begin() + static_cast<std::ptrdiff_t>(at));
      return;
    }
    auto copy = file_.tensors[at];
    copy.name = layer_of(copy.name) + random_.pick(kEndings);
    file_.tensors.push_back(std::move(copy));
  }

  std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const char c : text) {
      if (c == '"' || (c == '\\' && !random_.one_in(50))) result += '\\';
      result += c;
    }
    return result + "\"";
  }

  std::string header_text() {
    std::string json = "{";
    if (!file_.metadata.empty()) {
      json += "\"__metadata__\":{";
      for (const auto& [key, value] : file_.metadata) {
        json += lorikeet::str(json.back() == '{' ? "" : ",", quoted(key), ":", quoted(value));
      }
      json += "}";
    }
    uint64_t offset = 0;
    for (const auto& [name, dtype, bytes, shape] : file_.tensors) {
      json += lorikeet::str(json.size() > 1 ? "," : "", quoted(name), ":{\"dtype\":\"", dtype, "\",\"shape\":[");
      for (size_t i = 0; i < shape.size(); ++i) json += lorikeet::str(i > 0 ? "," : "", shape[i]);
      uint64_t begin = offset, end = offset + bytes.size();
      if (lies_about_ranges_ && random_.one_in(3)) {
        (random_.one_in(2) ? begin : end) +=
            random_.pick(std::array<uint64_t, 6>{1, 4, 24, ~uint64_t{0}, ~uint64_t{3}, uint64_t{1} << 63});
      }
      json += lorikeet::str("],\"data_offsets\":[", begin, ",", end, "]}");
      offset += bytes.size();
    }
    return json + "}";
  }

  FuzzFile file_;
  FuzzRandom& random_;
  bool lies_about_ranges_ = false;
};

}  // namespace

void damage_bytes(std::string& text, FuzzRandom& random) {
  for (size_t changes = 1 + random.below(3); changes > 0 && !text.empty(); --changes) {
    const size_t at = random.below(text.size());
    switch (random.below(5)) {
      case 0:
        text[at] = static_cast<char>(random.below(256));
        break;
      case 1:
        text[at] ^= static_cast<char>(1 << random.below(8));
        break;
      case 2:
        text.erase(at, 1 + random.below(8));
        break;
      case 3:
        text.insert(at, text.substr(random.below(text.size()), random.below(60)));
        break;
      default:
        text[at] = random.pick("0123456789\"[]{}:,._-ab");
    }
  }
}

FuzzFile read_fuzz_file(const std::filesystem::path& path) {
  const auto source = SafetensorsFile::open(path);
  FuzzFile file;
  file.metadata = {source.metadata().begin(), source.metadata().end()};
  for (const auto& name : source.names()) {
    const auto tensor = source.tensor(name);
    std::string dtype;
    for (const auto& known : kSafetensorsDtypes) {
      if (known.type == tensor.scalar_type()) dtype = known.name;
    }
    file.tensors.push_back(
        {name, dtype, {static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()}, source.shape(name)});
  }
  return file;
}

std::string damaged_safetensors(FuzzFile file, FuzzRandom& random) { return Mutator(std::move(file), random).run(); }

}  // namespace lorikeet
