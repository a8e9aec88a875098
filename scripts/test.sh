#!/usr/bin/env bash
# Runs every test; called by `make test`. One profile (release) throughout: RocksDB compiles once.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

# The whole workspace with RocksDB.
cargo test --release --workspace

# The engine alone on the in-memory cold tier, with the failpoints that break one invariant each:
# here it is proven that the tests notice. A target folder of its own keeps the two feature sets
# from evicting each other's artefacts.
cargo test --release -p lux-engine --no-default-features --features failpoints --target-dir target/lite

# The fuzz crate is outside the workspace, so nothing else would notice that it no longer compiles.
# Its targets are checked here and run by .ci/run.
cargo check --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz-check
