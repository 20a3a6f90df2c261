#include "data/picture_spill.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/atomic_file.h"
#include "core/digest.h"
#include "core/errors.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr std::string_view kMagic = "lorikeet picture index 1\n";
constexpr size_t kDigest = 64;                      // hexadecimal digits of the checksum at the end
constexpr size_t kMaxIndex = size_t{1} << 32;       // bytes; ten million rows with their captions
constexpr int64_t kSpareBytes = int64_t{64} << 20;  // that the disk keeps free

void put(std::string& out, int64_t number) { out.append(reinterpret_cast<const char*>(&number), sizeof number); }

void put(std::string& out, const std::string& text) {
  put(out, static_cast<int64_t>(text.size()));
  out += text;
}

/// Reads what `put` wrote; anything else is a FormatError.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : rest_(bytes) {}

  int64_t number() {
    int64_t value = 0;
    const std::string_view bytes = take(sizeof value);
    std::memcpy(&value, bytes.data(), sizeof value);
    if (value < 0) throw FormatError(str("it holds the number ", value));
    return value;
  }
  std::string text() { return std::string(take(static_cast<size_t>(number()))); }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view take(size_t count) {
    if (count > rest_.size()) throw FormatError("it ends within a row");
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  std::string_view rest_;
};

std::string index_text(const std::vector<PictureRecord>& records, const std::filesystem::path& bin, int64_t bin_bytes) {
  std::string text(kMagic);
  put(text, bin_bytes);
  put(text, static_cast<int64_t>(records.size()));
  for (const auto& record : records) {
    put(text, record.name);
    put(text, record.file == bin ? "" : record.file.string());
    put(text, record.offset);
    put(text, record.bytes + 1);  // -1 is a whole file
    put(text, static_cast<int64_t>(record.captions.size()));
    for (const auto& caption : record.captions) put(text, caption);
  }
  return text + sha256_hex(text);
}

std::vector<PictureRecord> parse_index(std::string_view text, const std::filesystem::path& bin) {
  if (!text.starts_with(kMagic)) throw FormatError("it does not begin as an index does");
  if (text.size() < kMagic.size() + kDigest) throw FormatError("it is cut short");
  const auto body = text.substr(0, text.size() - kDigest);
  if (sha256_hex(body) != text.substr(body.size())) throw FormatError("its checksum is another");
  Cursor cursor(body.substr(kMagic.size()));
  const int64_t bin_bytes = cursor.number();
  std::error_code error;
  const auto size = std::filesystem::file_size(bin, error);
  if (error) throw FormatError(str(bin.string(), " cannot be read: ", error.message()));
  if (size != static_cast<uintmax_t>(bin_bytes)) {
    throw FormatError(str(bin.string(), " has ", size, " bytes; expected ", bin_bytes));
  }
  std::vector<PictureRecord> records;
  for (int64_t left = cursor.number(); left > 0; --left) {
    PictureRecord record;
    record.name = cursor.text();
    const std::string file = cursor.text();
    record.file = file.empty() ? bin : std::filesystem::path(file);
    record.offset = cursor.number();
    record.bytes = cursor.number() - 1;
    for (int64_t captions = cursor.number(); captions > 0; --captions) record.captions.push_back(cursor.text());
    records.push_back(std::move(record));
  }
  if (!cursor.at_end()) throw FormatError("it goes on after its last row");
  return records;
}

}  // namespace

/// Held by one process at a time. Where the file system has no locks, none is held: the renames still keep files whole.
class PictureSpill::Lock {
 public:
  explicit Lock(const std::filesystem::path& path) {
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) throw FileError(str("cannot write ", path.string(), ": ", std::strerror(errno)));
    try {
      wait(path);
    } catch (...) {
      ::close(descriptor_);
      throw;
    }
  }
  ~Lock() { ::close(descriptor_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  bool held() const { return held_; }

 private:
  void wait(const std::filesystem::path& path) {
    for (bool told = false; ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0;) {
      if (errno != EWOULDBLOCK && errno != EINTR) return;
      if (!told) log_info(str("Another run prepares the same pictures (", path.string(), "): waiting for it"));
      told = true;
      stop_if_requested();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    held_ = true;
  }

  int descriptor_ = -1;
  bool held_ = false;
};

struct PictureSpill::Writing {
  explicit Writing(const std::filesystem::path& path) : bin(path) {}
  AtomicFile bin;
  int64_t bytes = 0;
  std::vector<PictureRecord> records;
};

PictureSpill::PictureSpill(std::filesystem::path folder, const std::string& key) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw FileError(str("cannot make the folder ", folder.string(), ": ", error.message()),
                    "choose another folder for the cache");
  }
  folder = std::filesystem::absolute(folder);  // records outlive a change of the working directory
  const std::string stem = "pictures-" + key;
  bin_ = folder / (stem + ".bin");
  index_ = folder / (stem + ".index");
  lock_ = std::make_unique<Lock>(folder / (stem + ".lock"));
}

PictureSpill::~PictureSpill() = default;

std::optional<std::vector<PictureRecord>> PictureSpill::load() const {
  std::error_code error;
  if (!std::filesystem::exists(index_, error)) return std::nullopt;
  try {
    return parse_index(read_file(index_, kMaxIndex), bin_);
  } catch (const Error& problem) {
    log_warning(str(index_.string(), " is not used, as ", problem.what(), ": the pictures are read anew"));
    return std::nullopt;
  }
}

void PictureSpill::begin(int64_t bytes) {
  std::error_code error;
  if (lock_->held()) {  // what a killed run has left; nobody else writes while the lock is held
    const std::string prefix = bin_.filename().string() + ".";
    for (const auto& entry : std::filesystem::directory_iterator(bin_.parent_path(), error)) {
      const std::string name = entry.path().filename().string();
      std::error_code ignored;
      if (name.starts_with(prefix) && name.ends_with(".incomplete")) std::filesystem::remove(entry.path(), ignored);
    }
  }
  const auto space = std::filesystem::space(bin_.parent_path(), error);
  const auto needed = static_cast<uintmax_t>(bytes) + kSpareBytes;
  if (!error && space.available < needed) {
    throw FileError(str("the pictures of this data set take ", bytes >> 20, " MiB in ", bin_.parent_path().string(),
                        ", where ", space.available >> 20, " MiB are free"),
                    "free some disk space, or choose another folder for the cache");
  }
  writing_ = std::make_unique<Writing>(bin_);
}

void PictureSpill::add(PictureRecord record, std::string_view bytes) {
  writing_->bin.write(bytes.data(), bytes.size());
  record.file = bin_;
  record.offset = writing_->bytes;
  record.bytes = static_cast<int64_t>(bytes.size());
  writing_->bytes += record.bytes;
  writing_->records.push_back(std::move(record));
}

void PictureSpill::add(PictureRecord record) { writing_->records.push_back(std::move(record)); }

std::vector<PictureRecord> PictureSpill::commit() {
  const std::string index = index_text(writing_->records, bin_, writing_->bytes);
  // An index of older pictures must not meet the new ones.
  std::error_code ignored;
  std::filesystem::remove(index_, ignored);
  writing_->bin.commit();
  write_file_atomically(index_, index);
  auto records = std::move(writing_->records);
  writing_ = nullptr;
  return records;
}

}  // namespace lorikeet
