// Becomes liblorikeet_parquet.so, the only part that knows Arrow. Reads row group by row group and, within one, a few
// megabytes at a time; one page (at most a row group's column), packed and unpacked, is the largest thing held.
#include "io/parquet_plugin.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <memory>

namespace lorikeet {
namespace {

constexpr int64_t kBatchBytes = 8 << 20;
constexpr int64_t kMaxBatchRows = 1024;
constexpr int64_t kStreamBuffer = 1 << 20;
// A list in the footer (columns, row groups) longer than this is no picture data set.
constexpr int32_t kMaxFooterList = 100'000;

/// Memory that a file of so many bytes may take while it is read: pictures hardly compress, so a small file that asks
/// for a lot is damaged, or made to do harm.
int64_t memory_limit(int64_t file_bytes) {
  constexpr int64_t kLeast = int64_t{256} << 20, kMost = int64_t{6} << 30;
  return std::min(kMost, kLeast + 3 * std::min(file_bytes, kMost));
}

/// Arrow's own allocator where it is there: with glibc's, pages of 100 MB leave holes that cost up to ten times as
/// much.
arrow::MemoryPool* base_pool() {
  arrow::MemoryPool* pool = nullptr;
  return arrow::mimalloc_memory_pool(&pool).ok() ? pool : arrow::system_memory_pool();
}

void require(const arrow::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

template <class T>
T take(arrow::Result<T> result) {
  require(result.status());
  return std::move(result).ValueOrDie();
}

bool holds_bytes(const arrow::DataType& type) {
  return type.id() == arrow::Type::BINARY || type.id() == arrow::Type::LARGE_BINARY ||
         type.id() == arrow::Type::BINARY_VIEW;
}

bool holds_text(const arrow::DataType& type) {
  return type.id() == arrow::Type::STRING || type.id() == arrow::Type::LARGE_STRING ||
         type.id() == arrow::Type::STRING_VIEW;
}

bool holds_captions(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::FIXED_SIZE_LIST:
      return holds_text(*static_cast<const arrow::BaseListType&>(type).value_type());
    case arrow::Type::DICTIONARY:
      return holds_text(*static_cast<const arrow::DictionaryType&>(type).value_type());
    default:
      return holds_text(type);
  }
}

bool holds_pictures(const arrow::DataType& type) {
  if (type.id() != arrow::Type::STRUCT) return holds_bytes(type);
  const auto bytes = static_cast<const arrow::StructType&>(type).GetFieldByName("bytes");
  return bytes != nullptr && holds_bytes(*bytes->type());
}

/// The text or bytes at `row`, whichever of Arrow's layouts they have; nothing where null.
std::optional<std::string_view> view_at(const arrow::Array& array, int64_t row) {
  if (array.IsNull(row)) return std::nullopt;
  switch (array.type_id()) {
    case arrow::Type::BINARY:
    case arrow::Type::STRING:
      return static_cast<const arrow::BinaryArray&>(array).GetView(row);
    case arrow::Type::LARGE_BINARY:
    case arrow::Type::LARGE_STRING:
      return static_cast<const arrow::LargeBinaryArray&>(array).GetView(row);
    case arrow::Type::BINARY_VIEW:
    case arrow::Type::STRING_VIEW:
      return static_cast<const arrow::BinaryViewArray&>(array).GetView(row);
    case arrow::Type::DICTIONARY: {
      const auto& words = static_cast<const arrow::DictionaryArray&>(array);
      return view_at(*words.dictionary(), words.GetValueIndex(row));
    }
    default:
      throw std::runtime_error("unexpected " + array.type()->ToString());
  }
}

template <class List>
void list_at(const List& lists, int64_t row, ParquetRow& out) {
  const int64_t begin = lists.value_offset(row);
  for (int64_t i = 0; i < lists.value_length(row); ++i) {
    const auto text = view_at(*lists.values(), begin + i);
    out.has_null_caption = out.has_null_caption || !text;
    out.captions.push_back(text.value_or(""));
  }
}

void captions_at(const arrow::Array& array, int64_t row, ParquetRow& out) {
  if (array.IsNull(row)) return;
  if (array.type_id() == arrow::Type::LIST) {
    list_at(static_cast<const arrow::ListArray&>(array), row, out);
  } else if (array.type_id() == arrow::Type::LARGE_LIST) {
    list_at(static_cast<const arrow::LargeListArray&>(array), row, out);
  } else if (array.type_id() == arrow::Type::FIXED_SIZE_LIST) {
    list_at(static_cast<const arrow::FixedSizeListArray&>(array), row, out);
  } else if (const auto text = view_at(array, row)) {
    out.captions.push_back(*text);
  }
}

void collect_leaves(const parquet::arrow::SchemaField& field, std::vector<int>& leaves) {
  if (field.is_leaf()) leaves.push_back(field.column_index);
  for (const auto& child : field.children) collect_leaves(child, leaves);
}

class ArrowSource : public ParquetSource {
 public:
  explicit ArrowSource(const char* path) {
    auto file = take(arrow::io::ReadableFile::Open(path));
    pool_ = std::make_unique<arrow::CappedMemoryPool>(base_pool(), memory_limit(take(file->GetSize())));
    parquet::ReaderProperties reading(pool_.get());
    reading.enable_buffered_stream();
    reading.set_buffer_size(kStreamBuffer);
    reading.set_thrift_container_size_limit(kMaxFooterList);
    reading.set_page_checksum_verification(true);
    parquet::ArrowReaderProperties arrays(/*use_threads=*/false);
    arrays.set_pre_buffer(false);
    arrays.set_arrow_extensions_enabled(false);
    parquet::arrow::FileReaderBuilder builder;
    require(builder.Open(file, reading));
    builder.memory_pool(pool_.get())->properties(arrays);
    reader_ = take(builder.Build());
    metadata_ = reader_->parquet_reader()->metadata();
    check_rows();
    for (const auto& field : reader_->manifest().schema_fields) {
      const auto& type = *field.field->type();
      columns_.push_back({field.field->name(), type.ToString(), holds_pictures(type), holds_captions(type)});
    }
  }

  ~ArrowSource() override {
    forget_batch();
    batches_ = nullptr;
    reader_ = nullptr;
    pool_->ReleaseUnused();  // what comes next needs the memory
  }

  const std::vector<ParquetColumn>& columns() const noexcept override { return columns_; }
  int64_t rows() const noexcept override { return metadata_->num_rows(); }
  int64_t picture_bytes() const noexcept override { return picture_bytes_; }
  const std::string& problem() const noexcept override { return problem_; }

  bool select(size_t picture, size_t caption) noexcept override {
    return guarded([&] {
      choose(picture, caption);
      return true;
    });
  }

  Step next(ParquetRow& row) noexcept override {
    Step step = Step::kFailed;
    guarded([&] {
      step = advance() ? Step::kRow : Step::kEnd;
      if (step == Step::kRow) fill(row);
      return true;
    });
    return problem_.empty() ? step : Step::kFailed;
  }

 private:
  template <class Action>
  bool guarded(Action action) noexcept {
    try {
      return action();
    } catch (const std::exception& error) {
      problem_ = error.what();
    } catch (...) {
      problem_ = "unknown failure";
    }
    if (problem_.empty()) problem_ = "unknown failure";
    return false;
  }

  void check_rows() const {
    int64_t sum = 0;
    for (int group = 0; group < metadata_->num_row_groups(); ++group) {
      const int64_t rows = metadata_->RowGroup(group)->num_rows();
      if (rows < 0 || __builtin_add_overflow(sum, rows, &sum)) {
        throw std::runtime_error("row group " + std::to_string(group) + " has " + std::to_string(rows) + " rows");
      }
    }
    if (sum != metadata_->num_rows()) {
      throw std::runtime_error("its row groups have " + std::to_string(sum) + " rows in all; its footer says " +
                               std::to_string(metadata_->num_rows()));
    }
  }

  void choose(size_t picture, size_t caption) {
    const auto& fields = reader_->manifest().schema_fields;
    const auto& picture_field = fields.at(picture);
    picture_leaves_.clear();
    if (picture_field.is_leaf()) {
      picture_leaves_.push_back(picture_field.column_index);
    } else {
      for (const auto& child : picture_field.children) {  // whatever else the struct holds is not read
        const auto& name = child.field->name();
        if (name == "bytes" || (name == "path" && holds_text(*child.field->type())))
          collect_leaves(child, picture_leaves_);
      }
    }
    leaves_ = picture_leaves_;
    collect_leaves(fields.at(caption), leaves_);
    std::sort(leaves_.begin(), leaves_.end());
    picture_first_ = picture < caption;
    picture_bytes_ = 0;
    for (int group = 0; group < metadata_->num_row_groups(); ++group) {
      if (__builtin_add_overflow(picture_bytes_, group_bytes(group), &picture_bytes_)) {
        picture_bytes_ = std::numeric_limits<int64_t>::max();
      }
    }
  }

  int64_t group_bytes(int group) const {
    int64_t bytes = 0;
    const auto row_group = metadata_->RowGroup(group);
    for (const int leaf : picture_leaves_) {
      const int64_t part = row_group->ColumnChunk(leaf)->total_uncompressed_size();
      if (part < 0 || __builtin_add_overflow(bytes, part, &bytes)) {
        throw std::runtime_error("row group " + std::to_string(group) + " has pictures of " + std::to_string(part) +
                                 " bytes in all");
      }
    }
    return bytes;
  }

  /// Goes to the next row; false after the last one.
  bool advance() {
    ++row_in_batch_;
    ++index_;
    while (batch_ == nullptr || row_in_batch_ >= batch_->num_rows()) {
      forget_batch();
      row_in_batch_ = 0;
      if (batches_ == nullptr && !open_group()) return false;
      require(batches_->ReadNext(&batch_));
      if (batch_ == nullptr) {
        close_group();
      } else {
        take_batch();
      }
    }
    return true;
  }

  void forget_batch() {
    pictures_ = captions_ = bytes_ = paths_ = nullptr;
    batch_ = nullptr;
  }

  bool open_group() {
    if (++group_ >= metadata_->num_row_groups()) return false;
    const int64_t rows = std::max<int64_t>(metadata_->RowGroup(group_)->num_rows(), 1);
    const int64_t row_bytes = std::max<int64_t>(group_bytes(group_) / rows, 1);
    reader_->set_batch_size(std::clamp<int64_t>(kBatchBytes / row_bytes, 1, kMaxBatchRows));
    batches_ = take(reader_->GetRecordBatchReader({group_}, leaves_));
    rows_in_group_ = 0;
    return true;
  }

  void close_group() {
    const int64_t expected = metadata_->RowGroup(group_)->num_rows();
    if (rows_in_group_ != expected) {
      throw std::runtime_error("row group " + std::to_string(group_) + " holds " + std::to_string(rows_in_group_) +
                               " rows; its header says " + std::to_string(expected));
    }
    batches_ = nullptr;
  }

  void take_batch() {
    require(batch_->ValidateFull());
    if (batch_->num_columns() != 2) throw std::runtime_error("its columns cannot be told apart");
    rows_in_group_ += batch_->num_rows();
    pictures_ = batch_->column(picture_first_ ? 0 : 1);
    captions_ = batch_->column(picture_first_ ? 1 : 0);
    bytes_ = pictures_;
    if (pictures_->type_id() == arrow::Type::STRUCT) {
      const auto& fields = static_cast<const arrow::StructArray&>(*pictures_);
      bytes_ = fields.GetFieldByName("bytes");
      paths_ = fields.GetFieldByName("path");
    }
    if (bytes_ == nullptr) throw std::runtime_error("its pictures have no bytes");
  }

  void fill(ParquetRow& row) const {
    row.index = index_;
    row.picture = std::nullopt;
    row.path = {};
    row.captions.clear();
    row.has_null_caption = false;
    if (!pictures_->IsNull(row_in_batch_)) {
      row.picture = view_at(*bytes_, row_in_batch_);
      if (paths_ != nullptr) row.path = view_at(*paths_, row_in_batch_).value_or("");
    }
    captions_at(*captions_, row_in_batch_, row);
  }

  // Freed in reverse: what was allocated goes before the pool it came from.
  std::unique_ptr<arrow::CappedMemoryPool> pool_;
  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::shared_ptr<parquet::FileMetaData> metadata_;
  std::vector<ParquetColumn> columns_;
  std::string problem_;
  std::vector<int> leaves_, picture_leaves_;
  bool picture_first_ = true;
  int64_t picture_bytes_ = 0;

  std::unique_ptr<arrow::RecordBatchReader> batches_;  // of row group `group_`
  int group_ = -1;
  int64_t rows_in_group_ = 0;
  std::shared_ptr<arrow::RecordBatch> batch_;
  std::shared_ptr<arrow::Array> pictures_, bytes_, paths_, captions_;
  int64_t row_in_batch_ = -1;
  int64_t index_ = -1;
};

}  // namespace
}  // namespace lorikeet

extern "C" __attribute__((visibility("default"))) lorikeet::ParquetSource* lorikeet_parquet_open_1(
    const char* path, std::string& problem) noexcept {
  try {
    return new lorikeet::ArrowSource(path);
  } catch (const std::exception& error) {
    problem = error.what();
  } catch (...) {
    problem = "unknown failure";
  }
  return nullptr;
}
