#include "io/pickle_value.h"

#include <array>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

template <class T>
const T& wanted(const PickleValue& value, std::string_view what, const char* expected) {
  if (const T* found = value.as<T>()) return *found;
  throw FormatError(str(what, " is ", value.kind(), "; expected ", expected));
}

}  // namespace

std::string PickleValue::kind() const {
  static constexpr std::array<const char*, std::variant_size_v<decltype(data)>> kNames{"None",
                                                                                       "True or False",
                                                                                       "an integer",
                                                                                       "a number",
                                                                                       "text",
                                                                                       "bytes",
                                                                                       "a list, tuple or set",
                                                                                       "a dict",
                                                                                       "a tensor",
                                                                                       "a name",
                                                                                       "a storage",
                                                                                       "a numpy type",
                                                                                       "an unfinished array"};
  return kNames.at(data.index());
}

int64_t PickleValue::integer(std::string_view what) const { return wanted<int64_t>(*this, what, "an integer"); }

double PickleValue::number(std::string_view what) const {
  if (const auto* whole = as<int64_t>()) return static_cast<double>(*whole);
  const auto* held = as<torch::Tensor>();
  if (held != nullptr && held->numel() == 1 && !held->is_complex()) return held->to(torch::kFloat64).item<double>();
  return wanted<double>(*this, what, "a number");
}

const std::string& PickleValue::text(std::string_view what) const { return wanted<std::string>(*this, what, "text"); }

const torch::Tensor& PickleValue::tensor(std::string_view what) const {
  return wanted<torch::Tensor>(*this, what, "a tensor");
}

const std::vector<PickleRef>& PickleValue::items(std::string_view what) const {
  return wanted<PickleSequence>(*this, what, "a list or tuple").items;
}

const PickleDict& PickleValue::dict(std::string_view what) const { return wanted<PickleDict>(*this, what, "a dict"); }

const PickleValue* PickleValue::find(std::string_view key) const {
  const auto* held = as<PickleDict>();
  if (held == nullptr) return nullptr;
  for (auto item = held->items.rbegin(); item != held->items.rend(); ++item) {
    const auto* name = item->first->as<std::string>();
    if (name != nullptr && *name == key) return item->second;
  }
  return nullptr;
}

}  // namespace lorikeet
