#include "io/parquet_reader.h"

#include <dlfcn.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr const char* kLibrary = "liblorikeet_parquet.so";
constexpr const char* kBuildHint =
    "`make build` makes it, from the PyPI package pyarrow in .venv (or give a folder of pictures instead)";

std::filesystem::path find_library() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = program.parent_path();
  for (const auto& folder : {beside, beside.parent_path() / "lib"}) {
    if (std::filesystem::is_regular_file(folder / kLibrary, error)) return folder / kLibrary;
  }
  throw FileError(str("Parquet files need ", kLibrary, ", which is not beside the program in ", beside.string()),
                  kBuildHint);
}

ParquetOpen load_library() {
  const auto path = find_library();
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = ::dlerror();
    throw FileError(str("cannot load ", path.string(), ", which reads Parquet files: ", reason ? reason : "no reason"),
                    kBuildHint);
  }
  void* symbol = ::dlsym(library, kParquetOpenName);
  if (symbol == nullptr) {
    ::dlclose(library);
    throw FileError(str(path.string(), " belongs to another version of this program: it has no ", kParquetOpenName),
                    kBuildHint);
  }
  return reinterpret_cast<ParquetOpen>(symbol);
}

/// Arrow's reasons can be several lines with its own source lines in them.
std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  constexpr size_t kLongest = 400;
  return text.size() > kLongest ? text.substr(0, kLongest) + "..." : text;
}

/// What Arrow would say in more words, or not at all.
void check_begin(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw FileError(str("cannot read ", path.string(), ": no such file"));
  if (!std::filesystem::is_regular_file(status)) {
    throw FileError(str("cannot read ", path.string(), ": a Parquet file is a file, and this is none"));
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) throw FileError(str("cannot read ", path.string(), ": ", std::strerror(errno)));
  std::string begin(24, '\0');
  in.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  begin.resize(static_cast<size_t>(in.gcount()));
  if (begin.starts_with("version https://git-lfs")) {
    throw FormatError(path.string() + " is no Parquet file", "this is a Git LFS pointer: run `git lfs pull`");
  }
  if (begin.starts_with("PARE")) throw FormatError(path.string() + " is encrypted; expected a plain Parquet file");
  if (!begin.starts_with("PAR1")) {
    throw FormatError(str(path.string(), " is no Parquet file: it does not begin with PAR1"));
  }
}

std::string shown_name(const std::string& name) { return "'" + one_line(name) + "'"; }

std::string list_of(const std::vector<ParquetColumn>& columns) {
  constexpr size_t kMost = 20;
  std::string text;
  for (size_t i = 0; i < std::min(columns.size(), kMost); ++i) {
    text += str(i > 0 ? ", " : "", shown_name(columns[i].name), " (", one_line(columns[i].type), ")");
  }
  return text + (columns.size() > kMost ? ", ..." : "");
}

/// A column's role: what it must hold, and the flag that names it.
struct Role {
  const char* flag;
  const char* expected;
  bool ParquetColumn::*holds;
};

constexpr Role kPicture{"--image_column", "encoded pictures (struct<bytes, path> or binary)",
                        &ParquetColumn::holds_pictures};
constexpr Role kCaption{"--caption_column", "captions (text or lists of text)", &ParquetColumn::holds_captions};

size_t find_column(const std::vector<ParquetColumn>& columns, const std::string& name, const Role& role,
                   const std::string& file) {
  const auto found =
      std::find_if(columns.begin(), columns.end(), [&](const ParquetColumn& column) { return column.name == name; });
  if (found != columns.end() && (*found).*(role.holds)) return static_cast<size_t>(found - columns.begin());
  std::string hint;
  for (const auto& column : columns) {
    if (column.*(role.holds)) hint += str(hint.empty() ? "" : " or ", role.flag, "=", one_line(column.name));
  }
  if (hint.empty()) hint = str("no column of this file holds ", role.expected);
  if (found != columns.end()) {
    throw UsageError(
        str(file, ": the column ", shown_name(name), " is ", one_line(found->type), "; expected ", role.expected),
        hint);
  }
  throw UsageError(str(file, " has no column ", shown_name(name), "; it has ", list_of(columns)), hint);
}

}  // namespace

ParquetFile::ParquetFile(const std::filesystem::path& path) : path_(path) {
  check_begin(path);
  static const ParquetOpen open = load_library();
  std::string problem;
  source_.reset(open(path.c_str(), problem));
  if (source_ == nullptr) {
    throw FormatError(str(path.string(), " is no readable Parquet file: ", one_line(problem)),
                      "it is probably cut short or damaged: copy or download it again");
  }
}

ParquetFile::~ParquetFile() = default;
ParquetFile::ParquetFile(ParquetFile&&) noexcept = default;
ParquetFile& ParquetFile::operator=(ParquetFile&&) noexcept = default;

const std::vector<ParquetColumn>& ParquetFile::columns() const { return source_->columns(); }

int64_t ParquetFile::rows() const { return source_->rows(); }

void ParquetFile::select(const std::string& picture_column, const std::string& caption_column) {
  const size_t picture = find_column(columns(), picture_column, kPicture, path_.string());
  const size_t caption = find_column(columns(), caption_column, kCaption, path_.string());
  if (!source_->select(picture, caption)) fail();
}

int64_t ParquetFile::picture_bytes() const { return source_->picture_bytes(); }

bool ParquetFile::next(ParquetRow& row) {
  const auto step = source_->next(row);
  if (step == ParquetSource::Step::kFailed) fail();
  return step == ParquetSource::Step::kRow;
}

void ParquetFile::fail() const {
  throw FormatError(str(path_.string(), " cannot be read on: ", one_line(source_->problem())),
                    "the file is probably damaged: copy or download it again");
}

}  // namespace lorikeet
