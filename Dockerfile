# syntax=docker/dockerfile:1

# Builds the server; RocksDB's C++ needs a compiler, libclang (bindgen) and cmake.
FROM rust:1-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential clang libclang-dev cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p lux-server --bin lux \
    && strip -o /lux target/release/lux

FROM debian:bookworm-slim
RUN groupadd --system --gid 999 lux \
    && useradd --system --uid 999 --gid lux --home-dir /data --no-create-home lux \
    && mkdir /data \
    && chown lux:lux /data
COPY --from=build /lux /usr/local/bin/lux
USER lux
WORKDIR /data
VOLUME /data
EXPOSE 6379
# A container is reached from outside or it is of no use, so protected mode is off and the banner
# warns while there is no password. Set LUX_REQUIREPASS, or keep the port inside a private network.
# The memory budget follows the container's own limit; LUX_MAXMEMORY overrides it.
ENV LUX_DIR=/data \
    LUX_PORT=6379 \
    LUX_BIND="* -::*" \
    LUX_PROTECTED_MODE=no
# Exec form: the server is PID 1 and gets SIGTERM itself, so `docker stop` is a clean stop. A stop
# syncs the log and writes a checkpoint, which may take longer than Docker's ten seconds: use
# `docker stop --time 60` for large budgets. A kill loses nothing either; the next start replays more.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/lux"]
