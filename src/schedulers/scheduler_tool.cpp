// Reads {"runs": [...], "noises": [...]} from standard input, see scheduler_cases.h, and writes the results in the same
// form; a case that fails gives {"error": message}. Driven by tests/parity/schedulers_test.py.
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "schedulers/config_reader.h"
#include "schedulers/scheduler_cases.h"

namespace {

using nlohmann::json;

json run_all(const json& cases, json (*run)(const json&)) {
  json results = json::array();
  for (const auto& one : cases) {
    try {
      results.push_back(run(one));
    } catch (const lorikeet::Error& error) {
      results.push_back({{"error", error.what()}});
    }
  }
  return results;
}

}  // namespace

int main() {
  const std::string text(std::istreambuf_iterator<char>(std::cin), {});
  const auto input = lorikeet::parse_scheduler_config(text, "standard input");
  std::cout << json{{"runs", run_all(input["runs"], lorikeet::run_scheduler_case)},
                    {"noises", run_all(input["noises"], lorikeet::run_noise_case)}};
}
