// The files under tests/data/torch_files, and what is in them, are made by tools/reference/torch_files.py.
#include "io/torch_file.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "io/file_test_support.h"
#include "io/torch_file_test_support.h"

namespace lorikeet {
namespace {

const std::filesystem::path kFiles = "tests/data/torch_files";

nlohmann::json expected() { return nlohmann::json::parse(read_file(kFiles / "expected.json")); }

const PickleValue& at(const PickleValue& value, const std::string& key) {
  const PickleValue* found = value.find(key);
  if (found == nullptr) throw std::out_of_range(key);
  return *found;
}

/// "[1, [2, []]]": how a value looks, where it is made of sequences of numbers and texts.
std::string look(const PickleValue& value) {
  if (const auto* number = value.as<int64_t>()) return std::to_string(*number);
  if (const auto* text = value.as<std::string>()) return *text;
  std::string all;
  if (const auto* dict = value.as<PickleDict>()) {
    for (const auto& [key, item] : dict->items) all += (all.empty() ? "" : ", ") + look(*key) + ": " + look(*item);
    return "{" + all + "}";
  }
  for (const auto* item : value.items("a value")) all += (all.empty() ? "" : ", ") + look(*item);
  return "[" + all + "]";
}

/// All tensors within a value, in order.
void collect(const PickleValue& value, std::vector<torch::Tensor>& all) {
  if (const auto* tensor = value.as<torch::Tensor>()) all.push_back(*tensor);
  if (const auto* dict = value.as<PickleDict>()) {
    for (const auto& [key, item] : dict->items) collect(*item, all);
  }
  if (const auto* list = value.as<PickleSequence>()) {
    for (const auto* item : list->items) collect(*item, all);
  }
}

/// Whether the memory at `address` is a part of a file of this name.
bool is_mapped(const void* address, const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    const auto at = reinterpret_cast<uintptr_t>(address);
    if (std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) != 2 || at < begin || at >= end) continue;
    return line.ends_with("/" + name);
  }
  return false;
}

TEST(TorchFileMapped, TensorsAreTheSameAndLieInTheFileWhereTheyAreNotPacked) {
  for (const std::string name : {"values.pt", "values-deflated.pt"}) {
    SCOPED_TRACE(name);
    std::vector<torch::Tensor> read, mapped;
    collect(TorchFile(kFiles / name).root(), read);
    collect(TorchFile(kFiles / name, TorchStorages::kMapped).root(), mapped);  // they outlive the file
    ASSERT_EQ(read.size(), mapped.size());
    size_t in_file = 0;
    for (size_t i = 0; i < read.size(); ++i) {
      EXPECT_TRUE(torch::equal(read[i], mapped[i])) << i;
      EXPECT_FALSE(read[i].numel() > 0 && is_mapped(read[i].data_ptr(), name)) << i;
      in_file += mapped[i].numel() > 0 && is_mapped(mapped[i].data_ptr(), name) ? 1 : 0;
    }
    EXPECT_EQ(in_file > read.size() / 2, name == "values.pt") << in_file << " of " << read.size();
  }
}

class TorchFileValues : public testing::TestWithParam<const char*> {};

TEST_P(TorchFileValues, PlainOnesAreWhatPythonWrote) {
  const TorchFile file(kFiles / GetParam());
  const auto& root = file.root();
  EXPECT_TRUE(at(root, "none").is_none());
  EXPECT_EQ(*at(root, "yes").as<bool>(), true);
  EXPECT_EQ(*at(root, "no").as<bool>(), false);
  EXPECT_EQ(at(root, "int").integer(""), -3);
  EXPECT_EQ(at(root, "big").integer(""), (int64_t{1} << 62) + 1);
  EXPECT_EQ(at(root, "small").integer(""), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(at(root, "float").number(""), 0.1);
  EXPECT_EQ(at(root, "inf").number(""), std::numeric_limits<double>::infinity());
  EXPECT_EQ(at(root, "text").text(""), "ünï 🦜");
  EXPECT_EQ(at(root, "long text").text(""), std::string(300, 'x'));
  EXPECT_EQ(at(root, "bytes").as<PickleBytes>()->bytes, std::string("\0\xff\x80"
                                                                    "a",
                                                                    4));
  EXPECT_EQ(at(root, "no bytes").as<PickleBytes>()->bytes, "");
  EXPECT_EQ(look(at(root, "list")), "[1, [2, []], [3, 4, 5, 6]]");
  EXPECT_EQ(look(at(root, "tuples")), "[[], [1], [1, 2], [1, 2, 3]]");
  EXPECT_EQ(look(at(root, "set")), "[1, 2, 3]");
  EXPECT_EQ(look(at(root, "ordered")), "{b: 1, a: 2}");
  EXPECT_EQ(look(at(root, "default")), "{k: {v: 1}}");
  EXPECT_EQ(look(at(root, "size")), "[2, 3]");
  EXPECT_EQ(at(root, "device").text(""), "cuda:1");
  EXPECT_EQ(at(root, "np float").number(""), 0.25);
  EXPECT_EQ(at(root, "np int").integer(""), -9);
  EXPECT_EQ(*at(root, "np bool").as<bool>(), true);
  const auto& shared = at(root, "shared").items("");
  EXPECT_EQ(shared[0], shared[1]);
  EXPECT_EQ(root.find("missing"), nullptr);
}

TEST_P(TorchFileValues, TensorsAndArraysAreWhatPythonWrote) {
  const TorchFile file(kFiles / GetParam());
  const auto wanted = expected();
  EXPECT_EQ(wanted["tensors"].size(), 17U);
  for (const auto& [name, tensor] : wanted["tensors"].items()) {
    SCOPED_TRACE(name);
    auto found = at(file.root(), name).tensor(name);
    EXPECT_EQ(found.sizes().vec(), tensor["shape"].get<std::vector<int64_t>>());
    if (found.is_complex()) found = torch::view_as_real(found);
    const auto flat = found.to(torch::kFloat64).reshape(-1);
    ASSERT_EQ(static_cast<size_t>(flat.numel()), tensor["values"].size());
    for (int64_t i = 0; i < flat.numel(); ++i) {
      EXPECT_EQ(flat[i].item<double>(), tensor["values"][static_cast<size_t>(i)].get<double>());
    }
  }
  EXPECT_EQ(at(file.root(), "brains").tensor("").scalar_type(), torch::kBFloat16);
  EXPECT_EQ(at(file.root(), "words").tensor("").scalar_type(), torch::kUInt32);
  EXPECT_EQ(at(file.root(), "eights").tensor("").scalar_type(), torch::kFloat8_e4m3fn);
  EXPECT_EQ(at(file.root(), "bools").tensor("").scalar_type(), torch::kBool);
  EXPECT_EQ(at(file.root(), "big endian").tensor("").scalar_type(), torch::kUInt32);
}

INSTANTIATE_TEST_SUITE_P(TorchFile, TorchFileValues, testing::Values("values.pt", "values-deflated.pt"));

TEST(TorchFile, TensorsOutliveTheFile) {
  torch::Tensor view;
  {
    const TorchFile file(kFiles / "values.pt");
    view = at(file.root(), "view").tensor("");
  }
  EXPECT_EQ(view.sum().item<float>(), 8.25F);
}

TEST(TorchFile, RefusesWhatIsNoSuchFile) {
  TestFolder folder;
  expect_error<FileError>("No such file", [&] { TorchFile(folder.path() / "gone"); });
  expect_error<FileError>("no regular file", [&] { TorchFile(folder.path()); });
  EXPECT_NE(expect_error<FormatError>("it is no zip file", [&] { TorchFile(kFiles / "legacy.pt"); }).find("before 1.6"),
            std::string::npos);
  expect_error<FormatError>("it is no zip file", [&] { TorchFile(folder.write("x", "")); });
  expect_error<FormatError>("it has no data.pkl", [&] { TorchFile(folder.write("x", zip_bytes({{"a/b", "c"}}))); });
  expect_error<FormatError>("its bytes are in big order", [&] {
    TorchFile(folder.write("x", zip_bytes({{"a/data.pkl", "\x80\x02N."}, {"a/byteorder", "big"}})));
  });
}

struct Refused {
  const char* what;
  std::string pickle;
};

class TorchFileRefuses : public testing::TestWithParam<Refused> {};

TEST_P(TorchFileRefuses, WhatIsMoreThanData) {
  TestFolder folder;
  const auto path = folder.write("x.bin", torch_bytes(GetParam().pickle, {std::string(16, '\0')}));
  const auto hint = expect_error<FormatError>(path.string() + ": ", [&] { TorchFile file(path); });
  expect_error<FormatError>(GetParam().what, [&] { TorchFile file(path); });
}

const std::string kCall = pickled("echo") + "\x85R";

INSTANTIATE_TEST_SUITE_P(
    TorchFile, TorchFileRefuses,
    testing::Values(
        Refused{"the pickle wants to call os.system, which is refused", global_of("os", "system") + kCall},
        Refused{"the pickle wants to call builtins.eval, which is refused",
                pickled("builtins") + pickled("eval") + "\x93" + kCall},
        Refused{"the pickle wants to call torch.load, which is refused", global_of("torch", "load") + kCall},
        Refused{"the pickle wants to call torch._utils._rebuild_tensor_v2.x, which",
                global_of("torch._utils", "_rebuild_tensor_v2.x")},
        Refused{"the pickle wants to call a?b., which", global_of("a\x01"
                                                                  "b",
                                                                  "")},
        Refused{"the pickle wants to call __builtin__.dict, which is refused", global_of("builtins", "dict") + kCall},
        Refused{"the pickle wants to call torch.FloatStorage", global_of("torch", "FloatStorage") + kCall},
        Refused{"the pickle wants to call text, which is refused", pickled("x") + kCall},
        Refused{"calls with an integer; expected a tuple", global_of("torch", "Size") + pickled(1) + "R"},
        Refused{"set the state of a list, tuple or set", "]}b"},
        Refused{"set the state of a name", global_of("torch", "Size") + "}b"},
        Refused{"make an object of a class", "(ios\nsystem\n"}, Refused{"make an object of a class", "(o"},
        Refused{"make an object of a class", global_of("torch", "Size") + ")\x81"},
        Refused{"make an object of a class", global_of("torch", "Size") + ")}\x92"},
        Refused{"extension code", "\x82\x01"}, Refused{"extension code", std::string("\x84\1\0\0\0", 5)},
        Refused{"the operation 80, which is not known", "P1\n"}, Refused{"the operation 73, which", "I1\n"},
        Refused{"encode text otherwise than as latin1",
                global_of("_codecs", "encode") + pickled("x") + pickled("zip") + "\x86R"},
        Refused{"bytes beyond latin1", global_of("_codecs", "encode") + pickled("€") + pickled("latin1") + "\x86R"},
        Refused{"text that is not UTF-8", pickled("\xff")}, Refused{"text that is not UTF-8", pickled("\xed\xa0")},
        Refused{"the pickle is cut short", "X" + little(1000, 4) + "x"},
        Refused{"the pickle is cut short", "\x8d" + little(~0ULL, 8)},
        Refused{"the pickle is cut short",
                "N"  // the end is eaten
                "K"},
        Refused{"takes more from its stack", "0"}, Refused{"takes more from its stack", "N(0"},
        Refused{"no mark where one is needed", "Nt"}, Refused{"a key without a value", "}(Nu"},
        Refused{"sets items of None", "N(NNu"}, Refused{"appends to a dict", "}Na"},
        Refused{"value 7, which it did not keep", "h\x07"},
        Refused{"an integer of 9 bytes; at most 8", "\x8a\x09" + std::string(9, 'x')},
        Refused{"of protocol 1; expected 2 to 5", "\x80\x01N"},
        Refused{"names None and text; expected text", "N" + pickled("x") + "\x93"},
        Refused{"outside that is no storage", "NQ"}, Refused{"outside that is no storage", "(NNNNNtQ"},
        Refused{"there is no storage 9", storage_of("FloatStorage", "9", 4)},
        Refused{"there is no storage ../0", storage_of("FloatStorage", "../0", 4)},
        Refused{"storage 0 has 16 bytes; its pickle says 20", storage_of("FloatStorage", "0", 5)},
        Refused{"a storage has -1 elements", storage_of("FloatStorage", "0", -1)},
        Refused{"a storage's class is none", storage_of("Size", "0", 16)},
        Refused{"a tensor has 5 elements, its storage 4", tensor_of(4, 0, 5, 1)},
        Refused{"a tensor has 2147483647 elements, its storage 4", tensor_of(4, 0, 2147483647, 0)},
        Refused{"a tensor reaches out of its storage", tensor_of(4, 1, 4, 1)},
        Refused{"a tensor reaches out of its storage", tensor_of(4, 0, 3, 2)},
        Refused{"a tensor reaches out of its storage", tensor_of(4, 4, 1, 1)},
        Refused{"place in its storage is no number", tensor_of(4, -1, 1, 1)},
        Refused{"entry that is no size", tensor_of(4, 0, 1, -1)},
        Refused{"a tensor without a storage", global_of("torch._utils", "_rebuild_tensor_v2") + ")R"},
        Refused{"a parameter is no tensor", global_of("torch._utils", "_rebuild_parameter") + kCall},
        Refused{"a numpy type has no code", global_of("numpy", "dtype") + ")R"},
        Refused{"the numpy type 'O8' is not read here", global_of("numpy", "dtype") + pickled("O8") + "\x85R"},
        Refused{"an array of another class", global_of("numpy.core.multiarray", "_reconstruct") + kCall},
        Refused{"an array's state is no tuple of 5",
                global_of("numpy._core.multiarray", "_reconstruct") + global_of("numpy", "ndarray") + "\x85R)b"}));

TEST(TorchFile, CostsNoMoreThanItIsWorth) {
  TestFolder folder;
  // A list that is copied into a set, again and again.
  std::string copies = "](";
  for (int i = 0; i < 10'000; ++i) copies += "N";
  copies += "eq\1";
  for (int i = 0; i < 10'000; ++i) copies += global_of("builtins", "set") + "h\1\x85R0";
  expect_error<FormatError>("unpacks to more than 64 MiB", [&] { TorchFile(folder.write("x", torch_bytes(copies))); });
  // The same tensor, again and again.
  std::string again = global_of("torch._utils", "_rebuild_tensor_v2") + "q\1(" + storage_of("FloatStorage", "0", 1) +
                      "K" + std::string(1, '\0') + "K\1\x85K\1\x85\x89tq\2";
  for (int i = 0; i < 110'000; ++i) again += "h\1h\2R0";
  expect_error<FormatError>("unpacks to more than 64 MiB",
                            [&] { TorchFile(folder.write("x", torch_bytes(again, {std::string(4, '\0')}))); });
  expect_error<FormatError>("more than 1,000,000 values",
                            [&] { TorchFile(folder.write("x", torch_bytes(std::string(3'000'000, ')')))); });
  expect_error<FormatError>("more than 1,000,000 places",
                            [&] { TorchFile(folder.write("x", torch_bytes(std::string(5'000'000, '(')))); });
  expect_error<FormatError>("has 33554435 bytes; at most 33554432",
                            [&] { TorchFile(folder.write("x", torch_bytes(std::string(kMaxPickleBytes, 'N')))); });
}

TEST(TorchFile, NestingNeitherOverflowsNorHangs) {
  TestFolder folder;
  std::string deep = "]";
  for (int i = 0; i < 900'000; ++i) deep += "\x85";  // a tuple in a tuple in a tuple
  EXPECT_EQ(TorchFile(folder.write("deep", torch_bytes(deep))).root().items("").size(), 1U);
  const auto itself = TorchFile(folder.write("itself", torch_bytes("]q\1h\1a")));
  EXPECT_EQ(itself.root().items("")[0], &itself.root());
  std::string laughs = "]q\1";
  for (int i = 0; i < 1000; ++i) laughs += "h\1h\1\x86q\1";  // 2^1000 elements, were it a tree
  EXPECT_EQ(TorchFile(folder.write("laughs", torch_bytes(laughs))).root().items("").size(), 2U);
}

TEST(TorchFile, ValuesOfAnotherKindAreTold) {
  TestFolder folder;
  const auto file = TorchFile(folder.write("x", torch_bytes("}(" + pickled("a") + pickled("b") + "u")));
  const auto& value = at(file.root(), "a");
  expect_error<FormatError>("the step is text; expected an integer", [&] { value.integer("the step"); });
  expect_error<FormatError>("is text; expected a number", [&] { value.number("x"); });
  expect_error<FormatError>("is text; expected a tensor", [&] { value.tensor("x"); });
  expect_error<FormatError>("is text; expected a list", [&] { value.items("x"); });
  expect_error<FormatError>("is text; expected a dict", [&] { value.dict("x"); });
  expect_error<FormatError>("is a dict; expected text", [&] { file.root().text("x"); });
  EXPECT_EQ(value.find("a"), nullptr);
}

}  // namespace
}  // namespace lorikeet
