//! The verbs: each calls the operation that snap's own verb calls, and says what came of it in restic's
//! words.

pub(super) mod backup;
pub(super) mod change;
pub(super) mod compare;
pub(super) mod find;
pub(super) mod forget;
pub(super) mod ls;
pub(super) mod objects;
pub(super) mod restore;
pub(super) mod snapshots;
