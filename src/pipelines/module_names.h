// The same modules under two names: those of Stable Diffusion's original files, and Diffusers'.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>

namespace lorikeet {

/// Pairs of names. A tensor's name is translated by the longest pair that it is, or lies beneath ("a.b" and "x" make
/// "x.weight" of "a.b.weight").
class ModuleNames {
 public:
  void add(const std::string& original, const std::string& diffusers);
  /// An older spelling of Diffusers': read, never given.
  void add_old(const std::string& original, const std::string& diffusers) { original_[diffusers] = original; }

  /// Nullopt where no pair fits.
  std::optional<std::string> diffusers(const std::string& original) const;
  std::optional<std::string> original(const std::string& diffusers) const;

 private:
  std::unordered_map<std::string, std::string> diffusers_;  // by the original's
  std::unordered_map<std::string, std::string> original_;   // by Diffusers'
};

}  // namespace lorikeet
