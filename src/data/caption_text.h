// The text of captions: what is accepted, and caption files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace lorikeet {

constexpr size_t kLongestCaption = 100'000;  // bytes

/// How many characters (Unicode code points) valid UTF-8 has; -1 when it is not valid.
int64_t count_characters(std::string_view text);

/// Throws FormatError, beginning with `where`, for a caption that is not UTF-8 or longer than kLongestCaption.
void check_caption(std::string_view caption, const std::string& where);

/// The caption in a text file as kohya's scripts read it, one line, here the first with text, trimmed; empty for a file
/// without any. Throws FileError, FormatError (see check_caption) naming `name`.
std::string read_caption_file(const std::filesystem::path& file, const std::string& name);

}  // namespace lorikeet
