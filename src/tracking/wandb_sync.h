// Handing a finished run to the official `wandb` program.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace lorikeet {

/// One folder of a run and how its upload begins.
struct WandbPart {
  std::filesystem::path folder;
  bool resumed = false;  // its rows and lines go behind those that the server has
};

/// The commands that upload the parts, for a person to type.
std::string wandb_sync_commands(const std::vector<WandbPart>& parts);

/// Whether WANDB_API_KEY, WANDB_IDENTITY_TOKEN_FILE, or a netrc file (NETRC, ~/.netrc, ~/_netrc) with an entry for the
/// host of WANDB_BASE_URL would let the official program in.
bool has_wandb_credentials();

/// Runs `wandb sync` for one part after another, where the program and credentials are there, and shows what it says.
/// Otherwise, and when it fails, one line tells what to type. Never throws.
void sync_wandb_run(const std::vector<WandbPart>& parts, std::chrono::milliseconds time_limit) noexcept;

}  // namespace lorikeet
