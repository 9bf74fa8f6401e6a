//! Sessions, and the records through which writers, readers and gc runs see each other.

pub mod clock;
pub mod damage;
pub mod gc_record;
pub mod session;
pub(crate) mod silence;
