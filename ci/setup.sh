#!/usr/bin/env bash
# Installs what the other scripts need beyond Rust, a C compiler and Python: Debian packages, as root or through sudo.
#   gcc-aarch64-linux-gnu, libc6-dev-arm64-cross   linker and C library of the aarch64 build
#   qemu-user                                      runs aarch64 programs, and x86-64 ones as an old CPU
#   rustc-web, rust-web-clippy, libstd-rust-web-dev (unpacked into a cache, not installed), only when the Rust
#   toolchain has no aarch64 target of its own; `rustup target add aarch64-unknown-linux-gnu` avoids it
# Each script calls the part it needs, so this one is for preparing a machine ahead of time.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
setup_aarch64
