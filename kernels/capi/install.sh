#!/usr/bin/env bash
# Builds libkinglet and installs header, shared and static library, pkg-config file and CMake config.
#
#   kernels/capi/install.sh [--prefix DIR] [--libdir DIR] [--no-build]
#
# --prefix: default /usr/local. --libdir: below it, default lib. DESTDIR is put before both, for packagers. CARGO_BUILD_TARGET builds for
# another architecture. --no-build: installs what `cargo build --release -p kinglet-capi` has built before, perhaps as another user.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prefix=/usr/local libdir=lib build=yes
while (($#)); do
  case $1 in
  --no-build)
    build=no
    shift
    continue
    ;;
  --prefix) prefix=${2:?--prefix needs a directory} ;;
  --libdir) libdir=${2:?--libdir needs a directory} ;;
  *)
    echo "$0: unknown option $1; there are --prefix DIR, --libdir DIR and --no-build" >&2
    exit 2
    ;;
  esac
  shift 2
done

# Files say where they are, so it has to be the whole path.
[[ $prefix == /* ]] || prefix=$PWD/$prefix
from_here() (cd "$here" && "$@") # cargo reads the repository's settings only there
[[ $build == no ]] || from_here cargo build --release
target=$(from_here cargo metadata --no-deps --format-version 1 |
  sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
built=$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
version=$(from_here cargo metadata --no-deps --format-version 1 |
  sed 's/.*"name":"kinglet-capi","version":"\([^"]*\)".*/\1/')
if [[ ! -e $built/libkinglet_c.a ]]; then
  echo "$0: $built has no libkinglet_c.a; leave --no-build out" >&2
  exit 1
fi
abi=$(sed -n 's/^#define KINGLET_ABI_VERSION //p' "$here/include/kinglet.h")
# What a static library leaves to the program that links it.
private="-lm -lpthread -ldl"

case $(uname -s) in
Darwin) source=libkinglet_c.dylib shared=libkinglet.$version.dylib soname=libkinglet.$abi.dylib plain=libkinglet.dylib private="" ;;
*) source=libkinglet_c.so shared=libkinglet.so.$version soname=libkinglet.so.$abi plain=libkinglet.so ;;
esac

to=${DESTDIR:-}$prefix
lib=$to/$libdir
install -d "$lib/pkgconfig" "$lib/cmake/kinglet" "$to/include"
install -m 644 "$here/include/kinglet.h" "$to/include/"
install -m 755 "$built/$source" "$lib/$shared"
ln -sf "$shared" "$lib/$soname"
ln -sf "$soname" "$lib/$plain"
install -m 644 "$built/libkinglet_c.a" "$lib/libkinglet.a"
# Without tables of lines, which are nine tenths of it; a cross build keeps them.
if [[ -z ${CARGO_BUILD_TARGET:-} ]] && command -v strip >/dev/null && [[ $(uname -s) != Darwin ]]; then
  strip --strip-unneeded "$lib/$shared"
  strip --strip-debug "$lib/libkinglet.a"
fi

# fill TEMPLATE FILE
fill() {
  # From lib/cmake/kinglet up to the prefix.
  local up
  up=$(sed 's|[^/][^/]*|..|g' <<<"$libdir/cmake/kinglet")
  sed -e "s|@PREFIX@|$prefix|g; s|@LIBDIR@|$prefix/$libdir|g; s|@INCLUDEDIR@|$prefix/include|g; s|@VERSION@|$version|g" \
    -e "s|@PRIVATE@|$private|g; s|@SHARED@|$shared|g; s|@SONAME@|$soname|g; s|@LIB@|$libdir|g; s|@UP@|$up|g" "$here/$1" >"$2"
}
fill kinglet.pc.in "$lib/pkgconfig/kinglet.pc"
fill kinglet-config.cmake.in "$lib/cmake/kinglet/kinglet-config.cmake"
fill kinglet-config-version.cmake.in "$lib/cmake/kinglet/kinglet-config-version.cmake"
echo "installed libkinglet $version (ABI $abi) into $to"
