//! The verbs: each calls the same operation as snap's own verb, and reports the result as restic does.

pub(super) mod backup;
pub(super) mod change;
pub(super) mod compare;
pub(super) mod find;
pub(super) mod forget;
pub(super) mod ls;
pub(super) mod objects;
pub(super) mod restore;
pub(super) mod snapshots;
