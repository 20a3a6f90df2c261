#include "hub/retry.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <thread>

#include "core/interrupt.h"
#include "core/log.h"
#include "core/text.h"
#include "hub/curl_support.h"
#include "hub/environment.h"
#include "hub/hub_error.h"

namespace lorikeet {
namespace {

constexpr double kMostAsked = 3600;
constexpr int kRetriesWithoutConnection = 2;

/// Of `"api";r=0;t=55`, also with blanks in it: the number behind `name=`.
std::optional<double> parameter(std::string header, const std::string& name) {
  std::erase(header, ' ');
  const size_t at = header.find(";" + name + "=");
  if (at == std::string::npos) return std::nullopt;
  const char* start = header.c_str() + at + name.size() + 2;
  char* end = nullptr;
  const double value = std::strtod(start, &end);
  if (end == start || !std::isfinite(value) || value < 0) return std::nullopt;
  return value;
}

/// "7", or "Fri, 31 Dec 1999 23:59:59 GMT".
std::optional<double> seconds_until(const std::string& text) {
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (end != text.c_str() && *end == '\0' && std::isfinite(seconds)) {
    return seconds >= 0 ? std::optional(seconds) : std::nullopt;
  }
  const std::time_t when = curl_getdate(text.c_str(), nullptr);
  if (when < 0) return std::nullopt;
  return std::max(0.0, std::difftime(when, std::time(nullptr)));
}

std::string seconds_text(double seconds) {
  const double rounded = seconds < 10 ? std::round(seconds * 10) / 10 : std::round(seconds);
  return str(rounded, rounded == 1 ? " second" : " seconds");
}

}  // namespace

RetryPolicy RetryPolicy::usual() {
  RetryPolicy policy;
  policy.first = environment_number("LORIKEET_HUB_BACKOFF", policy.first);
  return policy;
}

double RetryPolicy::wait_before(int retry) const { return std::min(first * std::pow(2, retry - 1), most); }

bool is_worth_retrying(int status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

std::optional<double> asked_wait(const HttpResponse& response) {
  if (response.status != 429 && response.status != 503) return std::nullopt;
  if (const auto limit = response.headers.find("ratelimit")) {
    const auto remaining = parameter(*limit, "r"), reset = parameter(*limit, "t");
    if (remaining && *remaining == 0 && reset) return std::min(*reset + 1, kMostAsked);
  }
  if (const auto after = response.headers.find("retry-after")) {
    if (const auto seconds = seconds_until(*after)) return std::min(*seconds, kMostAsked);
  }
  return std::nullopt;
}

void wait_for_retry(double seconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < until) {
    stop_if_requested();
    const std::chrono::duration<double> left = until - std::chrono::steady_clock::now();
    std::this_thread::sleep_for(std::min(left, std::chrono::duration<double>(0.1)));
  }
  stop_if_requested();
}

void tell_and_wait(const std::string& what, double seconds) {
  log_warning(str(what, "; trying again in ", seconds_text(seconds)));
  wait_for_retry(seconds);
}

HttpResponse send_with_retries(HttpClient& client, const HttpRequest& request, const RetryPolicy& policy) {
  for (int retry = 1;; ++retry) {
    double wait = policy.wait_before(retry);
    std::string what;
    try {
      auto response = client.send(request);
      if (!is_worth_retrying(response.status) || retry > policy.retries) return response;
      wait = std::max(wait, asked_wait(response).value_or(0));
      what = str(shown_url(request.url), " answered ", response.status);
    } catch (const NoConnectionError& error) {
      if (retry > std::min(policy.retries, kRetriesWithoutConnection)) throw;
      what = error.what();
    } catch (const ConnectionError& error) {
      if (retry > policy.retries) throw;
      what = error.what();
    }
    tell_and_wait(what, wait);
  }
}

}  // namespace lorikeet
