#!/usr/bin/env bash
# Evidence of speed on Arm without an Arm machine: instructions executed in an emulator by our kernels and by llama.cpp's,
# throughput of the inner loops by llvm-mca, and what both predict for a Raspberry Pi 4 and 5. Writes bench/log/arm.md.
#
#   bench/arm/evidence.sh [FORMAT...]
#
# llama.cpp's ggml is built from the source package of llama-cpp-python on PyPI. Installs Debian packages that are missing.
set -euo pipefail
. "$(dirname "$0")/../../ci/lib.sh"
cd "$(git rev-parse --show-toplevel)"

heading "arm evidence: set up"
setup_aarch64
need_packages g++-aarch64-linux-gnu llvm-19 python3-pip
cargo build --release --target $AARCH64 -p kinglet-kernels --example matmul_once
work=$TARGET_DIR/arm-evidence
mkdir -p "$work"
gcc -O2 -shared -fPIC -o "$work/instructions.so" bench/arm/instructions.c

heading "arm evidence: build ggml"
if [[ ! -d $work/ggml ]]; then
  python3 -m pip download -q --no-deps --no-binary llama-cpp-python -d "$work" llama-cpp-python
  tar -xf "$work"/llama_cpp_python-*.tar.gz -C "$work" --wildcards '*/vendor/llama.cpp/ggml/*'
  mv "$work"/llama_cpp_python-*/vendor/llama.cpp/ggml "$work/ggml"
fi
version=$(basename "$work"/llama_cpp_python-*.tar.gz .tar.gz)

# build_peer CPU MARCH: what CMake builds with GGML_NATIVE off, for one CPU, without OpenMP and shared libraries.
build_peer() {
  local out=$work/$1 src=$work/ggml/src file object compiler
  mkdir -p "$out"
  printf '#pragma once\n#define GGML_VERSION "%s"\n#define GGML_COMMIT "PyPI"\n' "$version" >"$out/ggml-version.h"
  local flags=(-O3 -DNDEBUG -D_GNU_SOURCE -march="$2" -I"$work/ggml/include" -I"$src" -I"$src/ggml-cpu" -I"$out"
    -DGGML_USE_CPU -DGGML_USE_CPU_REPACK -DGGML_USE_LLAMAFILE)
  for file in "$src"/*.c "$src"/*.cpp "$src"/ggml-cpu/*.c "$src"/ggml-cpu/*.cpp "$src"/ggml-cpu/{amx,tiled,llamafile}/*.cpp \
    "$src"/ggml-cpu/arch/arm/{quants.c,repack.cpp}; do
    object=$out/$(tr / _ <<<"${file#"$src"/}").o
    [[ $file != *.c ]] && compiler=(aarch64-linux-gnu-g++ -std=gnu++17) || compiler=(aarch64-linux-gnu-gcc -std=gnu11)
    [[ -e $object ]] || "${compiler[@]}" "${flags[@]}" -c "$file" -o "$object"
  done
  aarch64-linux-gnu-g++ -std=gnu++17 "${flags[@]}" -static bench/arm/peer.cpp "$out"/*.o -o "$work/peer-$1" 2>/dev/null
}
build_peer cortex-a72 armv8-a
build_peer cortex-a76 armv8.2-a+dotprod

heading "arm evidence: count"
python3 bench/arm/evidence.py "$work" "$TARGET_DIR/$AARCH64/release/examples/matmul_once" "$version" "$@"
finish
