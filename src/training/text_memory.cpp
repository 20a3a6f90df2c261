#include "training/text_memory.h"

#include "core/errors.h"
#include "core/text.h"
#include "pipelines/denoise.h"

namespace lorikeet {
namespace {

torch::Tensor as_row(const std::vector<int64_t>& values, torch::Device device) {
  return torch::tensor(values, torch::kInt64).unsqueeze(0).to(device);
}

}  // namespace

TextMemory::TextMemory(TrainingModels& models, const TrainOptions& options, const TrainingPrecision& precision,
                       const std::filesystem::path& folder)
    : models_(models),
      options_(options),
      precision_(precision),
      memory_(options.train_text_encoder ? EncodeMemory::kOff : parse_encode_memory(options.encode_memory)) {
  if (memory_ == EncodeMemory::kDisk) store_.emplace(folder, "texts", model_fingerprint(*models.parts.text_encoder));
}

TextMemory::Tokens TextMemory::tokenize(const std::string& caption) const {
  const auto encoded = models_.parts.tokenizer->encode(caption, caption_length(models_, options_));
  check_token_ids(encoded.ids, *models_.parts.text_encoder);
  Tokens tokens{as_row(encoded.ids, precision_.device), {}};
  if (options_.text_encoder_use_attention_mask) tokens.mask = as_row(encoded.attention_mask, precision_.device);
  return tokens;
}

torch::Tensor TextMemory::embeddings(const std::vector<std::string>& captions) {
  if (options_.train_text_encoder) return encode_learning(captions);
  std::vector<torch::Tensor> rows;
  for (const auto& caption : captions) rows.push_back(encode(caption));
  return torch::cat(rows);
}

torch::Tensor TextMemory::encode_learning(const std::vector<std::string>& captions) {
  std::vector<torch::Tensor> rows, masks;
  for (const auto& caption : captions) {
    const auto tokens = tokenize(caption);
    rows.push_back(tokens.ids);
    if (tokens.mask.defined()) masks.push_back(tokens.mask);
  }
  AutocastScope autocast(precision_.autocast);
  return models_.parts.text_encoder->forward(torch::cat(rows), masks.empty() ? torch::Tensor() : torch::cat(masks))
      .to(torch::kFloat);
}

bool TextMemory::remember(const std::string& caption) {
  encode(caption);
  return known_.contains(caption);
}

bool TextMemory::has_room_for(size_t captions) const {
  if (memory_ == EncodeMemory::kOff) return false;
  const auto& config = models_.parts.text_encoder->config();
  const int64_t each = caption_length(models_, options_) * config.hidden_size *
                       static_cast<int64_t>(c10::elementSize(precision_.weights));
  return static_cast<double>(captions) * static_cast<double>(each) <= static_cast<double>(kEncodedBytes - known_bytes_);
}

torch::Tensor TextMemory::encode(const std::string& caption) {
  if (const auto known = known_.find(caption); known != known_.end()) return known->second;
  if (released_)
    throw std::logic_error("a caption is asked for that was not encoded before the text encoder was let go");
  auto embedding = compute(caption);
  const auto bytes = static_cast<int64_t>(embedding.nbytes());
  if (memory_ != EncodeMemory::kOff && known_bytes_ + bytes <= kEncodedBytes) {
    known_bytes_ += bytes;
    known_.emplace(caption, shelf_.keep(embedding));
  }
  return embedding;
}

torch::Tensor TextMemory::compute(const std::string& caption) {
  torch::NoGradGuard no_grad;
  const auto tokens = tokenize(caption);
  std::string key;
  if (store_) {
    key = lorikeet::str(tokens.ids.cpu(), tokens.mask.defined() ? lorikeet::str(tokens.mask.cpu()) : "");
    if (const auto saved = store_->load(key);
        saved && saved->size() == 1 && (*saved)[0].scalar_type() == precision_.weights) {
      return (*saved)[0].to(precision_.device);
    }
  }
  auto embedding = models_.parts.text_encoder->forward(tokens.ids, tokens.mask);
  if (store_) store_->save(key, {embedding});
  return embedding;
}

}  // namespace lorikeet
