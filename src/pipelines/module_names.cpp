#include "pipelines/module_names.h"

namespace lorikeet {
namespace {

std::optional<std::string> translate(const std::unordered_map<std::string, std::string>& names,
                                     const std::string& name) {
  for (size_t end = name.size(); end != std::string::npos && end > 0; end = name.rfind('.', end - 1)) {
    const auto found = names.find(name.substr(0, end));
    if (found != names.end()) return found->second + name.substr(end);
  }
  return std::nullopt;
}

}  // namespace

void ModuleNames::add(const std::string& original, const std::string& diffusers) {
  diffusers_[original] = diffusers;
  original_[diffusers] = original;
}

std::optional<std::string> ModuleNames::diffusers(const std::string& original) const {
  return translate(diffusers_, original);
}

std::optional<std::string> ModuleNames::original(const std::string& diffusers) const {
  return translate(original_, diffusers);
}

}  // namespace lorikeet
