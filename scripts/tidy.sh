#!/usr/bin/env bash
# clang-tidy's short list (.clang-tidy) over the given sources, or over all of src/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="/usr/bin:/bin:$PATH"
command -v clang-tidy >/dev/null || { echo "clang-tidy is missing: sudo apt-get install -y clang-tidy" >&2; exit 1; }
# A folder of its own, configured only: clang cannot read gcc's precompiled header, and none is made there.
[ -f build-tidy/compile_commands.json ] || cmake --preset tidy >/dev/null
sources=("$@")
if [ ${#sources[@]} -eq 0 ]; then
  mapfile -t sources < <(git ls-files 'src/*.cpp')
else
  # Headers are checked through the sources that include them.
  mapfile -t sources < <(printf '%s\n' "$@" | grep '^src/.*\.cpp$' || true)
fi
[ ${#sources[@]} -gt 0 ] || exit 0
printf '%s\0' "${sources[@]}" | xargs -0 -P "${JOBS:-$(nproc)}" -n 1 clang-tidy -p build-tidy --quiet \
  --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-ignored-optimization-argument
