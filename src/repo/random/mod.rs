//! Random access for many threads: one bounded cache of decoded blocks, and look-up in directories by name.

pub mod block_cache;
pub mod dir_lookup;
pub mod random_reader;
