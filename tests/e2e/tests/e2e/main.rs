//! The native client against the real server: what users rely on, seen from outside.

mod auth;
mod editing;
mod hostile;
mod presence;
mod rejection;
mod restart;
