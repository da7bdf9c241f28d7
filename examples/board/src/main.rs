//! Placeholder.
mod rules;
mod start;
fn main() {}
