#include "hub/endpoint.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "hub/environment.h"
#include "hub/hub_test_support.h"

namespace lorikeet {
namespace {

TEST(Endpoint, UrlsAreThoseOfTheHub) {
  const ScopedVariable endpoint("HF_ENDPOINT", std::nullopt);
  const HubRepo model{"me/x"}, data{"me/x", RepoType::kDataset};
  EXPECT_EQ(api_url(model, "/revision/main"), "https://huggingface.co/api/models/me/x/revision/main");
  EXPECT_EQ(api_url(data), "https://huggingface.co/api/datasets/me/x");
  EXPECT_EQ(resolve_url(model, "refs/pr/1", "a b/\xC3\xA4+100%.txt"),
            "https://huggingface.co/me/x/resolve/refs%2Fpr%2F1/a%20b/%C3%A4%2B100%25.txt");
  EXPECT_EQ(resolve_url(data, "main", "x"), "https://huggingface.co/datasets/me/x/resolve/main/x");
}

TEST(Endpoint, TheEnvironmentNamesAnother) {
  const ScopedVariable endpoint("HF_ENDPOINT", "http://localhost:8080//");
  EXPECT_EQ(hub_endpoint(), "http://localhost:8080");
  EXPECT_EQ(at_endpoint("https://huggingface.co/a?b"), "http://localhost:8080/a?b");
  EXPECT_EQ(at_endpoint("https://huggingface.com/a"), "https://huggingface.com/a");
  for (const char* bad : {"huggingface", "ftp://x", "file:///etc/passwd"}) {
    const ScopedVariable wrong("HF_ENDPOINT", bad);
    EXPECT_NE(words_of<UsageError>([] { hub_endpoint(); }).find(bad), std::string::npos) << bad;
  }
}

TEST(Endpoint, OriginsAreTheHostALibcurlRequestGoesTo) {
  EXPECT_EQ(origin_of("https://Hugging.CO/x"), "https://hugging.co:443");
  EXPECT_EQ(origin_of("http://a:81"), "http://a:81");
  EXPECT_EQ(origin_of("https://huggingface.co@evil.example/x"), "https://evil.example:443");
  for (const char* none : {"", "x", "ftp://a/b", "javascript:1", "/relative"}) EXPECT_EQ(origin_of(none), "") << none;
}

TEST(Endpoint, ATokenMayGoToTheHubOnly) {
  const ScopedVariable endpoint("HF_ENDPOINT", "http://127.0.0.1:9");
  const std::string start = "https://mirror.example/a";
  for (const char* url :
       {"https://mirror.example/b", "https://huggingface.co/x", "http://127.0.0.1:9/x", "https://hf.co"}) {
    EXPECT_TRUE(is_hub_origin(url, start)) << url;
  }
  for (const char* url : {"http://mirror.example/b", "https://mirror.example:444/b", "http://huggingface.co/x",
                          "https://cdn-lfs.huggingface.co/x", "http://127.0.0.1:10/x", "https://huggingface.co.evil/x",
                          "https://huggingface.co@evil/x", ""}) {
    EXPECT_FALSE(is_hub_origin(url, start)) << url;
  }
}

TEST(Environment, FlagsAndNumbersAreReadAsPythonsClientDoes) {
  for (const char* yes : {"1", "on", "YES", "True"}) {
    const ScopedVariable flag("HF_HUB_OFFLINE", yes);
    EXPECT_TRUE(hub_is_offline()) << yes;
  }
  const ScopedVariable other("TRANSFORMERS_OFFLINE", std::nullopt);
  for (const char* no : {"", "0", "no", "2"}) {
    const ScopedVariable flag("HF_HUB_OFFLINE", no);
    EXPECT_FALSE(hub_is_offline()) << no;
  }
  for (const auto& [text, value] : {std::pair("2.5", 2.5), std::pair("x", 7.0), std::pair("-1", 7.0),
                                    std::pair("", 7.0), std::pair("inf", 7.0), std::pair("nan", 7.0)}) {
    const ScopedVariable number("HF_HUB_DOWNLOAD_TIMEOUT", text);
    EXPECT_EQ(environment_number("HF_HUB_DOWNLOAD_TIMEOUT", 7), value) << text;
  }
}

}  // namespace
}  // namespace lorikeet
