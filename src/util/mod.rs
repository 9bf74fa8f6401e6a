//! Utilities that know nothing of repositories.

pub mod bitset;
pub mod host;
pub(crate) mod lru;
pub mod new_file;
pub(crate) mod parallel;
pub mod programs;
pub(crate) mod stoppable;
pub mod threads;
pub mod time_limit;
pub mod user_dirs;
pub(crate) mod zeros;
