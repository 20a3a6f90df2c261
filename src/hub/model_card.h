// The README of a repository: metadata in YAML between --- lines, as Diffusers' scripts write it, and what people read.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

struct ModelCard {
  // Metadata; `library_name: diffusers`, the licence of Stable Diffusion and `inference: true` are always there.
  std::optional<std::string> base_model;  // an id on the Hub: the Hub accepts nothing else
  std::optional<std::string> instance_prompt;
  std::vector<std::string> tags;

  // Text
  std::string title;
  std::string description;          // Markdown
  std::vector<std::string> images;  // their paths in the repository
  std::string command;              // what it was made with; no secrets
};

/// The whole README.
std::string model_card_text(const ModelCard& card);

/// An existing README with its text and metadata kept: library_name and those tags added that are not there.
std::string with_card_tags(const std::string& readme, const std::vector<std::string>& tags);

/// The metadata of a README, of a model or a data set: the YAML between its --- lines; empty without any.
std::string card_metadata(const std::string& readme);

/// A string as YAML reads it back: plain where that is safe, else quoted.
std::string yaml_string(const std::string& text);

}  // namespace lorikeet
