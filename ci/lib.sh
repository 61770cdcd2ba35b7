# Shared by the scripts in ci/: headings with times, Debian packages on demand, the aarch64 cross toolchain.
# Source it; it defines functions and changes to the repository's root.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# heading TEXT: starts a step and says how long the previous one took.
heading() {
  [[ -z ${STEP:-} ]] || echo "--- $STEP: $((SECONDS - STEP_START)) s"
  STEP=$1 STEP_START=$SECONDS
  echo "=== $STEP"
}

# finish: closes the last step and tells the total.
finish() {
  echo "--- $STEP: $((SECONDS - STEP_START)) s"
  STEP=
  echo "=== done in $SECONDS s"
}

die() {
  echo "$0: $*" >&2
  exit 1
}

# build_programs: kinglet, kinglet-bench and libkinglet. One test is built with them because dependencies then have the
# features that they have in `cargo test --workspace`: after it, nothing is left to build.
build_programs() {
  cargo build --release --workspace --lib --bins --test tier
}

# Commands that need root, as root or through sudo.
as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

apt_updated=
apt_update() {
  [[ -n $apt_updated ]] || as_root apt-get update -qq
  apt_updated=yes
}

# need_packages PACKAGE...: installs those Debian packages that are missing, and says so.
need_packages() {
  local missing=() package
  for package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "needs ${missing[*]} (Debian's names); install them and run this again"
  echo "installing ${missing[*]}"
  apt_update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

TARGET_DIR=${CARGO_TARGET_DIR:-target}
AARCH64=aarch64-unknown-linux-gnu

# Makes `cargo build --target $AARCH64` work: with the installed rustup target if there is one, else with Debian's rustc.
setup_aarch64() {
  need_packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
  export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
  local libs
  libs=$(rustc --print sysroot)/lib/rustlib/$AARCH64/lib
  if compgen -G "$libs/libstd-*.rlib" >/dev/null; then
    echo "cross compiler: $(rustc -V), its own $AARCH64 target"
  else
    debian_rustc
    echo "cross compiler: $("$RUSTC" -V)"
    # Another compiler than the native one: give it a directory of its own, so that neither rebuilds the other's crates.
    TARGET_DIR=$TARGET_DIR/aarch64
    export CARGO_TARGET_DIR=$TARGET_DIR
  fi
}

# Debian's rustc with the standard libraries of both architectures, for machines whose own toolchain has no aarch64
# target. The package is unpacked into a cache rather than installed: installing rustc-web removes rustup's and Debian's
# own rustc, and would shadow the native toolchain. Only its shared libraries are installed.
debian_rustc() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/kinglet-ci/rust-web
  if [[ ! -x $cache/clippy-wrapper ]] || ! "$cache/rustc" -V >/dev/null 2>&1; then
    dpkg --print-foreign-architectures | grep -qx arm64 || as_root dpkg --add-architecture arm64
    apt_updated=
    apt_update
    local libstd
    libstd=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | head -1)
    [[ -n $libstd ]] || die "Debian's package libstd-rust-web-dev is not to be had here; try: rustup target add $AARCH64"
    need_packages gcc libc6-dev "$libstd"
    echo "unpacking rustc-web and libstd-rust-web-dev (amd64, arm64) into $cache"
    local tmp
    tmp=$(mktemp -d)
    chmod 755 "$tmp" # apt's own user downloads into it when root calls
    (cd "$tmp" && apt-get download -qq rustc-web rust-web-clippy libstd-rust-web-dev libstd-rust-web-dev:arm64 2>/dev/null)
    rm -rf "$cache"
    mkdir -p "$cache"
    local deb
    for deb in "$tmp"/*.deb; do dpkg -x "$deb" "$cache"; done
    rm -r "$tmp"
    # This rustc looks for its libraries beside the installed driver, so tell it where they are.
    local tool
    for tool in rustdoc rustc; do
      printf '#!/bin/sh\nexec "%s" --sysroot "%s" "$@"\n' "$cache/usr/bin/$tool" "$cache/usr" >"$cache/$tool"
      chmod +x "$cache/$tool"
    done
    # Cargo calls it with the path of rustc first, as clippy's driver expects.
    printf '#!/bin/sh\nexec "%s" "$@" --sysroot "%s"\n' "$cache/usr/bin/clippy-driver" "$cache/usr" >"$cache/clippy-wrapper"
    chmod +x "$cache/clippy-wrapper"
    "$cache/rustc" -V >/dev/null || die "Debian's rustc does not run"
  fi
  export RUSTC=$cache/rustc RUSTDOC=$cache/rustdoc
}

# clippy_aarch64 ARGUMENT...: cargo clippy for aarch64 with warnings denied, after setup_aarch64.
clippy_aarch64() {
  if [[ -z ${RUSTC:-} ]]; then
    cargo clippy --target $AARCH64 "$@" -- -D warnings
  else
    # What `cargo clippy` does, with Debian's driver. It shares no artifacts with the build.
    RUSTC_WORKSPACE_WRAPPER=$(dirname "$RUSTC")/clippy-wrapper CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings \
      CARGO_TARGET_DIR=$TARGET_DIR/clippy cargo check --target $AARCH64 "$@"
  fi
}

# emulated COMMAND...: runs a cargo command with test programs under the emulator named by $RUNNER. Tests that start the
# kinglet program themselves put KINGLET_TEST_RUNNER before it; KINGLET_EMULATED=1 tells tests to choose smaller sizes.
emulated() {
  env "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$EMULATED_TARGET")_RUNNER=$RUNNER" KINGLET_TEST_RUNNER="$RUNNER" \
    KINGLET_EMULATED=1 "$@"
}

# test_programs: builds the tests of the workspace, and writes a line "program<TAB>folder to run it in" for each of
# those that run in an emulator.
test_programs() {
  cargo test --release --workspace --lib --bins --tests --no-run --message-format json-render-diagnostics | python3 -c '
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        folder = os.path.dirname(message["manifest_path"])
        if "#kinglet-bench@" not in message["package_id"]:
            print(message["executable"], folder, sep="\t")'
}

# What runs in an emulator: everything but the benchmarks and the documentation's examples.
EMULATED_TESTS=(--workspace --exclude kinglet-bench --lib --bins --tests)
