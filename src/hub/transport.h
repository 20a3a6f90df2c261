// HTTP by libcurl: one request and its answer, with the token kept from everyone but the Hub.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lorikeet {

/// Names are compared without regard to case.
class HttpHeaders {
 public:
  HttpHeaders() = default;
  HttpHeaders(std::initializer_list<std::pair<std::string, std::string>> list) : list_(list) {}
  void add(std::string name, std::string value) { list_.emplace_back(std::move(name), std::move(value)); }
  /// The last of that name.
  std::optional<std::string> find(std::string_view name) const;
  const std::vector<std::pair<std::string, std::string>>& list() const { return list_; }

 private:
  std::vector<std::pair<std::string, std::string>> list_;
};

/// A part of a file as a request's body: read as it is sent, never whole in memory.
struct FileSlice {
  std::filesystem::path path;
  int64_t offset = 0, length = 0;  // bytes
};

/// Which redirects to follow, at most 20. An answer whose redirect is not followed is handed back as it is.
enum class Redirects {
  kNone,
  kHub,  // to the same origin, the endpoint's and huggingface.co only: so a file's headers are read
  kAll
};

struct HttpResponse {
  int status = 0;
  HttpHeaders headers;
  std::string body;  // empty where a sink took it
  std::string url;   // the last one asked
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  HttpHeaders headers = {};
  /// Sent as `authorization: Bearer`, to hub origins (endpoint.h) only, whatever a server redirects to. Never in a
  /// message.
  std::optional<std::string> token = {};
  std::optional<std::string> body = {};
  std::optional<FileSlice> body_file = {};
  Redirects redirects = Redirects::kHub;
  /// libcurl sends a request again, by itself, when a kept connection turns out to be closed. Not with this: a
  /// connection of its own, for what must not be done twice.
  bool once = false;
  /// Takes the body of a 2xx answer piece by piece, instead of HttpResponse::body; `head` has status and headers. What
  /// it throws ends the transfer and is thrown on.
  std::function<void(const HttpResponse& head, std::string_view piece)> sink = {};
  /// Told how many bytes of `body_file` have been sent, some times a second. Must not throw.
  std::function<void(int64_t bytes)> sent = {};
  /// Seconds without a connection, or without a byte in either direction, after which the request has failed. Default:
  /// $HF_HUB_DOWNLOAD_TIMEOUT or 10. At most a day.
  std::optional<double> timeout = {};
  /// Where another thread asks to stop: then Interrupted is thrown, within a second.
  const std::atomic<bool>* cancelled = nullptr;
};

/// Keeps its connections between requests. One thread at a time.
/// TLS is always verified, against $SSL_CERT_FILE, $REQUESTS_CA_BUNDLE or $CURL_CA_BUNDLE where one is set, and
/// $SSL_CERT_DIR; proxies are those of $http_proxy, $https_proxy, $all_proxy and $no_proxy.
class HttpClient {
 public:
  HttpClient();
  ~HttpClient();
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;

  /// The answer, whatever its status. Throws ConnectionError (hub_error.h) when there is none or it breaks off, or when
  /// its body differs from Content-Length; HubError for what trying again does not help (a certificate, a proxy's
  /// refusal, a body of more than 64 MiB without a sink, headers of more than 256 KiB); Interrupted when a stop was
  /// requested; FileError for `body_file`.
  HttpResponse send(const HttpRequest& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lorikeet
