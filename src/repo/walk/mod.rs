//! Walking stored trees: one, two in parallel, or many at once.

pub mod compare_file;
pub mod diff_walk;
pub mod dir_reader;
pub mod file_parts;
pub mod files;
pub mod multi_walk;
pub mod plausible;
pub mod ref_graph;
pub mod snapshot_set;
pub mod totals;
pub mod tree_walk;
