//! One file per verb: its arguments, and a function that opens the repository, calls the library and prints.
//! What several verbs need is in `shared`.

pub(crate) mod alarm;
pub(crate) mod audit;
pub(crate) mod backup;
#[cfg(feature = "browse")]
pub(crate) mod browse;
pub(crate) mod cat;
pub(crate) mod check;
pub(crate) mod cleanup;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod config_show;
pub(crate) mod copy;
pub(crate) mod daemon;
pub(crate) mod diff;
pub(crate) mod drill;
pub(crate) mod du;
mod expire;
pub(crate) mod export;
pub(crate) mod find;
pub(crate) mod forget;
pub(crate) mod gc;
pub(crate) mod heal;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod keep_below;
pub(crate) mod key;
pub(crate) mod ls;
#[cfg(feature = "mount")]
pub(crate) mod mount;
pub(crate) mod repair;
pub(crate) mod repair_known;
pub(crate) mod restore;
pub(crate) mod rewrite;
pub(crate) mod schedule;
pub(crate) mod scrub;
#[cfg(feature = "serve")]
pub(crate) mod serve;
#[cfg(feature = "serve")]
mod serve_run;
pub(crate) mod shared;
pub(crate) mod snapshots;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod undelete;
