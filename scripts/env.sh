# Environment of every build here; read it with `. scripts/env.sh`.
#
# ccache stands before the compilers, so RocksDB's C++ is compiled once per machine and not once per
# target folder. It works by name (g++ is still called g++), so cargo's fingerprints stay the same.
if [ -d /usr/lib/ccache ]; then
    case ":$PATH:" in
    *:/usr/lib/ccache:*) ;;
    *) PATH=/usr/lib/ccache:$PATH ;;
    esac
    export PATH
fi

# Python with the packages that tests and benchmarks use (see scripts/setup.sh).
LUX_TEST_PYTHON=${XDG_CACHE_HOME:-$HOME/.cache}/lux/venv/bin/python
[ -x "$LUX_TEST_PYTHON" ] || LUX_TEST_PYTHON=python3
export LUX_TEST_PYTHON
