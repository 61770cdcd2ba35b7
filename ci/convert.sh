#!/usr/bin/env bash
# `kinglet convert`, looked at from outside: tiny checkpoints of every family (made from reference/fixtures by
# runtime/tests/convert.rs) are converted, and the files opened by the `gguf` Python package, which must find the tensors and
# values of the original and, in quantized ones, blocks that it decodes to nearly those values; `kinglet logits` of each is compared
# with the oracle's. Then tokenizers of each kind are made with the `tokenizers` package, converted, and must give the same ids.
#
# Installs gguf and tokenizers (pinned below) into a virtual environment in the target folder.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

heading "convert: Python packages"
venv=$TARGET_DIR/convert-venv
if [[ ! -x $venv/bin/python ]]; then python3 -m venv "$venv"; fi
"$venv/bin/pip" install -q --disable-pip-version-check gguf==0.19.0 tokenizers==0.23.3

heading "convert: tiny checkpoints"
cargo build --release -p kinglet
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
KINGLET_CONVERTED=$out cargo test --release -p kinglet --test convert every_family_becomes_the_model_it_was

heading "convert: the gguf package, the oracle's logits, tokenizers"
"$venv/bin/python" ci/convert.py "$TARGET_DIR/release/kinglet" "$out" reference/fixtures
finish
