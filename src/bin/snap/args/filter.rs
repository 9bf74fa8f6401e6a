//! Options that exclude files, for the verbs that read directories.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use snap_backup::fs::filter::FilterOptions;

use crate::args::values;

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Exclude what matches
    #[arg(short = 'e', long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<OsString>,
    /// Like --exclude, ignoring case
    #[arg(long, value_name = "PATTERN")]
    pub(crate) iexclude: Vec<OsString>,
    /// Read patterns from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude_file: Vec<PathBuf>,
    /// Exclude the content of directories that contain FILE (beginning with HEADER)
    #[arg(long, value_name = "FILE[:HEADER]")]
    pub(crate) exclude_if_present: Vec<OsString>,
    /// Exclude the content of directories that contain a CACHEDIR.TAG file
    #[arg(long)]
    pub(crate) exclude_caches: bool,
    /// Exclude files larger than this (K, M, G and T are powers of 1024)
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) exclude_larger_than: Option<u64>,
    /// Apply .gitignore files
    #[arg(long)]
    pub(crate) gitignore: bool,
    /// Stay within the file systems of the sources
    #[arg(short = 'x', long)]
    pub(crate) one_file_system: bool,
}

impl FilterArgs {
    /// Adds the given options to those of a set.
    pub(crate) fn add_to(&self, mut filter: FilterOptions) -> FilterOptions {
        filter.exclude.extend(self.exclude.iter().cloned());
        filter.iexclude.extend(self.iexclude.iter().cloned());
        filter.exclude_files.extend(self.exclude_file.iter().cloned());
        filter.exclude_if_present.extend(self.exclude_if_present.iter().cloned());
        filter.exclude_caches |= self.exclude_caches;
        filter.larger_than = self.exclude_larger_than.or(filter.larger_than);
        filter.gitignore |= self.gitignore;
        filter
    }
}
