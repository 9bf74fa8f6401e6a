//! What several commands share: sets, hooks, selectors, and second repositories.

pub(crate) mod destination;
pub(crate) mod hooks;
pub(crate) mod mirror;
pub(crate) mod protected;
pub(crate) mod rewritten;
pub(crate) mod select;
pub(crate) mod selector;
pub(crate) mod sets;
pub(crate) mod start_conditions;
