//! Operations that users invoke, one file or folder per verb. An operation never imports another.

pub mod backup;
pub mod browse;
pub mod cat;
pub mod check;
pub mod copy;
pub mod diff;
pub mod drill;
pub mod du;
pub mod export;
pub mod find;
pub mod forget;
pub mod gc;
pub mod heal;
pub mod history;
pub mod import;
pub mod key;
pub mod ls;
pub mod mount;
pub mod repair;
pub mod restore;
pub mod rewrite;
pub mod room;
pub mod schedule;
pub mod stats;
pub mod status;
pub mod sync;
