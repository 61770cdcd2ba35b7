#!/usr/bin/env bash
# Builds the tests for aarch64 and runs them in an emulator, requiring the NEON tier to run.
#
#   ci/aarch64.sh [CPU [ARGUMENT OF cargo test...]]
#
# CPU: an emulated model (cortex-a72: Raspberry Pi 4; cortex-a76: Pi 5; max), "native" on an aarch64 machine, or "all"
# (the default): cortex-a72 and cortex-a76. Examples:
#   ci/aarch64.sh cortex-a72 -p kinglet-kernels --test matmul
#   ci/aarch64.sh cortex-a72 --workspace -- --nocapture quantizes
# Installs Debian packages that are missing (see ci/setup.sh).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cpu=${1:-all}
shift || true
if [[ $cpu == all ]]; then cpus=(cortex-a72 cortex-a76); else cpus=("$cpu"); fi
arguments=("$@")
((${#arguments[@]})) || arguments=("${EMULATED_TESTS[@]}")

export KINGLET_REQUIRE_TIERS=${KINGLET_REQUIRE_TIERS:-scalar,neon} KINGLET_EXPECT_TIER=${KINGLET_EXPECT_TIER:-neon}
if [[ $cpu == native ]]; then
  heading "tests on this aarch64 machine"
  cargo test --release "${arguments[@]}"
else
  heading "aarch64: set up"
  setup_aarch64
  EMULATED_TARGET=$AARCH64
  if [[ $# -eq 0 ]]; then
    heading "aarch64: clippy" # for the code that only this architecture compiles
    clippy_aarch64 --release -p kinglet-kernels --all-targets
    heading "aarch64: build tests"
  fi
  # The same options as below, so that nothing is built twice.
  build=("${arguments[@]}")
  for i in "${!build[@]}"; do
    if [[ ${build[i]} == -- ]]; then
      build=("${build[@]:0:i}")
      break
    fi
  done
  cargo test --release --target $AARCH64 "${build[@]}" --no-run
  for cpu in "${cpus[@]}"; do
    heading "aarch64: tests as $cpu"
    RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu $cpu" \
      emulated cargo test --release --target $AARCH64 "${arguments[@]}"
  done
fi
finish
