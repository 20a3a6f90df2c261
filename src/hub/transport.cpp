#include "hub/transport.h"

#include <curl/curl.h>
#include <strings.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <exception>

#include "core/errors.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "hub/curl_support.h"
#include "hub/environment.h"
#include "hub/hub_error.h"

namespace lorikeet {
namespace {

constexpr size_t kMostBody = 64 << 20;
constexpr size_t kMostHeaders = 256 << 10;
constexpr int kMostRedirects = 20;
constexpr double kDefaultTimeout = 10;
constexpr double kLongestTimeout = 24 * 3600;
constexpr long kReceiveBuffer = 512 << 10;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// One request and its answer while libcurl works on them; its callbacks must let no exception through.
struct Transfer {
  const HttpRequest& request;
  HttpResponse response;
  size_t header_bytes = 0;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{nullptr, std::fclose};
  int64_t file_left = 0;
  double timeout = kDefaultTimeout;
  int64_t bytes_seen = -1;
  double seen_at = 0;
  bool timed_out = false;
  std::exception_ptr thrown = nullptr;
};

void read_header(Transfer& transfer, std::string line) {
  transfer.header_bytes += line.size();
  if (transfer.header_bytes > kMostHeaders) {
    throw HubError(str("the answer of ", shown_url(transfer.request.url), " has more than ", kMostHeaders >> 10,
                       " KiB of headers"));
  }
  while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
  if (line.starts_with("HTTP/")) {  // also after a 100-continue: what came before was not the answer
    transfer.response.headers = {};
    const size_t space = line.find(' ');
    transfer.response.status = space == std::string::npos ? 0 : std::atoi(line.c_str() + space);
    return;
  }
  const size_t colon = line.find(':');
  if (colon == std::string::npos) return;
  const size_t start = line.find_first_not_of(" \t", colon + 1);
  transfer.response.headers.add(line.substr(0, colon), start == std::string::npos ? "" : line.substr(start));
}

size_t on_header(char* data, size_t, size_t size, void* pointer) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  try {
    read_header(transfer, std::string(data, size));
    return size;
  } catch (...) {
    transfer.thrown = std::current_exception();
    return 0;
  }
}

size_t on_body(char* data, size_t, size_t size, void* pointer) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  try {
    const int status = transfer.response.status;
    if (transfer.request.sink && status >= 200 && status < 300) {
      transfer.request.sink(transfer.response, {data, size});
      return size;
    }
    if (transfer.response.body.size() + size > kMostBody) {
      throw HubError(
          str("the answer of ", shown_url(transfer.request.url), " is larger than ", kMostBody >> 20, " MiB"));
    }
    transfer.response.body.append(data, size);
    return size;
  } catch (...) {
    transfer.thrown = std::current_exception();
    return 0;
  }
}

size_t on_file(char* data, size_t, size_t size, void* pointer) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  const size_t wanted = std::min<size_t>(size, static_cast<size_t>(transfer.file_left));
  const size_t got = wanted == 0 ? 0 : std::fread(data, 1, wanted, transfer.file.get());
  if (got < wanted) {
    transfer.thrown = std::make_exception_ptr(FileError(
        str("cannot read ", transfer.request.body_file->path.string(), ": it became shorter while it was sent")));
    return CURL_READFUNC_ABORT;
  }
  transfer.file_left -= static_cast<int64_t>(got);
  return got;
}

/// libcurl begins again where a kept connection turns out to be closed.
int on_seek(void* pointer, curl_off_t offset, int) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  const auto& slice = *transfer.request.body_file;
  if (fseeko(transfer.file.get(), slice.offset + offset, SEEK_SET) != 0) return CURL_SEEKFUNC_FAIL;
  transfer.file_left = slice.length - offset;
  return CURL_SEEKFUNC_OK;
}

int on_progress(void* pointer, curl_off_t, curl_off_t received, curl_off_t, curl_off_t sent) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  const bool cancelled = transfer.request.cancelled && transfer.request.cancelled->load();
  if (stop_requested() || cancelled) {
    transfer.thrown = std::make_exception_ptr(Interrupted("stopped"));
    return 1;
  }
  if (transfer.request.sent) transfer.request.sent(sent);
  if (received + sent != transfer.bytes_seen) {
    transfer.bytes_seen = received + sent;
    transfer.seen_at = now();
  }
  transfer.timed_out = now() - transfer.seen_at > transfer.timeout;
  return transfer.timed_out ? 1 : 0;
}

void open_body_file(Transfer& transfer) {
  const auto& slice = *transfer.request.body_file;
  transfer.file.reset(std::fopen(slice.path.c_str(), "rbe"));
  if (!transfer.file || fseeko(transfer.file.get(), slice.offset, SEEK_SET) != 0) {
    throw FileError(str("cannot read ", slice.path.string()));
  }
  transfer.file_left = slice.length;
}

void set_body(CURL* curl, Transfer& transfer) {
  const auto& request = transfer.request;
  if (request.body_file) {
    open_body_file(transfer);
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body_file->length));
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_file);
    curl_easy_setopt(curl, CURLOPT_READDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(curl, CURLOPT_SEEKDATA, &transfer);
  } else if (request.body) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body->size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body->c_str());
  }
  if (request.method == "HEAD") {
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  } else {
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

void set_callbacks(CURL* curl, Transfer& transfer) {
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

CurlList header_list(const HttpRequest& request, bool with_token) {
  CurlList list;
  for (const auto& [name, value] : request.headers.list()) list.append(str(name, ": ", value));
  if (with_token) list.append("authorization: Bearer " + *request.token);
  list.append("Expect:");  // no server here needs to be asked before a body is sent
  if (!request.headers.find("content-type")) list.append("Content-Type:");
  return list;
}

/// Whether to go to where the answer points; `next` is that address.
bool follows(const HttpRequest& request, const HttpResponse& response, const std::string& next) {
  if (origin_of(next).empty() || request.redirects == Redirects::kNone) return false;
  const bool reading = request.method == "GET" || request.method == "HEAD";
  if (!reading && response.status != 307 && response.status != 308) return false;
  if (request.redirects == Redirects::kHub) return is_hub_origin(next, request.url);
  return !(origin_of(response.url).starts_with("https:") && origin_of(next).starts_with("http:"));
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

std::optional<std::string> HttpHeaders::find(std::string_view name) const {
  for (auto entry = list_.rbegin(); entry != list_.rend(); ++entry) {
    if (entry->first.size() == name.size() && strncasecmp(entry->first.data(), name.data(), name.size()) == 0) {
      return entry->second;
    }
  }
  return std::nullopt;
}

struct HttpClient::State {
  CurlHandle curl;

  HttpResponse perform(const HttpRequest& request, const std::string& url);
};

HttpClient::HttpClient() : state_(std::make_unique<State>()) {}
HttpClient::~HttpClient() = default;
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;

HttpResponse HttpClient::State::perform(const HttpRequest& request, const std::string& url) {
  Transfer transfer{request, {}};
  transfer.response.url = url;
  transfer.timeout = std::min(request.timeout.value_or(environment_number("HF_HUB_DOWNLOAD_TIMEOUT", kDefaultTimeout)),
                              kLongestTimeout);
  transfer.seen_at = now();
  curl_easy_reset(curl.get());  // connections are kept
  set_connection_options(curl.get(), url);
  curl_easy_setopt(curl.get(), CURLOPT_BUFFERSIZE, kReceiveBuffer);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(transfer.timeout * 1000));
  curl_easy_setopt(curl.get(), CURLOPT_FRESH_CONNECT, request.once ? 1L : 0L);
  if (!request.headers.find("accept-encoding")) curl_easy_setopt(curl.get(), CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
  set_body(curl.get(), transfer);
  set_callbacks(curl.get(), transfer);
  const auto headers = header_list(request, request.token && is_hub_origin(url, request.url));
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  char reason[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, reason);
  const CURLcode code = curl_easy_perform(curl.get());
  if (transfer.thrown) std::rethrow_exception(transfer.thrown);
  if (transfer.timed_out) {
    throw TimeOutError(str(shown_url(url), ": nothing came for ", transfer.timeout, " seconds"),
                       "HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT set how many seconds to wait");
  }
  if (code != CURLE_OK) throw_curl_error(code, curl.get(), url, reason);
  return std::move(transfer.response);
}

HttpResponse HttpClient::send(const HttpRequest& request) {
  std::string url = request.url;
  if (origin_of(url).empty()) throw HubError(str("\"", shown_url(url), "\" is no http or https address"));
  for (int redirects = 0;; ++redirects) {
    HttpResponse response = state_->perform(request, url);
    if (!is_redirect(response.status)) return response;
    const std::string next = joined_url(url, response.headers.find("location").value_or(""));
    if (!follows(request, response, next)) return response;
    if (redirects == kMostRedirects) {
      throw HubError(str(shown_url(request.url), " redirects more than ", kMostRedirects, " times"));
    }
    url = next;
  }
}

}  // namespace lorikeet
