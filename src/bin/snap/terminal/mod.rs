//! The terminal: output, tables, colours, the pager, the progress bar.

pub(crate) mod chart;
pub(crate) mod figures;
pub(crate) mod json;
pub(crate) mod output;
pub(crate) mod pager;
pub(crate) mod progress;
pub(crate) mod repository_messages;
pub(crate) mod snapshot_json;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod wording;
