//! The one integration binary of the server: everything here talks to a real process over a real socket.
//!
//! - [`script`]: the corpus under `tests/scripts`, run against Lux (hot, cold, killed between commands)
//!   and against the servers whose behaviour it copies.
//! - [`coverage`]: every command the server lists has a script, every subcommand a line in one.
//! - [`kill9`]: concurrent writers, `kill -9`, and a checker that knows what was acknowledged.
//! - [`isolation`]: nobody sees a part of an EXEC, on several threads, hot, cold and after a crash.
//! - [`process`]: clean stops, refused starts.
//! - [`long_reads`]: what reads much shows one moment.
//! - [`blocking`]: crowds of clients that wait for keys, vanish, time out and crash.
//! - [`payloads`]: values go to other servers and come back.
//! - [`scripting`]: scripts that keep others waiting and what ends them, cold keys, crashes, libraries.
//! - [`sort`]: the rounds in which keys on disk are fetched.
//! - [`clients`]: an everyday client library talks to the server.
//!
//! [`client`] is a RESP client small enough to be trusted by reading it; [`server`] starts and stops processes.

mod blocking;
mod client;
mod clients;
mod coverage;
mod isolation;
mod kill9;
mod large_values;
mod long_reads;
mod payloads;
mod process;
mod script;
mod scripting;
mod server;
mod sort;
