#include "hub/fetch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>

#include "core/atomic_file.h"
#include "core/digest.h"
#include "core/errors.h"
#include "hub/file_lock.h"
#include "hub/hub_error.h"
#include "hub/hub_test_support.h"
#include "hub/loopback_server.h"
#include "hub/snapshot.h"

namespace lorikeet {
namespace {
namespace fs = std::filesystem;

/// The range a request asks for, of `size` bytes.
std::pair<size_t, size_t> range_of(const std::string& head, size_t size) {
  const size_t at = head.find("Range: bytes=");
  if (at == std::string::npos) return {0, size};
  const std::string text = head.substr(at + 13, head.find("\r\n", at) - at - 13);
  const size_t dash = text.find('-');
  return {std::stoul(text), dash + 1 == text.size() ? size : std::stoul(text.substr(dash + 1)) + 1};
}

class FetchTest : public testing::Test {
 protected:
  FetchTest() {
    for (int i = 0; i < 100'000; ++i) data_ += static_cast<char>(i * 31 + i / 256);
  }

  std::string part(const std::string& head) const {
    const auto [start, end] = range_of(head, data_.size());
    if (start == 0 && end == data_.size() && head.find("Range:") == std::string::npos) {
      return LoopbackServer::answer("200 OK", data_);
    }
    return LoopbackServer::answer("206 Partial Content", data_.substr(start, end - start),
                                  "Content-Range: bytes " + std::to_string(start) + "-" + std::to_string(end - 1) +
                                      "/" + std::to_string(data_.size()) + "\r\n");
  }
  RemoteFile remote(const LoopbackServer& server) const {
    return {"x", server.url() + "/x", "", sha256_hex(data_), static_cast<int64_t>(data_.size())};
  }
  static FetchOptions options(int connections = 3) {
    FetchOptions options;
    options.connections = connections;
    options.part = 7'000;
    options.retry = {3, 0.001, 0.001};
    return options;
  }
  std::string fetched(const RemoteFile& file, const FetchOptions& options) {
    fs::remove(path());
    HubClient client(std::nullopt);
    fetch_file(client, file, path(), options);
    return read_file(path());
  }
  fs::path path() const { return folder_.path() / "file"; }
  template <class Exception>
  void refused(const std::string& words, const RemoteFile& file, const FetchOptions& options) {
    const auto said = words_of<Exception>([&] { fetched(file, options); });
    EXPECT_NE(said.find(words), std::string::npos) << said;
    EXPECT_FALSE(fs::exists(path()));
  }

  ScratchFolder folder_;
  ScopedVariable offline_{"HF_HUB_OFFLINE", std::nullopt};
  ScopedVariable endpoint_{"HF_ENDPOINT", "http://127.0.0.1:1"};
  std::string data_;
};

TEST_F(FetchTest, PartsComeTogether) {
  LoopbackServer server([&](const std::string& head) { return part(head); });
  for (const int connections : {1, 2, 5}) {
    int64_t shown = 0;
    auto how = options(connections);
    how.progress = [&](int64_t done) {
      EXPECT_GE(done, shown);
      shown = done;
    };
    EXPECT_EQ(fetched(remote(server), how), data_);
    EXPECT_EQ(shown, static_cast<int64_t>(data_.size()));
  }
  EXPECT_EQ(server.heads().size(), 1u + 15 + 15);
}

TEST_F(FetchTest, BrokenPartsGoOnWhereTheyBroke) {
  std::atomic<int> count{0};
  LoopbackServer server([&](const std::string& head) {
    const std::string whole = part(head);
    switch (++count % 4) {
      case 0:
        return std::string();
      case 1:
        return whole.substr(0, whole.size() - 1'000);
      case 2:
        return LoopbackServer::answer("503 Busy", "");
      default:
        return whole;
    }
  });
  for (const int connections : {1, 3}) {
    auto how = options(connections);
    how.retry.retries = 20;
    EXPECT_EQ(fetched(remote(server), how), data_);
  }
}

TEST_F(FetchTest, AServerWithoutRangesSendsItWhole) {
  LoopbackServer server([&](const std::string&) { return LoopbackServer::answer("200 OK", data_); });
  EXPECT_EQ(fetched(remote(server), options()), data_);
  std::atomic<int> count{0};
  LoopbackServer breaking([&](const std::string&) {
    const auto whole = LoopbackServer::answer("200 OK", data_);
    return ++count == 1 ? whole.substr(0, 5'000) : whole;
  });
  EXPECT_EQ(fetched(remote(breaking), options(1)), data_);
}

TEST_F(FetchTest, WrongBytesAreFetchedOnceMoreAndThenRefused) {
  std::atomic<int> bad{1};
  LoopbackServer server([&](const std::string& head) {
    std::string whole = part(head);
    if (bad-- > 0) whole.back() ^= 1;
    return whole;
  });
  for (const int connections : {1, 3}) {
    bad = 1;
    EXPECT_EQ(fetched(remote(server), options(connections)), data_);
    bad = 1'000;
    refused<HubError>(sha256_hex(data_) + " was promised", remote(server), options(connections));
  }
}

TEST_F(FetchTest, AServerThatKeepsToNothingIsRefused) {
  const auto file_of = [&](const LoopbackServer& server) { return remote(server); };
  LoopbackServer longer([&](const std::string&) { return LoopbackServer::answer("200 OK", data_ + "x"); });
  refused<HubError>("more bytes came", file_of(longer), options(1));
  LoopbackServer shorter([&](const std::string&) { return LoopbackServer::answer("200 OK", data_.substr(1)); });
  refused<ConnectionError>("the answer ended after 99999 of 100000 bytes (3 tries in a row)", file_of(shorter),
                           options(1));
  LoopbackServer elsewhere([&](const std::string&) {
    return LoopbackServer::answer("206 Partial Content", "abc", "Content-Range: bytes 5-7/100000\r\n");
  });
  refused<HubError>("and others came", file_of(elsewhere), options());
  LoopbackServer nonsense([&](const std::string&) {
    return LoopbackServer::answer("206 Partial Content", "abc", "Content-Range: lines 1-2\r\n");
  });
  refused<HubError>("and others came", file_of(nonsense), options());
  LoopbackServer gone([&](const std::string&) { return LoopbackServer::answer("410 Gone", ""); });
  refused<HubAnswerError>("410", file_of(gone), options());
}

TEST_F(FetchTest, AStaleAddressIsAskedForAnew) {
  LoopbackServer storage([](const std::string&) { return LoopbackServer::answer("403 Forbidden", "expired"); });
  LoopbackServer server([&](const std::string& head) { return part(head); });
  auto file = remote(server);
  file.first_url = storage.url() + "/old?Signature=1";
  for (const int connections : {1, 3}) EXPECT_EQ(fetched(file, options(connections)), data_);
}

TEST_F(FetchTest, AllBytesWithoutTheEndOfTheAnswerAreEnough) {
  LoopbackServer server([&](const std::string&) {
    const std::string chunk = "186A0\r\n" + data_ + "\r\n";  // the last chunk never comes
    return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk;
  });
  EXPECT_EQ(fetched(remote(server), options(1)), data_);
  EXPECT_EQ(server.heads().size(), 1u);
}

TEST_F(FetchTest, GitsDigestAndUnknownSizes) {
  LoopbackServer server([&](const std::string& head) { return part(head); });
  auto file = remote(server);
  // What `git hash-object` says of these bytes.
  file.etag = sha1_hex("blob 100000" + std::string(1, '\0') + data_);
  EXPECT_EQ(fetched(file, options()), data_);
  file.size.reset();
  EXPECT_EQ(fetched(file, options()), data_);
  file.etag = std::string(40, '0');
  refused<HubError>("git's sha1", file, options());
  file.etag = "neither-of-them";
  EXPECT_EQ(fetched(file, options()), data_);
}

TEST_F(FetchTest, TheDiskIsLookedAtFirst) {
  LoopbackServer server([&](const std::string& head) { return part(head); });
  auto file = remote(server);
  file.size = int64_t{1} << 60;
  refused<FileError>("the download needs", file, options());
  EXPECT_TRUE(server.heads().empty());
}

TEST_F(FetchTest, OfflineNothingIsAsked) {
  const ScopedVariable offline("HF_HUB_OFFLINE", "1");
  EXPECT_NE(words_of<HubError>([] { HubClient client(std::nullopt); }).find("HF_HUB_OFFLINE"), std::string::npos);
}

TEST(RepoPaths, OnlyThoseInsideAreSafe) {
  for (const char* path : {"a", "a/b.txt", ".gitattributes", "a..b/c...", "spa ce/\xC3\xA4"}) {
    EXPECT_TRUE(is_safe_repo_path(path)) << path;
  }
  for (const char* path : {"", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a\\b", "a\nb", "\x7f"}) {
    EXPECT_FALSE(is_safe_repo_path(path)) << path;
  }
  EXPECT_FALSE(is_safe_repo_path(std::string(256, 'x')));
  EXPECT_FALSE(is_safe_repo_path(std::string("a\0b", 3)));
}

TEST(RepoPaths, PatternsAreThoseOfFnmatch) {
  std::vector<RepoFile> files;
  for (const char* path : {"a.json", "unet/b.json", "unet/c.bin", ".d"}) {
    RepoFile file;
    file.path = path;
    files.push_back(file);
  }
  const auto names = [&](const std::vector<std::string>& include, const std::vector<std::string>& exclude) {
    std::string text;
    for (const auto& file : matching_files(files, include, exclude)) text += file.path + " ";
    return text;
  };
  EXPECT_EQ(names({}, {}), "a.json unet/b.json unet/c.bin .d ");
  EXPECT_EQ(names({"*.json"}, {}), "a.json unet/b.json ");
  EXPECT_EQ(names({"unet/"}, {"*.bin"}), "unet/b.json ");
  EXPECT_EQ(names({"[.]*", "?.json"}, {}), "a.json .d ");
}

TEST(FileLock, IsHeldByOneAtATime) {
  const ScratchFolder folder;
  const fs::path path = folder.path() / "a" / "b.lock";
  std::atomic<int> inside{0}, most{0}, rounds{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < 3; ++round) {
          const FileLock lock(path);
          most = std::max(most.load(), ++inside);
          std::this_thread::sleep_for(std::chrono::milliseconds(2));
          --inside;
          ++rounds;
        }
      });
    }
  }
  EXPECT_EQ(most, 1);
  EXPECT_EQ(rounds, 12);
  std::ofstream(folder.path() / "file") << "x";
  EXPECT_THROW(FileLock(folder.path() / "file" / "x.lock"), FileError);
}

}  // namespace
}  // namespace lorikeet
