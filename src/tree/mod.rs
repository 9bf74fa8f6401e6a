//! The user's files: which to take, how to read them, how to write them. Knows nothing of the store.

pub mod filter;
pub mod owner;
pub mod plan;
pub mod source;
pub mod target;
