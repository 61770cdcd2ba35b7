#!/usr/bin/env bash
# The three real models of the catalogue, end to end: greedy text and the hash of the logits must be what ci/expected
# holds, with the fastest tier, with the scalar tier, and (SmolLM2, a few tokens) as an emulated Cortex-A72.
#
#   ci/end_to_end.sh            check
#   ci/end_to_end.sh --update   write ci/expected anew, after a change of the numerical contract
#
# Then ci/convert.sh.
#
# Fetches the models with the person's own pip into kinglet's cache (720 MB), and installs Debian packages that are
# missing for the emulated part (see ci/setup.sh). KINGLET_NO_AARCH64=1 leaves that part out.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
update=no
[[ ${1:-} != --update ]] || update=yes

PROMPT='Explain in two sentences why the sky is blue.'
TEXT='The kinglet is the smallest bird of its forest, and it beats its wings faster than any other: 1, 2, 3, 4 …'
failed=0

# same WHAT ACTUAL EXPECTED: compares two files.
same() {
  if cmp -s "$2" "$3"; then
    echo "ok: $1"
  else
    echo "DIFFERS: $1"
    diff "$3" "$2" | head -20 || true
    failed=1
  fi
}

# expect NAME ACTUAL: compares the file ACTUAL with ci/expected/NAME.
expect() {
  if [[ $update == yes ]]; then cp "$2" "ci/expected/$1"; fi
  same "$1" "$2" "ci/expected/$1"
}

# logits_hash OPTION... : SHA-256 of the logits after each token of TEXT, as "${program[@]}" computes them.
logits_hash() {
  "${program[@]}" logits "$model" --tokens "$tmp/ids.json" --out "$tmp/logits.f32" -q "$@"
  sha256sum <"$tmp/logits.f32"
}

heading "end to end: build"
build_programs
kinglet=$TARGET_DIR/release/kinglet
program=("$kinglet")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

for model in smollm2:135m gemma3:270m qwen2.5-coder:0.5b; do
  heading "end to end: $model"
  "$kinglet" pull "$model"
  "$kinglet" run "$model" --temp 0 -n 40 "$PROMPT" >"$tmp/text"
  expect "${model/:/-}.text" "$tmp/text"
  "$kinglet" tokenize "$model" "$TEXT" >"$tmp/ids.json"
  logits_hash >"$tmp/hash"
  expect "${model/:/-}.logits" "$tmp/hash"
  logits_hash --tier scalar -t 1 --batch 5 >"$tmp/hash"
  expect "${model/:/-}.logits" "$tmp/hash"
done
[[ $update == no ]] || exit 0

heading "end to end: checkpoints become GGUF"
ci/convert.sh

if [[ -z ${KINGLET_NO_AARCH64:-} ]]; then
  heading "end to end: smollm2:135m as Cortex-A72"
  model=smollm2:135m
  "$kinglet" tokenize "$model" "$TEXT" >"$tmp/ids.json"
  setup_aarch64
  # With the features of the tests of ci/aarch64.sh.
  cargo build --release --target $AARCH64 --workspace --exclude kinglet-bench --bins --test tier
  program=(qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu cortex-a72 "$TARGET_DIR/$AARCH64/release/kinglet")
  logits_hash >"$tmp/hash"
  expect "${model/:/-}.logits" "$tmp/hash"
  "${program[@]}" run "$model" --temp 0 -n 4 "$PROMPT" >"$tmp/text"
  # The same words as far as they go.
  head -c "$(($(stat -c %s "$tmp/text") - 1))" "ci/expected/${model/:/-}.text" >"$tmp/start"
  echo >>"$tmp/start"
  same "the first words" "$tmp/text" "$tmp/start"
  heading "end to end: pages of 4, 16 and 64 KiB"
  for model in reference/fixtures/smollm2-q-q4_1/model.gguf reference/fixtures/llama-tinyllama/model.gguf; do
    cp "$(dirname "$model")/tokens.json" "$tmp/ids.json"
    arm=("${program[@]}")
    program=("$kinglet")
    logits_hash >"$tmp/expected"
    for page in 4096 16384 65536; do
      program=(qemu-aarch64 -p $page "${arm[@]:1}")
      logits_hash >"$tmp/hash"
      same "$model with pages of $page bytes" "$tmp/hash" "$tmp/expected"
    done
    program=("${arm[@]}")
  done
fi
finish
((failed == 0)) || die "results differ from ci/expected"
