#!/usr/bin/env bash
# libkinglet as others use it: installs it into a temporary prefix, compiles its header as C99 and C++17, compares its symbols with
# the committed list, builds and runs the examples in C (Makefile and CMake, gcc and clang, shared and static, valgrind,
# sanitizers) and in Python, and feeds random arguments to every function under AddressSanitizer.
#
#   ci/capi.sh
#
# Installs Debian packages that are missing, and numpy and gguf of pinned versions into a cache. The last part needs a nightly toolchain; without
# one it says NOT RUN. KINGLET_FUZZ_RUNS: calls it makes (default 20000); KINGLET_FUZZ_MINUTES: how long it makes calls instead; KINGLET_FUZZ_SEED:
# which.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

heading "capi: install"
need_packages gcc g++ clang cmake make pkg-config valgrind python3-venv binutils
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
prefix=$tmp/usr
build_programs # the library, too
kernels/capi/install.sh --no-build --prefix "$prefix"

heading "capi: header"
printf '#include <kinglet.h>\nint main(void) { return kinglet_abi_version() != KINGLET_ABI_VERSION; }\n' >"$tmp/header.c"
for compiler in "gcc -std=c99" "clang -std=c99" "g++ -std=c++17 -x c++" "clang++ -std=c++17 -x c++"; do
  # shellcheck disable=SC2086 # a compiler and its options
  $compiler -Wall -Wextra -pedantic -Werror -I "$prefix/include" "$tmp/header.c" -o "$tmp/header" -L "$prefix/lib" -lkinglet
  LD_LIBRARY_PATH=$prefix/lib "$tmp/header"
  echo "ok: $compiler"
done
# The program of kernels/docs/c.md, with the commands that are there.
{
  sed -n '/^    #include <kinglet.h>/,/^    }$/s/^    //p' kernels/docs/c.md
  echo 'int main(void) {
  static const unsigned char zero[144];
  float x[256] = {1}, y = 1;
  return layer(zero, sizeof zero, 1, 256, x, 1, &y) || y != 0 || !layer(zero, sizeof zero - 1, 1, 256, x, 1, &y);
}'
} >"$tmp/program.c"
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
# shellcheck disable=SC2046 # options
cc -std=c99 -Wall -Wextra -pedantic -Werror "$tmp/program.c" -o "$tmp/program" $(pkg-config --cflags --libs kinglet) "-Wl,-rpath,$prefix/lib"
"$tmp/program" 2>"$tmp/said"
grep -q 'Q4_K is not 143 bytes' "$tmp/said" || die "a block that ends too early was refused with: $(cat "$tmp/said")"
# shellcheck disable=SC2046
cc "$tmp/program.c" -o "$tmp/program" $(pkg-config --cflags kinglet) "$prefix/lib/libkinglet.a" -lm -lpthread -ldl
"$tmp/program" 2>"$tmp/said"
unset PKG_CONFIG_PATH
echo "ok: the program of kernels/docs/c.md, shared and static"

heading "capi: symbols"
nm -D --defined-only "$prefix/lib/libkinglet.so" | awk '{print $3}' | LC_ALL=C sort >"$tmp/symbols"
diff kernels/capi/symbols.txt "$tmp/symbols" || die "the library's symbols are not those of kernels/capi/symbols.txt"
soname=$(readelf -d "$prefix/lib/libkinglet.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
abi=$(sed -n 's/^#define KINGLET_ABI_VERSION //p' kernels/capi/include/kinglet.h)
[[ $soname == libkinglet.so.$abi ]] || die "SONAME is $soname, and the header's ABI $abi"
echo "ok: $(wc -l <"$tmp/symbols") symbols, $soname"

heading "capi: examples in C"
cp -r kernels/examples/c "$tmp/c"
models=(reference/fixtures/smollm2-q-mix-q4_k_m/model.gguf reference/fixtures/llama-tinyllama-q-q4_k/model.gguf
  reference/fixtures/llama-tinyllama/model.gguf)
run() { for model in "${models[@]}"; do "$@" "$model" | tail -1; done; }
# gcc last: valgrind cannot read all that clang writes for debuggers.
for compiler in clang gcc; do
  make -s -C "$tmp/c" clean multiply CC=$compiler PREFIX="$prefix"
  run "$tmp/c/multiply"
done
run valgrind -q --error-exitcode=9 --leak-check=full "$tmp/c/multiply"
make -s -C "$tmp/c" clean multiply CC=gcc PREFIX="$prefix" CFLAGS="-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
run "$tmp/c/multiply"
make -s -C "$tmp/c" clean multiply STATIC=1 PREFIX="$prefix"
run "$tmp/c/multiply"
cmake -S "$tmp/c" -B "$tmp/build" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$tmp/build" >/dev/null
run "$tmp/build/multiply"
run "$tmp/build/multiply_static"
"$tmp/build/multiply" --speed "${models[1]}" blk.0.ffn_down.weight
# What is no GGUF file, or ends too early, is an error.
head -c 3000 "${models[0]}" >"$tmp/short.gguf"
if "$tmp/build/multiply" "$tmp/short.gguf" 2>/dev/null; then die "half a file was accepted"; fi

heading "capi: Python"
venv=${XDG_CACHE_HOME:-$HOME/.cache}/kinglet-ci/python-capi
if ! cmp -s kernels/examples/python/requirements.txt "$venv/requirements.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q -r kernels/examples/python/requirements.txt
  cp kernels/examples/python/requirements.txt "$venv/requirements.txt"
fi
KINGLET_LIBRARY=$prefix/lib/libkinglet.so "$venv/bin/python" -B kernels/examples/python/check_formats.py
KINGLET_LIBRARY=$prefix/lib/libkinglet.so OMP_NUM_THREADS=1 "$venv/bin/python" -B kernels/examples/python/speed.py "${models[1]}"

heading "capi: random calls under AddressSanitizer"
host=$(rustc -vV | sed -n 's/^host: //p')
if rustup run nightly rustc -V >/dev/null 2>&1; then
  # Not optimized: it compiles in a fraction of the time, and nothing that could be wrong is optimized away. Such code takes larger stacks.
  # With the standard library's checks of what unsafe functions ask for, and of arithmetic that wraps.
  CARGO_TARGET_DIR=$TARGET_DIR/asan RUSTFLAGS=-Zsanitizer=address RUST_MIN_STACK=$((64 << 20)) CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true \
    CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true KINGLET_FUZZ_RUNS=${KINGLET_FUZZ_RUNS:-20000} \
    cargo +nightly test --release --target "$host" -p kinglet-capi --test hostile -- --nocapture
else
  echo "NOT RUN: there is no nightly toolchain (rustup toolchain install nightly)"
fi
finish
