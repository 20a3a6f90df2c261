#include "io/pickle_reader.h"

#include <bit>
#include <cstring>
#include <unordered_map>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length == 0 || length > text.size() - i) return false;
    for (size_t j = 1; j < length; ++j) {
      if ((static_cast<unsigned char>(text[i + j]) & 0xc0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

/// Python's stack machine. A loop, not a recursion: nesting costs stack entries, which are bounded by the pickle's
/// length.
class Machine {
 public:
  Machine(std::string_view bytes, PickleHeap& heap) : rest_(bytes), heap_(heap) {}

  PickleRef run() {
    if (rest_.size() < 2 || rest_[0] != '\x80') heap_.fail("it does not begin as a pickle does");
    while (true) {
      const auto code = static_cast<unsigned char>(take(1)[0]);
      if (code == '.') return pop();
      if (!scalar(code) && !container(code) && !object(code)) refuse(code);
    }
  }

 private:
  [[noreturn]] void refuse(unsigned char code) const {
    switch (code) {
      case 'i':
      case 'o':
      case 0x81:
      case 0x92:
        heap_.fail("the pickle wants to make an object of a class, which is refused");
      case 0x82:
      case 0x83:
      case 0x84:
        heap_.fail("the pickle wants to use an extension code, which is refused");
      default:
        heap_.fail(str("the pickle has the operation ", static_cast<int>(code), ", which is not known here"));
    }
  }

  std::string_view take(size_t count) {
    if (count > rest_.size()) heap_.fail("the pickle is cut short");
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  /// A little-endian number of 1 to 8 bytes, not negative.
  uint64_t number(size_t bytes) {
    const std::string_view text = take(bytes);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i) value |= uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
    return value;
  }
  std::string_view sized(size_t length_bytes) { return take(number(length_bytes)); }
  std::string_view line() {
    const size_t end = rest_.find('\n');
    if (end == std::string_view::npos) heap_.fail("the pickle is cut short");
    const std::string_view text = take(end);
    take(1);
    return text;
  }

  /// What holds places, but is no value: bounded as values are.
  void check_room(size_t used) const {
    if (used >= PickleHeap::kMaxValues) heap_.fail("the pickle uses more than 1,000,000 places at once");
  }
  void push(PickleRef value) {
    check_room(stack_.size());
    stack_.push_back(value);
  }
  void mark() {
    check_room(marks_.size());
    marks_.push_back(stack_.size());
  }
  PickleRef pop() {
    const size_t floor = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() <= floor) heap_.fail("the pickle takes more from its stack than is there");
    const PickleRef value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleRef top() {
    const PickleRef value = pop();
    push(value);
    return value;
  }
  /// Everything since the last mark, which goes.
  std::vector<PickleRef> pop_to_mark() {
    if (marks_.empty()) heap_.fail("the pickle has no mark where one is needed");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleRef> values(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return values;
  }

  void push_text(std::string_view text) {
    // Python's surrogatepass leaves halves of pairs behind; no key or name needs them.
    if (!is_utf8(text)) heap_.fail("the pickle holds text that is not UTF-8");
    push(heap_.make(std::string(text)));
  }
  void push_bytes(std::string_view bytes) { push(heap_.make(PickleBytes{std::string(bytes)})); }
  void push_long(std::string_view digits) {
    if (digits.size() > 8)
      heap_.fail(str("the pickle holds an integer of ", digits.size(), " bytes; at most 8 expected"));
    uint64_t value = !digits.empty() && (digits.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
    for (size_t i = 0; i < digits.size(); ++i) {
      value &= ~(uint64_t{0xff} << (8 * i));
      value |= uint64_t{static_cast<unsigned char>(digits[i])} << (8 * i);
    }
    push(heap_.make(static_cast<int64_t>(value)));
  }
  void push_double() {
    uint64_t bits = 0;
    for (const char byte : take(8)) bits = bits << 8 | static_cast<unsigned char>(byte);
    push(heap_.make(std::bit_cast<double>(bits)));
  }

  bool scalar(unsigned char code) {
    switch (code) {
      case 'N':
        return push(heap_.make(std::monostate{})), true;
      case 0x88:
      case 0x89:
        return push(heap_.make(code == 0x88)), true;
      case 'K':
        return push(heap_.make(static_cast<int64_t>(number(1)))), true;
      case 'M':
        return push(heap_.make(static_cast<int64_t>(number(2)))), true;
      case 'J':
        return push(heap_.make(int64_t{static_cast<int32_t>(number(4))})), true;
      case 0x8a:
        return push_long(sized(1)), true;
      case 0x8b:
        return push_long(sized(4)), true;
      case 'G':
        return push_double(), true;
      case 0x8c:
        return push_text(sized(1)), true;
      case 'X':
        return push_text(sized(4)), true;
      case 0x8d:
        return push_text(sized(8)), true;
      case 'C':
        return push_bytes(sized(1)), true;
      case 'B':
        return push_bytes(sized(4)), true;
      case 0x8e:
      case 0x96:
        return push_bytes(sized(8)), true;
      default:
        return false;
    }
  }

  void push_sequence(std::vector<PickleRef> items) { push(heap_.make(PickleSequence{std::move(items)})); }
  void push_tuple(size_t count) {
    std::vector<PickleRef> items(count);
    for (size_t i = count; i > 0; --i) items[i - 1] = pop();
    push_sequence(std::move(items));
  }
  void append(const std::vector<PickleRef>& values) {
    auto* list = top()->as<PickleSequence>();
    if (list == nullptr) heap_.fail(str("the pickle appends to ", top()->kind(), "; expected a list"));
    list->items.insert(list->items.end(), values.begin(), values.end());
  }
  void set_items(const std::vector<PickleRef>& values) {
    auto* dict = top()->as<PickleDict>();
    if (dict == nullptr) heap_.fail(str("the pickle sets items of ", top()->kind(), "; expected a dict"));
    if (values.size() % 2 != 0) heap_.fail("the pickle has a key without a value");
    for (size_t i = 0; i < values.size(); i += 2) dict->items.emplace_back(values[i], values[i + 1]);
  }
  void push_dict(const std::vector<PickleRef>& values) {
    push(heap_.make(PickleDict{}));
    set_items(values);
  }

  bool container(unsigned char code) {
    switch (code) {
      case '(':
        return mark(), true;
      case ')':
      case ']':
      case 0x8f:
        return push_sequence({}), true;
      case '}':
        return push(heap_.make(PickleDict{})), true;
      case 't':
      case 'l':
      case 0x91:
        return push_sequence(pop_to_mark()), true;
      case 0x85:
      case 0x86:
      case 0x87:
        return push_tuple(code - size_t{0x84}), true;
      case 'd':
        return push_dict(pop_to_mark()), true;
      case 'a': {
        const PickleRef value = pop();
        return append({value}), true;
      }
      case 'e':
      case 0x90: {
        const auto values = pop_to_mark();
        return append(values), true;
      }
      case 's': {
        const PickleRef value = pop(), key = pop();
        return set_items({key, value}), true;
      }
      case 'u': {
        const auto values = pop_to_mark();
        return set_items(values), true;
      }
      default:
        return false;
    }
  }

  void put(uint64_t index) {
    check_room(memo_.size());
    memo_[index] = top();
  }
  void get(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) heap_.fail(str("the pickle asks for value ", index, ", which it did not keep"));
    push(found->second);
  }
  void stack_global() {
    const PickleRef name = pop(), module = pop();
    if (name->as<std::string>() == nullptr || module->as<std::string>() == nullptr) {
      heap_.fail(str("the pickle names ", module->kind(), " and ", name->kind(), "; expected text"));
    }
    push(pickle_global(heap_, *module->as<std::string>(), *name->as<std::string>()));
  }
  void global() {
    const std::string_view module = line(), name = line();
    push(pickle_global(heap_, module, name));
  }
  void reduce() {
    const PickleRef arguments = pop(), callable = pop();
    push(pickle_call(heap_, *callable, *arguments));
  }

  bool object(unsigned char code) {
    switch (code) {
      case 0x80:
        if (const auto protocol = number(1); protocol < 2 || protocol > 5) {
          heap_.fail(str("the pickle is of protocol ", protocol, "; expected 2 to 5"));
        }
        return true;
      case 0x95:
        return take(8), true;  // a frame's length: only a hint
      case '0':
        return pop(), true;
      case '1':
        return pop_to_mark(), true;
      case '2':
        return push(top()), true;
      case 'q':
        return put(number(1)), true;
      case 'r':
        return put(number(4)), true;
      case 0x94:
        return put(memo_.size()), true;
      case 'h':
        return get(number(1)), true;
      case 'j':
        return get(number(4)), true;
      case 'c':
        return global(), true;
      case 0x93:
        return stack_global(), true;
      case 'R':
        return reduce(), true;
      case 'b': {
        const PickleRef state = pop();
        return pickle_set_state(heap_, *top(), *state), true;
      }
      case 'Q':
        return push(pickle_storage(heap_, *pop())), true;
      default:
        return false;
    }
  }

  std::string_view rest_;
  PickleHeap& heap_;
  std::vector<PickleRef> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleRef> memo_;  // indices are the pickle's choice
};

}  // namespace

PickleDocument read_pickle(std::string_view bytes, const std::string& file, PickleStorageLoader load) {
  PickleDocument document{std::make_shared<PickleHeap>(file, std::move(load))};
  if (bytes.size() > kMaxPickleBytes) {
    document.heap->fail(str("its pickle has ", bytes.size(), " bytes; at most ", kMaxPickleBytes, " expected"));
  }
  document.root = Machine(bytes, *document.heap).run();
  document.heap->close();
  return document;
}

}  // namespace lorikeet
