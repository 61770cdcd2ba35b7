#!/usr/bin/env bash
# Builds the tests for aarch64 and runs them in an emulator, requiring the tiers of the emulated CPU to run.
#
#   ci/aarch64.sh [CPU [ARGUMENT OF cargo test...]]
#
# CPU: an emulated model (cortex-a72: Raspberry Pi 4; cortex-a76: Pi 5; max: with i8mm), "native" on an aarch64 machine, or
# "all" (the default): cortex-a72, then on cortex-a76 and max the tests that run other code there, and a look at the
# instructions of each tier. Examples:
#   ci/aarch64.sh cortex-a72 -p kinglet-kernels --test matmul
#   ci/aarch64.sh cortex-a72 --workspace -- --nocapture quantizes
# Installs Debian packages that are missing (see ci/setup.sh).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cpu=${1:-all}
shift || true
if [[ $cpu == all ]]; then cpus=(cortex-a72 cortex-a76 max); else cpus=("$cpu"); fi
arguments=("$@")
((${#arguments[@]})) || arguments=("${EMULATED_TESTS[@]}")
# Tests whose code depends on the tier: the float kernels of all aarch64 tiers are the same.
TIER_TESTS=(--workspace --exclude kinglet-bench --test matmul --test tier --test conformance)

# tiers_of CPU: the tiers it must run, and the one that must be chosen there.
tiers_of() {
  case $1 in
  max | neoverse-v1 | neoverse-n2) echo scalar,neon,dotprod,i8mm i8mm ;;
  cortex-a76 | neoverse-n1) echo scalar,neon,dotprod dotprod ;;
  *) echo scalar,neon neon ;;
  esac
}

if [[ $cpu == native ]]; then
  heading "tests on this aarch64 machine"
  export KINGLET_REQUIRE_TIERS=${KINGLET_REQUIRE_TIERS:-scalar,neon}
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
  for i in "${!cpus[@]}"; do
    heading "aarch64: tests as ${cpus[i]}"
    ((i == 0 || $#)) || arguments=("${TIER_TESTS[@]}")
    read -r require expect < <(tiers_of "${cpus[i]}")
    KINGLET_REQUIRE_TIERS=${KINGLET_REQUIRE_TIERS:-$require} KINGLET_EXPECT_TIER=${KINGLET_EXPECT_TIER:-$expect} \
      RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu ${cpus[i]}" \
      emulated cargo test --release --target $AARCH64 "${arguments[@]}"
  done
  [[ $cpu != all || $# -ne 0 ]] || ci/instructions.sh "$TARGET_DIR/$AARCH64/release/kinglet"
fi
finish
