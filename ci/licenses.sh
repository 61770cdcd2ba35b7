#!/usr/bin/env bash
# Licences, sources and advisories of all dependencies, and that every crate of the workspace can be packaged with its licences.
#
#   ci/licenses.sh
#
# Licences and sources need no network after a build or `cargo fetch`, and nothing installed; where cargo-deny is installed it is asked
# too. Advisories need a checkout of RustSec's advisory-db: KINGLET_ADVISORY_DB names it, else ~/.cargo/advisory-db or what
# cargo-deny has fetched is taken. KINGLET_VERIFY_PACKAGES=1 compiles every crate from its package.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

heading "licences, sources, advisories"
database=${KINGLET_ADVISORY_DB:-}
for place in "${CARGO_HOME:-$HOME/.cargo}"/advisory-db "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*; do
  [[ -n $database || ! -d $place/crates ]] || database=$place
done
cargo metadata --format-version 1 --locked --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" >"$tmp/metadata"
python3 -B ci/dependencies.py "$tmp/metadata" ${database:+"$database"}
if [[ -n $database ]]; then
  echo "advisories of $database$(git -C "$database" log -1 --format=', %cs' 2>/dev/null || true)"
else
  echo "NOT RUN: advisories, as there is no database (KINGLET_ADVISORY_DB, a checkout of RustSec's advisory-db)"
fi
if cargo deny --version >/dev/null 2>&1; then
  cargo deny check licenses bans sources
else
  echo "NOT RUN: cargo deny check licenses bans sources, as there is no cargo-deny (cargo install cargo-deny --locked)"
fi

heading "cargo package"
# Compiling each from its package again takes as long as a build.
verify=(--no-verify)
[[ -z ${KINGLET_VERIFY_PACKAGES:-} ]] || verify=()
if ! cargo package --workspace --allow-dirty ${verify[@]+"${verify[@]}"} >"$tmp/log" 2>&1; then
  cat "$tmp/log"
  die "a crate cannot be packaged"
fi
grep -E '^ *(Packaged|Verifying) ' "$tmp/log"
# Cargo says so only here, and only while it packages.
if grep 'is yanked' "$tmp/log"; then die "cargo update -p takes another version"; fi
for crate in kinglet-kernels kinglet-capi kinglet-reference kinglet kinglet-bench; do
  files=$(cargo package -p $crate --allow-dirty --list 2>/dev/null)
  for file in LICENSE-MIT LICENSE-APACHE; do
    grep -qx "$file" <<<"$files" || die "$crate is packaged without $file"
  done
done
# A registry takes no more.
for package in "$TARGET_DIR"/package/kinglet*.crate; do
  size=$(stat -c %s "$package")
  ((size <= 10 * 1024 * 1024)) || die "$package has $size bytes, more than the 10 MiB that a registry takes"
done
finish
