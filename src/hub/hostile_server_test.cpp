// What a server may send without making us allocate, loop, crash, or give away a token.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "hub/api.h"
#include "hub/hub_error.h"
#include "hub/hub_test_support.h"
#include "hub/lfs.h"
#include "hub/loopback_server.h"
#include "hub/server_text.h"

namespace lorikeet {
namespace {

const std::string kCommit(40, 'a');

/// A hub at $HF_ENDPOINT whose every answer is what the handler says.
struct Hub {
  explicit Hub(LoopbackServer::Handler handler) : server(std::move(handler)), endpoint("HF_ENDPOINT", server.url()) {}
  LoopbackServer server;
  ScopedVariable endpoint, offline{"HF_HUB_OFFLINE", std::nullopt};
  HubClient client{std::string("hf_secret")};
};

bool has_token(const std::string& head) { return head.find("hf_secret") != std::string::npos; }

std::string listing_error(Hub& hub) {
  return words_of<HubError>([&] { list_files(hub.client, {"a/b"}, "main"); });
}

void expect_words(const std::string& said, const std::string& words) {
  EXPECT_NE(said.find(words), std::string::npos) << said;
}

TEST(HostileServer, ABodyWithoutEndIsNotRead) {
  Hub hub([](const std::string&) { return LoopbackServer::answer("200 OK", std::string((64 << 20) + 1, ' ')); });
  expect_words(listing_error(hub), "larger than 64 MiB");
}

TEST(HostileServer, HeadersWithoutEndAreNotRead) {
  std::string headers;
  for (int i = 0; i < 100'000; ++i) headers += "X-" + std::to_string(i) + ": x\r\n";
  Hub hub([&](const std::string&) { return LoopbackServer::answer("200 OK", "[]", headers); });
  expect_words(listing_error(hub), "more than 256 KiB of headers");
  Hub folded([](const std::string&) {
    return LoopbackServer::answer("200 OK", "[]", "X-A: " + std::string(90'000, 'x') + "\r\n");
  });
  EXPECT_TRUE(list_files(folded.client, {"a/b"}, "main").empty());
}

TEST(HostileServer, JsonIsBoundedInDepthAndNumber) {
  EXPECT_FALSE(parse_json(std::string(60, '[') + std::string(60, ']')).is_discarded());
  for (const std::string& text :
       {std::string(1'000'000, '['), std::string(100, '[') + std::string(100, ']'), std::string("{"), std::string()}) {
    EXPECT_TRUE(parse_json(text).is_discarded());
  }
  std::string many = "[0";
  for (int i = 0; i < 4'000'000; ++i) many += ",0";
  EXPECT_TRUE(parse_json(many + "]").is_discarded());
  std::string deep;
  for (int i = 0; i < 1'000'000; ++i) deep += R"({"a":)";
  Hub hub([&](const std::string&) { return LoopbackServer::answer("200 OK", deep); });
  expect_words(listing_error(hub), "is no JSON");
  Hub failing([&](const std::string&) { return LoopbackServer::answer("400 Bad", std::string(2 << 20, '[')); });
  expect_words(listing_error(failing), "400");
}

TEST(HostileServer, AListingWithoutEndEnds) {
  std::atomic<int> page{0};
  std::string content = "[]";
  Hub hub([&](const std::string&) {
    return LoopbackServer::answer("200 OK", content,
                                  "Link: </next?page=" + std::to_string(++page) + ">; rel=\"next\"\r\n");
  });
  expect_words(listing_error(hub), "has no end");
  EXPECT_LT(page, 50);
  Hub round([&](const std::string&) {
    return LoopbackServer::answer("200 OK", R"([{"type": "directory"}])", "Link: </round>; rel=\"next\"\r\n");
  });
  expect_words(listing_error(round), "has no end");
  EXPECT_EQ(round.server.heads().size(), 2u);
  Hub longer([&](const std::string&) {
    return LoopbackServer::answer("200 OK", "[]", "Link: </" + std::string(9'000, 'x') + ">; rel=\"next\"\r\n");
  });
  expect_words(listing_error(longer), "has no end");
}

TEST(HostileServer, SizesThatNoFileHas) {
  for (const char* size : {"-1", "9223372036854775807", "1125899906842625"}) {
    Hub hub([&](const std::string&) {
      return LoopbackServer::answer("200 OK",
                                    R"([{"type": "file", "path": "a", "oid": "", "size": )" + std::string(size) + "}]");
    });
    expect_words(listing_error(hub), "a size of");
  }
}

TEST(HostileServer, ItsWordsStayWords) {
  EXPECT_EQ(printable("a\x1b[2J\r\nb\x7F"), "a [2J  b ");
  EXPECT_EQ(printable("\xC3\xA4 \xC2\x9B"
                      "2J"),
            "\xC3\xA4   2J");
  EXPECT_EQ(printable("aaa\xC3\xA4", 4), "aaa...");
  EXPECT_EQ(printable("aaa\xC3\xA4", 5), "aaa\xC3\xA4");
  EXPECT_FALSE(
      is_safe_repo_path("a\xC2\x9B"
                        "b"));
  Hub hub([&](const std::string&) {
    return LoopbackServer::answer("200 OK", R"([{"type": "file", "path": "\u001b]0;x\u0007", "size": 1}])",
                                  "X-HF-Warning: a topic; \x1b[2J look\r\n");
  });
  testing::internal::CaptureStderr();
  const std::string said = listing_error(hub), logged = testing::internal::GetCapturedStderr();
  expect_words(said, "not a path inside");
  expect_words(logged, "the Hub says:   [2J look");
  for (const auto& text : {said, logged}) EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(HostileServer, AnAddressItNamesGetsNoToken) {
  LoopbackServer other([](const std::string&) { return LoopbackServer::answer("200 OK", "{}", "ETag: x\r\n"); });
  Hub hub([&](const std::string&) {
    const std::string href = R"({"href": ")" + other.url() + "/x\"}";
    return LoopbackServer::answer(
        "200 OK", R"({"objects": [{"oid": "1", "actions": {"upload": )" + href + ", \"verify\": " + href + "}}]}");
  });
  const ScratchFolder folder;
  const auto file = folder.path() / "file";
  std::fclose(std::fopen(file.c_str(), "w"));
  upload_lfs_files(hub.client, {"a/b"}, "main", {{file, "file", "1", 0}});
  ASSERT_EQ(other.heads().size(), 2u);  // sent, and asked to be looked at
  for (const auto& head : other.heads()) EXPECT_FALSE(has_token(head)) << head;
  EXPECT_TRUE(has_token(hub.server.heads().at(0)));
  EXPECT_FALSE(hub.client.request("GET", other.url()).token);
}

TEST(HostileServer, PartsAreTheOnesThatWereAskedFor) {
  for (const char* parts : {R"("2": "http://h/2", "3": "http://h/3")", R"("1": "http://h/1", "3": "http://h/3")",
                            R"("1": "http://h/1")", R"("1": "http://h/1", "2": "")"}) {
    Hub hub([&](const std::string&) {
      return LoopbackServer::answer(
          "200 OK",
          R"({"objects": [{"oid": "1", "actions": {"upload": {"href": "http://h/", "header": {"chunk_size": "5", )" +
              std::string(parts) + "}}}}]}");
    });
    const ScratchFolder folder;
    const std::vector<LfsFile> files = {{folder.path() / "file", "file", "1", 10}};
    expect_words(words_of<HubError>([&] { upload_lfs_files(hub.client, {"a/b"}, "main", files); }), "large file");
  }
}

TEST(HubClient, TakesNoTokenThatWouldBeMoreThanOne) {
  const ScopedVariable offline("HF_HUB_OFFLINE", std::nullopt);
  EXPECT_EQ(HubClient(std::string(" hf_a\n")).token(), "hf_a");
  EXPECT_FALSE(HubClient(std::string("\n")).has_token());
  const auto said = words_of<UsageError>([] { HubClient client(std::string("hf_secret\r\tX-Evil: 1")); });
  expect_words(said, "--hub_token");
  EXPECT_FALSE(has_token(said));
}

}  // namespace
}  // namespace lorikeet
