//! What a person asks for, one file per verb. An op never imports another op.

pub mod backup;
pub mod cat;
pub mod check;
pub mod key;
pub mod ls;
pub mod restore;
