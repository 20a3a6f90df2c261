#include "hub/transport.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "hub/hub_error.h"
#include "hub/hub_test_support.h"
#include "hub/loopback_server.h"
#include "hub/retry.h"

namespace lorikeet {
namespace {

HttpRequest get(const std::string& url) {
  HttpRequest request;
  request.url = url;
  return request;
}

bool has_token(const std::string& head) { return head.find("hf_secret") != std::string::npos; }

TEST(Transport, HeadersAreFoundWhateverTheirCase) {
  LoopbackServer server([](const std::string&) {
    return "HTTP/1.1 100 Continue\r\nX-A: early\r\n\r\n" +
           LoopbackServer::answer("200 OK", "hi", "x-a: 1\r\nX-A:2 \r\nEmpty:\r\n");
  });
  HttpClient client;
  const auto response = client.send(get(server.url()));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "hi");
  EXPECT_EQ(response.headers.find("X-a"), "2");
  EXPECT_EQ(response.headers.find("empty"), "");
  EXPECT_FALSE(response.headers.find("none"));
}

TEST(Transport, ATokenIsNotSentToAnotherHost) {
  LoopbackServer other([](const std::string&) { return LoopbackServer::answer("200 OK", "there"); });
  LoopbackServer hub([&](const std::string& head) {
    if (head.starts_with("GET /same")) return LoopbackServer::answer("302 Found", "", "Location: /away\r\n");
    return LoopbackServer::answer("302 Found", "", "Location: " + other.url() + "/x\r\n");
  });
  HttpClient client;
  auto request = get(hub.url() + "/same");
  request.token = "hf_secret";
  EXPECT_EQ(client.send(request).status, 302);
  EXPECT_TRUE(other.heads().empty());
  request.redirects = Redirects::kAll;
  EXPECT_EQ(client.send(request).body, "there");
  ASSERT_EQ(other.heads().size(), 1u);
  EXPECT_FALSE(has_token(other.heads()[0]));
  for (const auto& head : hub.heads()) EXPECT_TRUE(has_token(head));
}

TEST(Transport, RedirectsEndSomewhere) {
  LoopbackServer server([](const std::string& head) {
    return LoopbackServer::answer(
        "302 Found", "", head.starts_with("GET /file") ? "Location: file:///etc/passwd\r\n" : "Location: /x\r\n");
  });
  HttpClient client;
  EXPECT_NE(words_of<HubError>([&] { client.send(get(server.url())); }).find("more than 20 times"), std::string::npos);
  auto request = get(server.url() + "/file");
  request.redirects = Redirects::kAll;
  EXPECT_EQ(client.send(request).status, 302);
}

TEST(Transport, WhatBreaksOffIsAConnectionError) {
  HttpClient client;
  LoopbackServer silent([](const std::string&) { return ""; });
  EXPECT_THROW(client.send(get(silent.url())), ConnectionError);
  LoopbackServer short_one([](const std::string&) { return "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"; });
  EXPECT_THROW(client.send(get(short_one.url())), ConnectionError);
  LoopbackServer noise([](const std::string&) { return "220 mail.example ESMTP\r\n"; });
  EXPECT_THROW(client.send(get(noise.url())), HubError);
  EXPECT_THROW(client.send(get("http://127.0.0.1:1/")), NoConnectionError);
  EXPECT_THROW(client.send(get("ftp://127.0.0.1/")), HubError);
}

TEST(Transport, SilenceIsWaitedForOnlySoLong) {
  LoopbackServer slow([](const std::string&) {
    std::this_thread::sleep_for(std::chrono::seconds(2));
    return LoopbackServer::answer("200 OK", "late");
  });
  HttpClient client;
  auto request = get(slow.url());
  request.timeout = 0.2;
  const auto words = words_of<ConnectionError>([&] { client.send(request); });
  EXPECT_NE(words.find("nothing came for 0.2 seconds"), std::string::npos) << words;
  std::atomic<bool> cancelled{true};
  request.cancelled = &cancelled;
  EXPECT_THROW(client.send(request), Interrupted);
}

TEST(Transport, WhatASinkThrowsComesThrough) {
  LoopbackServer server([](const std::string& head) {
    return LoopbackServer::answer(head.starts_with("GET /no") ? "404 Not Found" : "200 OK", "body");
  });
  HttpClient client;
  auto request = get(server.url());
  request.sink = [](const HttpResponse&, std::string_view) { throw FormatError("enough"); };
  EXPECT_THROW(client.send(request), FormatError);
  request.url = server.url() + "/no";
  EXPECT_EQ(client.send(request).body, "body");  // an error's body is no file's
}

TEST(Transport, UrlsAreShownWithoutTheirSecrets) {
  const auto words =
      words_of<ConnectionError>([] { HttpClient().send(get("http://me:password@127.0.0.1:1/x?Signature=abc#part")); });
  EXPECT_NE(words.find("http://127.0.0.1:1/x:"), std::string::npos) << words;
  EXPECT_EQ(words.find("password"), std::string::npos);
  EXPECT_EQ(words.find("abc"), std::string::npos);
}

TEST(Retry, WaitsDoubleUntilTheMost) {
  const RetryPolicy policy{5, 1, 8};
  for (const auto& [retry, seconds] : {std::pair(1, 1.0), {2, 2.0}, {3, 4.0}, {4, 8.0}, {5, 8.0}}) {
    EXPECT_EQ(policy.wait_before(retry), seconds);
  }
}

TEST(Retry, TheServerSaysHowLongToWait) {
  const auto asked = [](int status, const char* name, const char* value) {
    HttpResponse response;
    response.status = status;
    response.headers.add(name, value);
    return asked_wait(response);
  };
  EXPECT_EQ(asked(429, "RateLimit", "\"api\";r=0;t=55"), 56);
  EXPECT_FALSE(asked(429, "RateLimit", "\"api\";r=3;t=55"));
  EXPECT_EQ(asked(503, "Retry-After", "7"), 7);
  EXPECT_EQ(asked(429, "Retry-After", "999999999"), 3600);
  EXPECT_EQ(asked(429, "RateLimit", "\"api\"; r=0; t=55"), 56);
  EXPECT_EQ(asked(429, "Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"), 0);
  EXPECT_EQ(asked(429, "Retry-After", "Fri, 31 Dec 2199 23:59:59 GMT"), 3600);
  for (const char* none : {"", "soon", "-1", "nan", "inf"}) {
    EXPECT_FALSE(asked(429, "Retry-After", none)) << none;
  }
  EXPECT_FALSE(asked(200, "Retry-After", "7"));
}

TEST(Retry, TriesAgainAndGivesTheLastAnswer) {
  std::atomic<int> count{0};
  LoopbackServer server(
      [&](const std::string&) { return ++count < 3 ? std::string() : LoopbackServer::answer("503 Busy", "busy"); });
  HttpClient client;
  EXPECT_EQ(send_with_retries(client, get(server.url()), {4, 0.001, 0.001}).body, "busy");
  EXPECT_EQ(count, 5);
  for (const int status : {408, 429, 500, 502, 503, 504}) {
    const auto busy = LoopbackServer::answer(std::to_string(status) + " Busy", "");
    std::atomic<int> asked{0};
    LoopbackServer once([&](const std::string&) { return ++asked == 1 ? busy : LoopbackServer::answer("200 OK", ""); });
    EXPECT_EQ(send_with_retries(client, get(once.url()), {4, 0.001, 0.001}).status, 200) << status;
  }
  LoopbackServer refusing([&](const std::string&) { return LoopbackServer::answer("403 Forbidden", "no"); });
  EXPECT_EQ(send_with_retries(client, get(refusing.url()), {4, 0.001, 0.001}).status, 403);
  EXPECT_EQ(refusing.heads().size(), 1u);
}

}  // namespace
}  // namespace lorikeet
