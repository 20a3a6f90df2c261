// libcurl behind RAII, and what its errors mean.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <string>

namespace lorikeet {

class CurlHandle {
 public:
  CurlHandle();  // throws HubError when libcurl cannot start
  CURL* get() const { return curl_.get(); }

 private:
  std::unique_ptr<CURL, void (*)(CURL*)> curl_;
};

class CurlList {
 public:
  void append(const std::string& line);
  curl_slist* get() const { return list_.get(); }

 private:
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> list_{nullptr, curl_slist_free_all};
};

/// What every request to `url` has: HTTP/1.1, no signals, only http(s), TLS verified, certificates and proxies of the
/// environment.
void set_connection_options(CURL* curl, const std::string& url);

/// `location` of an answer of `url`, made absolute; empty when it is none.
std::string joined_url(const std::string& url, const std::string& location);

/// Without user, query and fragment: they may hold signatures.
std::string shown_url(const std::string& url);

/// Throws ConnectionError, NoConnectionError or HubError (hub_error.h) for a transfer that failed; `reason` is
/// libcurl's own text.
[[noreturn]] void throw_curl_error(CURLcode code, CURL* curl, const std::string& url, const std::string& reason);

}  // namespace lorikeet
