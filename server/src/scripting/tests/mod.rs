//! Scripts against a fake caller.

mod api;
mod caches;
mod fake;
mod hostile;
mod libraries;
mod sandbox;
