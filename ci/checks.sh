#!/usr/bin/env bash
# Format, lints and documentation, with every warning an error.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
heading "cargo fmt"
cargo fmt --all --check
heading "cargo clippy"
cargo clippy --workspace --all-targets --release -- -D warnings
heading "kernels without the standard library"
cargo clippy -p kinglet-kernels --no-default-features --lib --release -- -D warnings
heading "rustdoc"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
finish
