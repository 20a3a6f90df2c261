#!/usr/bin/env bash
# Writes docs/cli/ and tests/data/cli_contract.txt from the program's own option lists:
#   scripts/cli_pages.sh
# A test (tests/cli_test.py) fails while they are not current; a changed line there is a change users see.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lorikeet="${LORIKEET_PROGRAM:-${BUILD_DIR:-build}/lorikeet}"
mkdir -p docs/cli
"$lorikeet" help --contract > tests/data/cli_contract.txt
"$lorikeet" help --markdown > docs/cli/README.md
sed -nE 's/^\| \[`lorikeet (.*)`\]\((.*)\) \|.*/\2 \1/p' docs/cli/README.md | while read -r page command; do
  # shellcheck disable=SC2086
  "$lorikeet" help --markdown $command > "docs/cli/$page"
done
