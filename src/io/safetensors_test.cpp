#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/text.h"
#include "io/file_test_support.h"
#include "io/safetensors_header.h"

namespace lorikeet {
namespace {

const char* const kReference = "tests/data/reference.safetensors";
const char* const kOddName = "quote \" backslash \\ tab \t bell \x07 delete \x7f é 🙂";

const std::vector<std::pair<std::string, torch::ScalarType>> kDtypes{
    {"bool", torch::kBool},
    {"uint8", torch::kUInt8},
    {"int8", torch::kInt8},
    {"float8_e5m2", torch::kFloat8_e5m2},
    {"float8_e4m3fn", torch::kFloat8_e4m3fn},
    {"float8_e8m0fnu", torch::kFloat8_e8m0fnu},
    {"float8_e4m3fnuz", torch::kFloat8_e4m3fnuz},
    {"float8_e5m2fnuz", torch::kFloat8_e5m2fnuz},
    {"int16", torch::kInt16},
    {"uint16", torch::kUInt16},
    {"float16", torch::kFloat16},
    {"bfloat16", torch::kBFloat16},
    {"int32", torch::kInt32},
    {"uint32", torch::kUInt32},
    {"float32", torch::kFloat32},
    {"complex64", torch::kComplexFloat},
    {"float64", torch::kFloat64},
    {"int64", torch::kInt64},
    {"uint64", torch::kUInt64},
};

/// What tools/reference/safetensors_file.py saves, in another order and with one tensor not contiguous.
NamedTensors reference_tensors() {
  const auto numbers = torch::arange(6, torch::kFloat32).reshape({2, 3});
  NamedTensors tensors{
      {"transposed", numbers.t()},
      {"Z before a", torch::tensor({INFINITY, NAN})},
      {kOddName, torch::tensor({1.0F, -1.0F})},
      {"odd length", torch::tensor({1, 2, 3}, torch::kUInt8)},
      {"empty", torch::zeros({0, 4})},
      {"a scalar", torch::tensor(2.5F)},
  };
  for (const auto& [name, type] : kDtypes) tensors.emplace_back(name + ".weight", numbers.to(type));
  return tensors;
}

SafetensorsFile open_bytes(const TestFolder& folder, const std::string& header, const std::string& data) {
  return SafetensorsFile::open(folder.write("x.safetensors", safetensors_bytes(header, data)));
}

void expect_refused(const std::string& header, size_t data_bytes, const std::string& part) {
  SCOPED_TRACE(header.substr(0, 300));
  TestFolder folder;
  expect_error<FormatError>(part, [&] { open_bytes(folder, header, std::string(data_bytes, '\0')); });
}

TEST(Safetensors, AreWrittenByteForByteAsThePythonLibraryDoes) {
  TestFolder folder;
  write_safetensors(folder.path() / "x.safetensors", reference_tensors());
  EXPECT_EQ(read_file(folder.path() / "x.safetensors"), read_file(kReference));
}

TEST(Safetensors, OfEveryDtypeAreRead) {
  const auto file = SafetensorsFile::open(kReference);
  const auto expected = reference_tensors();
  EXPECT_EQ(file.names().size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(file.contains(name));
    const auto read = file.tensor(name);
    EXPECT_EQ(read.scalar_type(), tensor.scalar_type());
    EXPECT_EQ(file.dtype(name), tensor.scalar_type());
    EXPECT_EQ(read.sizes(), tensor.sizes());
    EXPECT_EQ(file.shape(name), tensor.sizes().vec());
    const auto plain = tensor.contiguous();
    EXPECT_EQ(std::string(static_cast<char*>(read.data_ptr()), read.nbytes()),
              std::string(static_cast<char*>(plain.data_ptr()), plain.nbytes()));
  }
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  EXPECT_EQ(file.names().front(), "uint64.weight");
  EXPECT_EQ(file.names().back(), "bool.weight");
}

TEST(Safetensors, KeepMetadataInOrderAndLeaveItOutWhenEmpty) {
  TestFolder folder;
  const auto path = folder.path() / "x.safetensors";
  write_safetensors(path, {}, {{"b", "\"quoted\"\n"}, {"a", ""}});
  EXPECT_EQ(read_file(path), safetensors_bytes(R"({"__metadata__":{"a":"","b":"\"quoted\"\n"}}    )", ""));
  EXPECT_EQ(SafetensorsFile::open(path).metadata().at("b"), "\"quoted\"\n");
  write_safetensors(path, {}, {});
  EXPECT_EQ(read_file(path), safetensors_bytes("{}      ", ""));
}

TEST(Safetensors, TensorsOutliveTheFileObjectAndTheFile) {
  TestFolder folder;
  const auto path = folder.path() / "x.safetensors";
  write_safetensors(path, {{"x", torch::arange(1000)}});
  const auto tensor = SafetensorsFile::open(path).tensor("x");
  std::filesystem::remove(path);
  EXPECT_TRUE(tensor.equal(torch::arange(1000)));
}

TEST(Safetensors, ChangingATensorInPlaceLeavesTheFileAlone) {
  TestFolder folder;
  const auto path = folder.path() / "x.safetensors";
  write_safetensors(path, {{"x", torch::zeros({4})}});
  SafetensorsFile::open(path).tensor("x").add_(1);
  EXPECT_TRUE(SafetensorsFile::open(path).tensor("x").equal(torch::zeros({4})));
}

TEST(Safetensors, AtOddOffsetsAreCopied) {
  TestFolder folder;
  const std::string data("\x07\x00\x00\x80\x3f\x00\x00\x00\x40", 9);  // a byte, then 1.0f and 2.0f
  const auto file = open_bytes(folder,
                               R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                               R"("f":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})",
                               data);
  const auto tensor = file.tensor("f");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 4, 0);
  EXPECT_TRUE(tensor.equal(torch::tensor({1.0F, 2.0F})));
}

TEST(Safetensors, BoolsOtherThanOneAreMadeOne) {
  TestFolder folder;
  const auto file =
      open_bytes(folder, R"({"b":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", {"\x00\x02\xff", 3});
  const auto tensor = file.tensor("b");
  EXPECT_EQ(std::string(static_cast<char*>(tensor.data_ptr()), 3), std::string("\x00\x01\x01", 3));
}

TEST(Safetensors, ScalarsEmptyTensorsAndNoTensorsAreFine) {
  TestFolder folder;
  EXPECT_TRUE(open_bytes(folder, "{}", "").names().empty());
  EXPECT_TRUE(open_bytes(folder, R"({"__metadata__":null}   )", "").metadata().empty());
  const auto file = open_bytes(folder,
                               R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                               R"("e":{"dtype":"F32","shape":[3,0,5],"data_offsets":[4,4]}})",
                               std::string("\0\0\x80\x3f", 4));
  EXPECT_EQ(file.tensor("s").item<float>(), 1.0F);
  EXPECT_EQ(file.tensor("e").sizes(), (std::vector<int64_t>{3, 0, 5}));
}

TEST(Safetensors, MissingTensorsAreNamed) {
  expect_error<FormatError>("no tensor 'absent'", [] { SafetensorsFile::open(kReference).tensor("absent"); });
  expect_error<FormatError>("no tensor 'absent'", [] { SafetensorsFile::open(kReference).shape("absent"); });
}

TEST(SafetensorsDamage, FilesThatCannotBeReadAreFileErrors) {
  TestFolder folder;
  expect_error<FileError>("No such file", [&] { SafetensorsFile::open(folder.path() / "absent"); });
  expect_error<FileError>("Is a directory", [&] { SafetensorsFile::open(folder.path()); });
}

TEST(SafetensorsDamage, PipesAreNotWaitedFor) {
  TestFolder folder;
  const auto path = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  expect_error<FileError>("cannot read", [&] { SafetensorsFile::open(path); });
}

TEST(SafetensorsDamage, HeadersThatWouldTakeTooMuchAreRefused) {
  const auto many = [](size_t count, const std::string& value) {
    std::string entries;
    for (size_t i = 0; i < count; ++i) entries += str(i > 0 ? "," : "", "\"", i, "\":", value);
    return "{" + entries + "}";
  };
  const std::string tensor = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  const auto open = [](const std::string& header) { return open_bytes(TestFolder(), header, ""); };
  EXPECT_EQ(open(many(kMaxSafetensorsTensors, tensor)).names().size(), kMaxSafetensorsTensors);
  expect_refused(many(kMaxSafetensorsTensors + 1, tensor), 0, "it has more than 100000 tensors");
  const auto with_metadata = [](const std::string& metadata) { return str("{\"__metadata__\":", metadata, "}"); };
  EXPECT_EQ(open(with_metadata(many(kMaxSafetensorsMetadata, "\"\""))).metadata().size(), kMaxSafetensorsMetadata);
  expect_refused(with_metadata(many(kMaxSafetensorsMetadata + 1, "\"\"")), 0,
                 "__metadata__ has more than 10000 entries");
  const std::string text(kMaxSafetensorsText, 'x');
  expect_refused(with_metadata("{\"a\":\"" + text + "\"}"), 0,
                 "a name, text or number of more than 16000000 bytes at byte 21");
  expect_refused("{\"" + text + "\":1}", 0, "16000000 bytes at byte 1");
  expect_refused("{\"x\":1" + std::string(kMaxSafetensorsText, '0'), 0, "16000000 bytes at byte 5");
  expect_refused("{\"x" + std::string(20, '\\'), 0, "not JSON");
}

TEST(SafetensorsDamage, LengthsAreChecked) {
  TestFolder folder;
  const auto open = [&](const std::string& bytes) { SafetensorsFile::open(folder.write("x", bytes)); };
  expect_error<FormatError>("0 bytes; a safetensors file has at least 8", [&] { open(""); });
  expect_error<FormatError>("7 bytes; a safetensors file has at least 8", [&] { open("1234567"); });
  expect_error<FormatError>("100000001 bytes; at most 100000000",
                            [&] { open(std::string("\x01\xe1\xf5\x05\0\0\0\0", 8)); });
  expect_error<FormatError>("says it has 16 bytes, but only 2", [&] { open(std::string("\x10\0\0\0\0\0\0\0{}", 10)); });
  expect_error<FormatError>("18446744073709551615 bytes", [&] { open(std::string(8, '\xff')); });
}

TEST(SafetensorsDamage, OtherFormatsGetAHint) {
  TestFolder folder;
  const auto hint = [&](const std::string& bytes) {
    return expect_error<FormatError>("at most", [&] { SafetensorsFile::open(folder.write("x", bytes)); });
  };
  EXPECT_NE(hint("version https://git-lfs.github.com/spec/v1\n").find("git lfs pull"), std::string::npos);
  EXPECT_NE(hint("PK\x03\x04 a torch zip file").find("pickle"), std::string::npos);
}

TEST(SafetensorsDamage, HeadersThatAreNotTheExpectedJsonAreRefused) {
  expect_refused("", 0, "begins with ''; expected '{'");
  expect_refused(" {}", 0, "begins with ' '");
  expect_refused("[]", 0, "begins with '['");
  expect_refused("{", 0, "not JSON at byte");
  expect_refused("{} x", 0, "not JSON at byte");
  expect_refused("{\"\xff\":1}", 0, "not JSON at byte");
  expect_refused(R"({"x":1})", 0, "tensor 'x' is the number 1; expected an object");
  expect_refused(R"({"x":null})", 0, "tensor 'x' is null");
  expect_refused(R"({"x":[]})", 0, "tensor 'x' is a list");
  expect_refused(R"({"x":"y"})", 0, "tensor 'x' is the text 'y'");
  expect_refused(R"({"x":{}})", 0, "tensor 'x' has no dtype");
  expect_refused(R"({"x":{"dtype":"F32"}})", 0, "tensor 'x' has no shape");
  expect_refused(R"({"x":{"dtype":"F32","shape":[]}})", 0, "tensor 'x' has no data_offsets");
  expect_refused(R"({"x":{"dtype":"F32","dtype":"F32"}})", 0, "'x' has the field dtype twice");
  expect_refused(R"({"x":{"size":1}})", 0, "'x' has the field 'size'; expected dtype, shape and data_offsets");
  expect_refused(R"({"x":{"shape":{}}})", 0, "'x' has an object as its shape");
  expect_refused(R"({"x":{"shape":[[1]]}})", 0, "'x' has a list in its shape");
  expect_refused(R"({"x":{"shape":true}})", 0, "'x' has true as its shape");
  expect_refused(str(R"({"x":{"shape":)", std::string(100'000, '['), "}}"), 0, "'x' has a list in its shape");
  expect_refused(R"({"__metadata__":{"a":1}})", 0, "__metadata__ has the number 1 for 'a'; expected text");
  expect_refused(R"({"__metadata__":{"a":{}}})", 0, "__metadata__ has an object for 'a'");
  expect_refused(R"({"__metadata__":{"a":"1","a":"2"}})", 0, "__metadata__ has the key 'a' twice");
  expect_refused(R"({"__metadata__":{},"__metadata__":{}})", 0, "__metadata__ is there twice");
}

TEST(SafetensorsDamage, ShapesAndDtypesAreChecked) {
  const auto with = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return str(R"({"x":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)", offsets, "}}");
  };
  expect_refused(with("F31", "[]", "[0,4]"), 4, "'x' has the dtype 'F31'; expected one of U64 I64");
  expect_refused(with("F4", "[2]", "[0,1]"), 1, "'x' has the dtype 'F4'");
  expect_refused(with("F32", "[-1]", "[0,4]"), 4, "'x' has the number -1 in its shape");
  expect_refused(with("F32", "[1.5]", "[0,4]"), 4, "'x' has the number 1.5 in its shape");
  expect_refused(with("F32", "[9223372036854775808]", "[0,4]"), 4, "'x' has the dimension 9223372036854775808");
  expect_refused(with("F32", "[99999999999999999999]", "[0,4]"), 4,
                 "'x' has the number 99999999999999999999 in its shape");
  expect_refused(with("F32", "[4294967296,4294967296]", "[0,4]"), 4,
                 "shape [4294967296, 4294967296] of F32, more than 2^63");
  expect_refused(with("F32", "[0,4294967296,4294967296]", "[0,0]"), 0, "more than 2^63 bytes");
  expect_refused(with("U8", "[9223372036854775807]", "[0,9223372036854775807]"), 4,
                 "'x' ends at byte 9223372036854775807, but the file holds 4");
  expect_refused(with("F32",
                      str(
                          "[1",
                          [] {
                            std::string ones;
                            for (int i = 0; i < 64; ++i) ones += ",1";
                            return ones;
                          }(),
                          "]"),
                      "[0,4]"),
                 4, "'x' has more than 64 dimensions");
  expect_refused(with("F32", "[2]", "[0,4]"), 4, "'x' has 4 bytes; its shape [2] of F32 needs 8");
  expect_refused(with("F32", "[]", "[0,8]"), 8, "'x' has 8 bytes; its shape [] of F32 needs 4");
  expect_refused(with("F32", "[0]", "[0,4]"), 4, "'x' has 4 bytes; its shape [0] of F32 needs 0");
}

TEST(SafetensorsDamage, RangesAreChecked) {
  const auto one = [](const std::string& offsets) {
    return str(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":)", offsets, "}}");
  };
  expect_refused(one("[0]"), 4, "'x' has 1 data_offsets; expected 2");
  expect_refused(one("[0,4,8]"), 4, "'x' has the number 8 in its data_offsets");
  expect_refused(one("[-4,0]"), 4, "'x' has the number -4 in its data_offsets");
  expect_refused(one("[0,18446744073709551616]"), 4, "'x' has the number 18446744073709551616 in its data_offsets");
  expect_refused(one("[4,0]"), 4, "'x' ends at byte 0, before its begin at 4");
  expect_refused(one("[18446744073709551612,0]"), 4, "'x' ends at byte 0, before its begin at 18446744073709551612");
  expect_refused(one("[4,8]"), 4, "'x' ends at byte 8, but the file holds 4");
  expect_refused(one("[4,8]"), 8, "'x' begins at byte 4, leaving a hole: the tensor before it ends at 0");
  expect_refused(one("[0,4]"), 5, "its tensors end at byte 4, but the file holds 5");
  expect_refused("{}", 3, "its tensors end at byte 0, but the file holds 3");
  const auto two = [](const std::string& first, const std::string& second) {
    return str(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":)", first,
               R"(},"y":{"dtype":"F32","shape":[1],"data_offsets":)", second, "}}");
  };
  expect_refused(two("[0,4]", "[0,4]"), 4, "'y' begins at byte 0, inside the tensor before it, which ends at 4");
  expect_refused(two("[0,4]", "[2,6]"), 6, "'y' begins at byte 2, inside the tensor before it, which ends at 4");
  expect_refused(two("[8,12]", "[0,4]"), 12, "'x' begins at byte 8, leaving a hole: the tensor before it ends at 4");
  expect_refused(R"({"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                 R"("x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                 0, "tensor 'x' is there twice");
}

TEST(SafetensorsDamage, NamesAreShownSafely) {
  expect_refused("{\"a\\u001b[31m\":1}", 0, "tensor 'a\\x1b[31m' is");
  expect_refused(str("{\"", std::string(5000, 'n'), "\":1}"), 0, str("'", std::string(200, 'n'), "...' is"));
}

TEST(SafetensorsWriting, RefusesWhatTheFormatCannotHold) {
  TestFolder folder;
  const auto path = folder.path() / "x.safetensors";
  const auto x = torch::zeros({1});
  expect_error<FormatError>("tensor 'x' is there twice", [&] { write_safetensors(path, {{"x", x}, {"x", x}}); });
  expect_error<FormatError>("tensor 'x' has no value", [&] { write_safetensors(path, {{"x", torch::Tensor()}}); });
  expect_error<FormatError>("'__metadata__'", [&] { write_safetensors(path, {{"__metadata__", x}}); });
  expect_error<FormatError>("is not UTF-8", [&] { write_safetensors(path, {{"\xff", x}}); });
  expect_error<FormatError>("is not UTF-8", [&] { write_safetensors(path, {}, {{"key", "\xc3"}}); });
  expect_error<FormatError>("ComplexDouble, which safetensors files cannot hold", [&] {
    write_safetensors(path, {{"x", x.to(torch::kComplexDouble)}});
  });
  expect_error<FileError>("cannot write", [&] { write_safetensors(folder.path() / "absent/x", {{"x", x}}); });
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace lorikeet
