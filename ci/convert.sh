#!/usr/bin/env bash
# `kinglet convert`, looked at from outside: tiny checkpoints of every family (made from reference/fixtures by
# runtime/tests/convert.rs) are converted, and the files opened by the `gguf` Python package, which must find the tensors and
# values of the original and, in quantized ones, blocks that it decodes to nearly those values; `kinglet logits` of each is compared
# with the oracle's. Then tokenizers of each kind are made with the `tokenizers` package, converted, and must give the same ids.
#
# Installs the Python packages gguf and tokenizers (pinned below) into the target folder, and nowhere else.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

heading "convert: Python packages"
packages=$TARGET_DIR/convert-python
if [[ ! -d $packages/gguf-0.19.0.dist-info || ! -d $packages/tokenizers-0.23.3.dist-info ]]; then
  rm -rf "$packages"
  python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --target "$packages" gguf==0.19.0 tokenizers==0.23.3
fi

heading "convert: tiny checkpoints"
build_programs
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
KINGLET_CONVERTED=$out cargo test --release --workspace --test convert every_family_becomes_the_model_it_was

heading "convert: the gguf package, the oracle's logits, tokenizers"
PYTHONPATH=$packages python3 ci/convert.py "$TARGET_DIR/release/kinglet" "$out" reference/fixtures
finish
