//! Redis payloads.
