//! The alarm: what a run changed, compared with what earlier runs of the same set usually change.

pub(super) mod signs;
pub(super) mod statistics;
