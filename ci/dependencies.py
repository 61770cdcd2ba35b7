#!/usr/bin/env python3
"""Dependencies judged without a network and with nothing installed: dependencies.py METADATA [ADVISORIES]

METADATA is what `cargo metadata` prints: every package has a licence of deny.toml's lists, every package that is not ours comes from one
registry, the same for all, with a checksum in Cargo.lock, and no version requirement is `*`. ADVISORIES is a checkout of RustSec's advisory-db: no version in
Cargo.lock is one that an advisory names. `cargo deny` says the same and more."""

import json
import re
import sys
import tomllib
from pathlib import Path


def fits(text, allowed):
    """Whether an SPDX expression can be met: OR takes any, AND all."""
    tokens = re.findall(r"\(|\)|[^\s()]+", text.replace("/", " OR "))

    def chain(word, part, met):
        parts = [part()]
        while tokens and tokens[0] == word:
            tokens.pop(0)
            parts.append(part())
        return met(parts)

    def expression():
        return chain("OR", lambda: chain("AND", one, all), any)

    def one():
        name = tokens.pop(0)
        if name == "(":
            value = expression()
            tokens.pop(0)
            return value
        if tokens and tokens[0] == "WITH":
            name += " " + tokens.pop(0) + " " + tokens.pop(0)
        return name in allowed

    return expression()


def licences(packages, rules):
    allowed = set(rules["allow"])
    more = {e["crate"]: set(e["allow"]) for e in rules["exceptions"]}
    for p in packages:
        if not p["license"] or not fits(p["license"], allowed | more.get(p["name"], set())):
            yield f"{p['name']} {p['version']}: {p['license'] or 'no licence'}, which deny.toml does not allow"


def sources(packages, locked):
    # Cargo.toml names no registry, so that most packages come from Cargo's own.
    found = [p["source"] for p in packages if p["source"]]
    registry = max(set(found), key=found.count, default=None)
    for p in packages:
        if p["source"] not in (None, registry) or not (p["source"] or "registry+").startswith("registry+"):
            yield f"{p['name']} {p['version']} comes from {p['source']}, not from Cargo's own registry"
        for d in p["dependencies"] if p["source"] is None else []:
            if d["req"] == "*":
                yield f"{p['name']} asks for any version of {d['name']}; give it one in Cargo.toml"
    for p in locked:
        if "source" in p and "checksum" not in p:
            yield f"{p['name']} {p['version']} has no checksum in Cargo.lock"


def version(text):
    """To be compared: numbers, then releases after their pre-releases, then those in order."""
    core, _, pre = text.split("+")[0].partition("-")
    parts = [(0, int(x), "") if x.isdigit() else (1, 0, x) for x in pre.split(".")] if pre else []
    numbers = [int(x) for x in core.split(".")]
    return (numbers + [0, 0])[:3], not pre, parts


def matches(v, requirement):
    """Whether a version meets a requirement of Cargo's syntax, such as `>= 1.2, < 2`."""
    for part in requirement.split(","):
        op, want = re.fullmatch(r"(>=|<=|>|<|=|\^|~)?\s*(\S+)", part.strip()).groups()
        have, least = version(v), version(want)
        given = want.split("-")[0].split(".")
        if op in (None, "^", "~"):
            # The number that may not grow: after ~ the second, else the first that is not 0.
            numbers = [int(x) for x in given]
            keep = min(1, len(numbers) - 1) if op == "~" else next((i for i, x in enumerate(numbers) if x), len(numbers) - 1)
            good = have >= least and have[0][: keep + 1] == least[0][: keep + 1]
        else:
            good = {">=": have >= least, "<=": have <= least, ">": have > least, "<": have < least, "=": have == least}[op]
        if not good:
            return False
    return True


def advisories(database, locked):
    """What the database says of the locked versions, and how many advisories were read."""
    found, read = [], 0
    for p in locked:
        for path in sorted((database / "crates" / p["name"]).glob("RUSTSEC-*.md")):
            read += 1
            front = tomllib.loads(re.match(r"\s*```toml\n(.*?)```", path.read_text(), re.S)[1])
            advisory, fixed = front["advisory"], front.get("versions", {})
            safe = [*fixed.get("patched", []), *fixed.get("unaffected", [])]
            if "withdrawn" in advisory or any(matches(p["version"], r) for r in safe):
                continue
            what = f"{p['name']} {p['version']}: {advisory['id']} ({advisory.get('informational', 'vulnerability')})"
            found.append(f"{what}; versions without it: {', '.join(safe) or 'none'}")
    return found, read


def main():
    packages = json.loads(Path(sys.argv[1]).read_text())["packages"]
    locked = tomllib.loads(Path("Cargo.lock").read_text())["package"]
    others = [p for p in locked if "source" in p]
    bad = [*licences(packages, tomllib.loads(Path("deny.toml").read_text())["licenses"]), *sources(packages, locked)]
    print(f"{len(packages)} packages for this machine, {len(locked)} in Cargo.lock: licences, sources, requirements")
    if len(sys.argv) > 2:
        if not any(Path(sys.argv[2], "crates").glob("*/RUSTSEC-*.md")):
            sys.exit(f"{sys.argv[2]} is no checkout of RustSec's advisory-db")
        found, read = advisories(Path(sys.argv[2]), others)
        bad += found
        print(f"{read} advisories on {len(others)} packages, {len(found)} that apply")
    for line in bad:
        print(line)
    sys.exit(1 if bad else 0)


# What the comparison of versions is worth.
for _v, _r, _want in [("1.2.3", ">= 1.2.3", True), ("1.2.3", "> 1.2.3", False), ("0.9.5", "^0.9.2", True), ("0.10.0", "^0.9.2", False),
                      ("1.2.3", ">=1.0, <1.2.3", False), ("1.0.0-rc.1", ">= 1.0.0", False), ("1.0.0-rc.10", ">= 1.0.0-rc.9", True),
                      ("1.9.0", "1", True), ("0.0.4", "^0.0.3", False), ("1.3.0", "~1.2", False), ("2.0.1", "=2.0.1", True)]:
    assert matches(_v, _r) == _want, (_v, _r)
if __name__ == "__main__":
    main()
