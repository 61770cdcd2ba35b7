#!/usr/bin/env bash
# Counts the executed instructions of every kernel and compares them exactly with bench/counts: scalar and avx2 by callgrind,
# every Arm tier in QEMU. A change names the kernel, both counts and their ratio, and fails.
#
#   ci/counts.sh [x86_64|aarch64|all] [ARGUMENT OF kinglet-bench counts...]
#
# After a change that was meant: ci/counts.sh all --record. Counts belong to a compiler: with one that is not on record this
# says so and passes. avx_vnni and avx512_vnni need a CPU that has them and are counted step by step, some minutes:
# kinglet-bench counts --tiers avx_vnni,avx512_vnni. Installs Debian packages that are missing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

arch=${1:-all}
shift || true
if [[ $arch == all ]]; then archs=(x86_64 aarch64); else archs=("$arch"); fi

heading "counts: build"
need_packages valgrind qemu-user gcc libc6-dev
build_programs
program=$PWD/$TARGET_DIR/release/kinglet-bench
[[ $TARGET_DIR != /* ]] || program=$TARGET_DIR/release/kinglet-bench

for arch in "${archs[@]}"; do
  heading "counts: $arch"
  tiers=()
  if [[ $arch == x86_64 ]]; then tiers=(--tiers scalar,avx2); else setup_aarch64; fi
  status=0
  "$program" counts --arch "$arch" "${tiers[@]}" "$@" || status=$?
  # 8: nothing on record for this compiler.
  ((status == 0 || status == 8)) || exit "$status"
done
finish
