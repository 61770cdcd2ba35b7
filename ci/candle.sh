#!/usr/bin/env bash
# kinglet's products in candle (kernels/examples/candle): format, lints, tests on small models, and SmolLM2, on which the logits must
# stay near those of candle's own products and both texts must come out.
#
#   ci/candle.sh
#
# Builds candle (some minutes the first time) and fetches SmolLM2 into kinglet's cache (93 MB).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Both quantize activations to 8 bits, by 32 and by 256 values, so logits differ by some hundredths of the largest.
WITHIN=0.1

heading "candle: build"
build_programs
model=$("$TARGET_DIR/release/kinglet" pull smollm2:135m)
mkdir -p "$TARGET_DIR/candle"
CARGO_TARGET_DIR=$(cd "$TARGET_DIR/candle" && pwd)
export CARGO_TARGET_DIR
# Here, because cargo reads the folder's .cargo/config.toml.
cd kernels/examples/candle
cargo build --release --locked

heading "candle: format and lints"
cargo fmt --check
cargo clippy --release --locked --all-targets -- -D warnings

heading "candle: tests"
cargo test --release --locked

heading "candle: smollm2:135m"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$CARGO_TARGET_DIR/release/kinglet-candle" "$model" --compare -n 24 --pp 64 --tg 8 -r 1 --within "$WITHIN" | tee "$out"
for name in candle kinglet; do
  grep -Eq "^$name +\".*[a-z]{3}.*\"$" "$out" || die "no text by $name"
done
finish
