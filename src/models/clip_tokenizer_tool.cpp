// tokenizer_tool FOLDER: reads JSON lines {"text": ..., "max_length": ...?} and answers each with one JSON line: the
// ids, or, with max_length, {"ids": ..., "mask": ...}; {"decode": [ids]} is answered with the text. For tests, not
// installed.
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "models/clip_tokenizer.h"

namespace {

nlohmann::json answer(const lorikeet::CLIPTokenizer& tokenizer, const nlohmann::json& question) {
  if (question.contains("decode")) return tokenizer.decode(question["decode"]);
  const std::string text = question["text"];
  if (!question.contains("max_length")) return tokenizer.encode(text);
  const auto encoded = tokenizer.encode(text, question["max_length"].get<int64_t>());
  return {{"ids", encoded.ids}, {"mask", encoded.attention_mask}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "expected one argument, a tokenizer's folder\n";
    return 2;
  }
  try {
    const auto tokenizer = lorikeet::CLIPTokenizer::from_folder(argv[1]);
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << answer(tokenizer, nlohmann::json::parse(line)).dump() << '\n';
    }
  } catch (const lorikeet::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
