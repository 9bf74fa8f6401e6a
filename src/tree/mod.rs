//! The user's files: which to take, how to read them, how to write them. Knows nothing of the store.

mod extra;
pub mod filter;
pub mod guard;
pub mod long;
pub mod owner;
pub mod parents;
pub mod plan;
pub mod scratch;
pub mod source;
pub mod survey;
pub mod target;
pub mod trail;
mod walker;
pub mod whole;
pub mod xattr;
