#!/usr/bin/env bash
# Runs the x86-64 release tests and the kinglet program as a CPU without AVX (Nehalem, 2008): an instruction that leaked
# out of a detected tier dies here, and the scalar tier must be the one chosen.
#
#   ci/x86_baseline.sh [ARGUMENT OF cargo test...]
#
# Installs Debian's qemu-user, and a python3 that reads what cargo built, when they are missing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[[ $(uname -m) == x86_64 ]] || die "needs an x86-64 machine"

heading "x86-64 baseline: tests as Nehalem"
need_packages qemu-user
command -v python3 >/dev/null || need_packages python3
EMULATED_TARGET=x86_64-unknown-linux-gnu
RUNNER="qemu-x86_64 -cpu Nehalem"
export KINGLET_REQUIRE_TIERS=scalar KINGLET_EXPECT_TIER=scalar
if (($#)); then
  emulated cargo test --release "$@"
else
  # The very programs that `cargo test --workspace` runs: without the benchmarks, cargo would build others.
  programs=$(test_programs)
  (($(wc -l <<<"$programs") > 20)) || die "found too few tests: $programs"
  while IFS=$'\t' read -r program folder; do
    echo "     Running $program"
    # shellcheck disable=SC2086 # a command and its options
    (cd "$folder" && emulated $RUNNER "$program") </dev/null
  done <<<"$programs"
fi

heading "x86-64 baseline: the program as Nehalem"
build_programs
$RUNNER "$TARGET_DIR/release/kinglet" --help
if $RUNNER "$TARGET_DIR/release/kinglet" --help | grep -qw cpu; then
  $RUNNER "$TARGET_DIR/release/kinglet" cpu
fi
finish
