#!/usr/bin/env bash
# Runs every fuzz target for some seconds: scripts/fuzz.sh [seconds] [target...]
#
# A find is left in fuzz/artifacts/<target>/ and the script fails. The corpus grows in fuzz/corpus,
# starting from the seeds in fuzz/seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

seconds=${1:-10}
shift || true

if ! command -v cargo-fuzz >/dev/null; then
    echo "fuzz: installing cargo-fuzz"
    if ! cargo install --locked --quiet cargo-fuzz; then
        echo "fuzz: cargo-fuzz is missing and could not be installed (cargo install cargo-fuzz)" >&2
        exit 1
    fi
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
fi

# The sanitizers are unstable flags; the stable compiler takes them with this variable.
export RUSTC_BOOTSTRAP=1
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    echo "fuzz: $target for $seconds s"
    cargo fuzz run --release "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -verbosity=0 -print_final_stats=1
done
