#include "hub/curl_support.h"

#include "core/errors.h"
#include "core/text.h"
#include "hub/environment.h"
#include "hub/hub_error.h"

namespace lorikeet {
namespace {

using Url = std::unique_ptr<CURLU, void (*)(CURLU*)>;

std::string text_of(const Url& url) {
  char* text = nullptr;
  if (curl_url_get(url.get(), CURLUPART_URL, &text, 0) != CURLUE_OK) return "";
  std::string copy = text;
  curl_free(text);
  return copy;
}

/// libcurl itself reads only its own compiled-in place; the `curl` program and Python read these.
void set_certificates(CURL* curl) {
  for (const char* name : {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}) {
    if (const auto path = environment(name)) {
      curl_easy_setopt(curl, CURLOPT_CAINFO, path->c_str());
      curl_easy_setopt(curl, CURLOPT_PROXY_CAINFO, path->c_str());
      break;
    }
  }
  if (const auto path = environment("SSL_CERT_DIR")) curl_easy_setopt(curl, CURLOPT_CAPATH, path->c_str());
}

/// libcurl leaves HTTP_PROXY in capitals unread, for the sake of CGI programs; Python reads it.
void set_proxy(CURL* curl, const std::string& url) {
  if (environment("http_proxy") || !url.starts_with("http:")) return;
  if (const auto proxy = environment("HTTP_PROXY")) curl_easy_setopt(curl, CURLOPT_PROXY, proxy->c_str());
}

bool is_certificate_error(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR ||
         code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_INVALIDCERTSTATUS;
}

bool is_accident(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_AGAIN:
      return true;
    default:
      return false;
  }
}

}  // namespace

CurlHandle::CurlHandle() : curl_(nullptr, curl_easy_cleanup) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started == CURLE_OK) curl_.reset(curl_easy_init());
  if (!curl_) throw HubError("libcurl cannot start");
}

void CurlList::append(const std::string& line) {
  curl_slist* longer = curl_slist_append(list_.get(), line.c_str());
  if (!longer) throw std::bad_alloc();
  (void)list_.release();
  list_.reset(longer);
}

void set_connection_options(CURL* curl, const std::string& url) {
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);  // transport.cpp does, for the token's sake
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
  set_certificates(curl);
  set_proxy(curl, url);
}

std::string joined_url(const std::string& url, const std::string& location) {
  if (location.empty()) return "";
  const Url parsed(curl_url(), curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  // A second URL is taken as relative to the first.
  if (curl_url_set(parsed.get(), CURLUPART_URL, location.c_str(), CURLU_URLENCODE) != CURLUE_OK) return "";
  curl_url_set(parsed.get(), CURLUPART_USER, nullptr, 0);
  curl_url_set(parsed.get(), CURLUPART_PASSWORD, nullptr, 0);
  return text_of(parsed);
}

std::string shown_url(const std::string& url) {
  const Url parsed(curl_url(), curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return url.substr(0, url.find('?'));
  for (const auto part : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT}) {
    curl_url_set(parsed.get(), part, nullptr, 0);
  }
  return text_of(parsed);
}

void throw_curl_error(CURLcode code, CURL* curl, const std::string& url, const std::string& reason) {
  const std::string text = str(shown_url(url), ": ", reason.empty() ? curl_easy_strerror(code) : reason.c_str());
  long proxy_status = 0;
  curl_easy_getinfo(curl, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
  if (proxy_status >= 400 || code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_PROXY) {
    throw HubError(text, "the proxy is named by https_proxy, http_proxy or all_proxy; no_proxy excepts hosts");
  }
  if (is_certificate_error(code)) {
    throw HubError(
        text,
        "the server's certificate must be one this machine trusts: install ca-certificates, or name a file of "
        "trusted ones in SSL_CERT_FILE");
  }
  if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT) {
    throw NoConnectionError(text, "is this machine on the network, and HF_ENDPOINT right where it is set?");
  }
  if (is_accident(code)) throw ConnectionError(text);
  throw HubError(text);
}

}  // namespace lorikeet
