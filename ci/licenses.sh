#!/usr/bin/env bash
# The licences of all dependencies, as their packages state them, without a network (after a build or `cargo fetch`); and that every
# crate of the workspace can be packaged with its licences.
#
#   ci/licenses.sh
#
# With cargo-deny installed and its advisories fetched, `cargo deny check` says more; it is not needed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

heading "licences"
cargo metadata --format-version 1 --locked --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" >"${TMPDIR:-/tmp}/kinglet-metadata.$$"
python3 - "${TMPDIR:-/tmp}/kinglet-metadata.$$" <<'PYTHON'
import json, re, sys

# What may be linked into a program under MIT or Apache-2.0 with no more than a notice.
PERMISSIVE = {"MIT", "MIT-0", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC", "Zlib", "BSD-2-Clause", "BSD-3-Clause",
              "Unlicense", "CC0-1.0", "Unicode-3.0", "CDLA-Permissive-2.0", "BSL-1.0", "0BSD"}
# Tools that run while building or testing, whose code is in nothing that is built.
TOOLS = {"cbindgen": "MPL-2.0"}

def fits(text):
    """Whether an SPDX expression can be met: OR takes any, AND all."""
    text = text.replace("/", " OR ")
    tokens = re.findall(r"\(|\)|[^\s()]+", text)
    def expression():
        value = term()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            other = term()
            value = value or other
        return value
    def term():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            other = one()
            value = value and other
        return value
    def one():
        if tokens[0] == "(":
            tokens.pop(0)
            value = expression()
            tokens.pop(0)
            return value
        name = tokens.pop(0)
        if tokens and tokens[0] == "WITH":
            name += " " + tokens.pop(0) + " " + tokens.pop(0)
        return name in PERMISSIVE
    return expression()

packages = json.load(open(sys.argv[1]))["packages"]
bad = [p for p in packages if not p["license"] or not (fits(p["license"]) or TOOLS.get(p["name"]) == p["license"])]
for p in bad:
    print(f"{p['name']} {p['version']}: {p['license'] or 'no licence'}")
print(f"{len(packages)} packages, {len(bad)} with a licence that is not on the list")
sys.exit(1 if bad else 0)
PYTHON
rm -f "${TMPDIR:-/tmp}/kinglet-metadata.$$"

heading "cargo package"
# Compiling each from its package again takes as long as a build; KINGLET_VERIFY_PACKAGES=1 does it.
cargo package --workspace --allow-dirty $([[ -n ${KINGLET_VERIFY_PACKAGES:-} ]] || echo --no-verify) 2>&1 | sed "/^ *Packaging/!{/^ *Packaged/!d}"
for crate in kinglet-kernels kinglet-capi kinglet-reference kinglet kinglet-bench; do
  files=$(cargo package -p $crate --allow-dirty --list)
  for licence in LICENSE-MIT LICENSE-APACHE; do
    grep -qx $licence <<<"$files" || die "$crate is packaged without $licence"
  done
done
finish
