//! What the words of the API promise, one file a word. The checkers of `watch.rs` say what a view has to
//! be; these say when it may be called so.

pub mod claims;
pub mod health;
pub mod live;
pub mod told;
pub mod verdicts;
