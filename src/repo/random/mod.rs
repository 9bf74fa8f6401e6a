//! Random access for many threads: one bounded cache of decoded blocks, directories by name.

pub mod block_cache;
pub mod dir_lookup;
pub mod random_reader;
