#include "cli/preflight_text.h"

#include <algorithm>
#include <sstream>

#include "cli/numbers.h"

namespace lorikeet {
namespace {

constexpr size_t kMostLines = 20;  // of one kind

std::string counted(int64_t count, const char* one, const char* several) {
  return grouped(count) + " " + (count == 1 ? one : several);
}

/// What a name says on a terminal must stay on its line.
std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7F; }, '?');
  return text;
}

void tell_names(std::ostringstream& out, const NameList& list) {
  const size_t named = std::min(list.names.size(), kMostLines);
  for (size_t i = 0; i < named; ++i) out << "  " << one_line(list.names[i]) << "\n";
  if (list.count > static_cast<int64_t>(named)) {
    out << "  and " << grouped(list.count - static_cast<int64_t>(named)) << " more\n";
  }
}

void tell(std::ostringstream& out, const NameList& list, const char* one, const char* several,
          const std::string& meaning) {
  if (list.count == 0) return;
  out << counted(list.count, one, several) << meaning << ":\n";
  tell_names(out, list);
}

void tell_pictures(std::ostringstream& out, const PreflightReport& report) {
  out << "Pictures: " << grouped(report.pictures);
  if (report.per_epoch != report.pictures) out << ", " << grouped(report.per_epoch) << " an epoch with their repeats";
  if (report.measured > 0) {
    out << "; from " << report.smallest_width << " x " << report.smallest_height << " to " << report.largest_width
        << " x " << report.largest_height << " pixels";
  }
  if (report.masks > 0) out << "; " << grouped(report.masks) << " with a mask";
  out << (report.decoded ? "; all decoded\n" : "; headers read\n");
}

void tell_captions(std::ostringstream& out, const PreflightReport& report) {
  const CaptionStatistics& captions = report.captions;
  out << "Captions: " << grouped(captions.count) << ", " << grouped(captions.distinct) << " of them distinct; "
      << grouped(captions.shortest) << " to " << grouped(captions.longest) << " characters";
  if (captions.empty > 0) out << "; " << grouped(captions.empty) << " empty";
  if (report.counted_tokens && captions.cut_off.count == 0)
    out << "; none longer than " << report.most_tokens << " tokens";
  out << "\n";
}

NameList skipped_names(const std::vector<SkippedFile>& skipped) {
  NameList list;
  for (const auto& file : skipped) list.add(file.name + ": " + file.reason);
  return list;
}

}  // namespace

std::string preflight_text(const PictureDataset& dataset, const PreflightReport& report) {
  std::ostringstream out;
  out << "Data set: " << dataset.kind << "\n";
  tell_pictures(out, report);
  tell_captions(out, report);
  tell(out, report.unreadable, "picture", "pictures", " cannot be read");
  tell(out, report.too_small, "picture", "pictures",
       " with a side shorter than the resolution, " + std::to_string(report.resolution) + ", to be enlarged");
  tell(out, report.extreme_shapes, "picture", "pictures", " so long or wide that most of it is cut off");
  tell(out, report.duplicates, "picture", "pictures", " with the same bytes as an earlier one");
  tell(out, report.bad_masks, "mask", "masks", " of no use");
  tell(out, report.captions.cut_off, "caption", "captions",
       " cut off behind " + std::to_string(report.most_tokens) + " tokens");
  tell(out, skipped_names(dataset.skipped), "file", "files", " not part of the data set");
  if (report.stopped) out << "The look was stopped early: there may be more to tell.\n";
  return out.str();
}

}  // namespace lorikeet
