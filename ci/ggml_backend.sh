#!/usr/bin/env bash
# llama.cpp, unmodified from its PyPI package, with kinglet's kernels: builds libkinglet and the module of
# kernels/examples/ggml-backend, compares single operations with ggml's own, then text, perplexity and speed of a model without and with it.
#
#   ci/ggml_backend.sh [--python PYTHON] [MODEL.gguf [OPTION OF run.py...]]
#
# --python: one that has llama-cpp-python, built by pip; without it, that of kinglet-bench, or one that is built into a cache (ten minutes
# or more). Without a model: smollm2:135m, fetched by pip. Not part of .ci/run, for what it takes to build. Installs Debian packages that
# are missing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cache=${XDG_CACHE_HOME:-$HOME/.cache}
python=
if [[ ${1:-} == --python ]]; then
  python=${2:?--python needs a Python that has llama-cpp-python}
  shift 2
fi
# Everything below is relative to the repository.
model=${1:-}
[[ -z $model ]] || { [[ -f $model ]] || die "no model $model (paths are below $PWD, or absolute)"; }
shift $(($# ? 1 : 0))

heading "ggml backend: libkinglet"
need_packages gcc g++ cmake make python3-venv
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
kernels/capi/install.sh --prefix "$tmp/usr"

heading "ggml backend: llama-cpp-python"
if [[ -z $python && -f $cache/kinglet-bench/llama-native/complete ]]; then python=$cache/kinglet-bench/llama-native/bin/python; fi
if [[ -z $python ]]; then
  venv=$cache/kinglet-ci/python-llama
  python=$venv/bin/python
  if [[ ! -f $venv/complete ]]; then
    echo "building llama.cpp from its PyPI package into $venv, once: ten minutes or more"
    python3 -m venv --clear "$venv"
    # As kinglet-bench builds it: compare with KINGLET_TIER=avx512_vnni where there is AMX.
    flags=
    [[ $(uname -m) != x86_64 ]] || flags="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    CFLAGS=$flags CXXFLAGS=$flags "$python" -m pip install -q --no-cache-dir --no-binary llama-cpp-python llama-cpp-python numpy
    touch "$venv/complete"
  fi
fi
version=$("$python" -c 'import llama_cpp; print(llama_cpp.__version__)') || die "$python has no llama-cpp-python"
site=$("$python" -c 'import llama_cpp, pathlib; print(pathlib.Path(llama_cpp.__file__).parent.parent)')
# The interface of a backend is in the source package only.
source=$cache/kinglet-ci/llama_cpp_python-$version
if [[ ! -f $source/vendor/llama.cpp/ggml/src/ggml-backend-impl.h ]]; then
  "$python" -m pip download -q --no-deps --no-binary llama-cpp-python -d "$tmp/sdist" "llama-cpp-python==$version"
  mkdir -p "$cache/kinglet-ci"
  tar -xzf "$tmp"/sdist/*.tar.gz -C "$cache/kinglet-ci"
fi
echo "llama-cpp-python $version of $python"

heading "ggml backend: single operations"
for openmp in OFF ON; do
  cmake -S kernels/examples/ggml-backend -B "$tmp/build-$openmp" -DCMAKE_PREFIX_PATH="$tmp/usr" -DLLAMA="$site" \
    -DGGML_SRC="$source/vendor/llama.cpp/ggml/src" -DOPENMP=$openmp >/dev/null
  cmake --build "$tmp/build-$openmp" >/dev/null
  "$tmp/build-$openmp/check_ops" "$tmp/build-$openmp/libggml-kinglet.so"
done

heading "ggml backend: a model"
if [[ -z $model ]]; then
  build_programs
  model=$("$TARGET_DIR/release/kinglet" pull smollm2:135m)
fi
"$python" -B kernels/examples/ggml-backend/run.py "$model" --module "$tmp/build-ON/libggml-kinglet.so" "$@"
finish
