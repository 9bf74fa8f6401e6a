//! Sessions and the records by which writers, readers and collectors see each other.

pub mod damage;
pub mod gc_record;
pub mod session;
pub(crate) mod silence;
