#!/usr/bin/env bash
# Format, lints and documentation, with every warning an error; and that rust-version is a compiler that everything was built with.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
heading "cargo fmt"
cargo fmt --all --check
heading "cargo clippy"
cargo clippy --workspace --all-targets --release -- -D warnings
heading "kernels without the standard library"
cargo clippy -p kinglet-kernels --no-default-features --lib --release -- -D warnings
heading "oldest compiler"
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
have=$(rustc -V | cut -d' ' -f2)
toolchain=$(rustup toolchain list 2>/dev/null | sed -n "s/^\($oldest\(\.0\)\?\)-.*/\1/p" | head -1)
if [[ $have == "$oldest" || $have == "$oldest".* ]]; then
  echo "ok: rustc $have, with which all of this is built and tested, is the rust-version of Cargo.toml"
elif [[ -n $toolchain ]]; then
  CARGO_TARGET_DIR=$TARGET_DIR/oldest cargo "+$toolchain" build --workspace --all-targets --locked
else
  echo "NOT RUN: a build with Rust $oldest, the rust-version of Cargo.toml; this is $have (rustup toolchain install $oldest)"
fi
heading "rustdoc"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
finish
