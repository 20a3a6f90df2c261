#!/usr/bin/env bash
# Configures (when needed) and builds into build/, then says how long it took.
#   scripts/build.sh           the program only
#   scripts/build.sh tests     the program, the library example and the C++ tests
# The test switch only adds targets, so both share one folder and nothing is compiled twice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what="${1:-program}"
build="${BUILD_DIR:-build}"

# A source that includes torch takes up to 2 GB to compile: as many at once as cores and memory allow.
jobs() {
  local cores memory_gb limit
  cores=$(nproc)
  memory_gb=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
  limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)
  if [ "$limit" != max ] && [ $((limit >> 30)) -lt "$memory_gb" ]; then memory_gb=$((limit >> 30)); fi
  local fit=$((memory_gb / 2))
  [ "$fit" -ge 1 ] || fit=1
  [ "$fit" -lt "$cores" ] && echo "$fit" || echo "$cores"
}

# Debian's compiler and tools, whatever else is first on the PATH (conda and pyenv ship their own headers).
export PATH="/usr/bin:/bin:$PATH"

configure=()
if [ "$what" = tests ]; then
  grep -qs '^LORIKEET_TESTS:BOOL=ON' "$build/CMakeCache.txt" || configure=(-DLORIKEET_TESTS=ON)
elif [ ! -f "$build/build.ninja" ]; then
  configure=(-DLORIKEET_TESTS=OFF)
fi
if [ ${#configure[@]} -gt 0 ] || [ ! -f "$build/build.ninja" ]; then
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release "${configure[@]}"
fi

jobs=${JOBS:-$(jobs)}
targets=(lorikeet)
[ "$what" != tests ] || targets=(all)
started=$SECONDS
cmake --build "$build" --parallel "$jobs" --target "${targets[@]}"
printf 'Built %s in %d s with %s parallel jobs.\n' "$build/lorikeet" $((SECONDS - started)) "$jobs"
