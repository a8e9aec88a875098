# Every chore of the repository. `make run` and `make test` work on a fresh machine that has Rust.
SHELL := /bin/bash
ARGS ?=
BENCH ?= all
FUZZ_SECONDS ?= 60

.PHONY: run build test ci bench fmt docs fuzz

# Builds the server and starts it on ./data; pass options with ARGS="--port 7000 --maxmemory 256mb".
run:
	scripts/setup.sh build
	. scripts/env.sh && cargo build --release -p lux-server --bin lux
	mkdir -p data
	exec ./target/release/lux --dir ./data $(ARGS)

build:
	. scripts/env.sh && cargo build --release --workspace

# Runs every test.
test:
	scripts/setup.sh test
	scripts/test.sh

# Everything that has to pass before a merge.
ci:
	.ci/run

# Compares with Valkey and Redis: make bench, make bench BENCH="throughput --quick".
bench:
	scripts/setup.sh test
	. scripts/env.sh && cargo build --release -p lux-server --bin lux -p lux-benches --bin compare
	. scripts/env.sh && ./target/release/compare $(BENCH)

fmt:
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

# Regenerates docs/commands.md, docs/compatibility.md and docs/configuration.md from the server's tables.
docs:
	. scripts/env.sh && cargo build --release -p lux-server --bin lux -p lux-tools --bin xtask
	./target/release/xtask docs

# Runs each fuzz target for FUZZ_SECONDS.
fuzz:
	scripts/fuzz.sh $(FUZZ_SECONDS)
