#include "hub/hub_error.h"

#include <gtest/gtest.h>

#include "hub/hub_test_support.h"

namespace lorikeet {
namespace {

HttpResponse answer(int status, const HttpHeaders& headers = {}, const std::string& body = "") {
  return {status, headers, body, "https://huggingface.co/x"};
}

TEST(HubError, AnAnswersMeaningIsReadFromItsHeaders) {
  using P = HubProblem;
  const auto code = [](const char* text) { return HttpHeaders{{"X-Error-Code", text}}; };
  const auto words = [](const char* text) { return HttpHeaders{{"X-Error-Message", text}}; };
  EXPECT_EQ(problem_of(answer(404, code("RepoNotFound")), true), P::kRepoNotFound);
  EXPECT_EQ(problem_of(answer(404, code("RevisionNotFound")), true), P::kRevisionNotFound);
  EXPECT_EQ(problem_of(answer(404, code("EntryNotFound")), true), P::kEntryNotFound);
  EXPECT_EQ(problem_of(answer(403, code("GatedRepo")), true), P::kGated);
  EXPECT_EQ(problem_of(answer(403, words("Access to this resource is disabled.")), true), P::kDisabled);
  EXPECT_EQ(problem_of(answer(401), true), P::kRepoNotFound);
  EXPECT_EQ(problem_of(answer(401), false), P::kBadToken);
  EXPECT_EQ(problem_of(answer(401, words("Invalid credentials in Authorization header")), true), P::kBadToken);
  EXPECT_EQ(problem_of(answer(403), true), P::kForbidden);
  EXPECT_EQ(problem_of(answer(407), true), P::kProxy);
  EXPECT_EQ(problem_of(answer(409), true), P::kConflict);
  EXPECT_EQ(problem_of(answer(429), true), P::kTooManyRequests);
  EXPECT_EQ(problem_of(answer(408), true), P::kServer);
  EXPECT_EQ(problem_of(answer(502), true), P::kServer);
  EXPECT_EQ(problem_of(answer(302), true), P::kRedirect);
  EXPECT_EQ(problem_of(answer(418), true), P::kOther);
}

TEST(HubError, TheServersWordsStayOnOneLine) {
  EXPECT_EQ(server_words(answer(400, {{"X-Error-Message", "a\x1b[31m\tb"}})), "a [31m b");
  EXPECT_EQ(server_words(answer(400, {}, R"({"error": "wrong", "errors": [{"message": "x"}, 3, {"message": "y"}]})")),
            "wrong; x; y");
  EXPECT_EQ(server_words(answer(400, {}, R"({"error_description": "expired"})")), "expired");
  for (const char* body : {"", "<html>", "[1]", "{\"error\": 3}", "{\"errors\": 1}", "\xff"}) {
    EXPECT_EQ(server_words(answer(400, {}, body)), "") << body;
  }
  EXPECT_EQ(server_words(answer(400, {}, "{\"error\": \"" + std::string(1000, 'x') + "\"}")).size(), 303u);
}

TEST(HubError, EveryProblemSaysWhatAndWhatToDo) {
  const HubRepo repo{"me/x", RepoType::kDataset};
  const auto words = [&](int status, const HttpHeaders& headers) {
    return words_of<HubAnswerError>([&] { require_success(answer(status, headers), repo, "v2", "a.csv"); });
  };
  const auto has = [](const std::string& text, std::initializer_list<const char*> parts) {
    for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  };
  has(words(404, {{"X-Error-Code", "RepoNotFound"}}), {"no dataset me/x", "private", "auth login"});
  has(words(404, {{"X-Error-Code", "RevisionNotFound"}}), {"no revision \"v2\""});
  has(words(404, {{"X-Error-Code", "EntryNotFound"}}), {"me/x at v2 has no file a.csv", "hub ls me/x"});
  has(words(403, {{"X-Error-Code", "GatedRepo"}, {"X-Request-Id", "r-1"}}),
      {"gated", "datasets/me/x", "(request r-1)"});
  has(words(401, {{"X-Error-Message", "Invalid credentials in Authorization header"}}), {"does not know the token"});
  has(words(429, {}), {"too many requests"});
  has(words(407, {}), {"the proxy", "http_proxy"});
  has(words(500, {}), {"problem of its own (500)"});
  has(words(404, {}), {"a.csv of the dataset me/x at v2 does not exist", "(404)"});
  EXPECT_NO_THROW(require_success(answer(204), repo));
}

}  // namespace
}  // namespace lorikeet
