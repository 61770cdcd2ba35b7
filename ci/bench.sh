#!/usr/bin/env bash
# Wall time of the gate suite's kernels on this machine: reported, and not gated, because CI's machines are not quiet. What fails is a
# wrong answer or a crash. Instructions are what is gated (ci/counts.sh), and time where `kinglet-bench compare` can run both sides.
#
#   ci/bench.sh [SUITE] [ARGUMENT OF kinglet-bench record...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"
suite=${1:-gate}
shift $(($# ? 1 : 0))

heading "bench: build"
build_programs
heading "bench: $suite"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$TARGET_DIR/release/kinglet-bench" record "$suite" --output "$tmp/times.jsonl" "$@" 2>"$tmp/progress" || {
  status=$?
  cat "$tmp/progress" >&2
  exit "$status"
}
"$TARGET_DIR/release/kinglet-bench" report "$tmp/times.jsonl"
finish
