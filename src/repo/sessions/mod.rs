//! Sessions, and the records through which writers, readers and gc runs see each other.

pub mod clock;
pub mod damage;
pub mod gc_record;
mod heartbeat;
pub(crate) mod heartbeat_lapse;
pub mod session;
pub mod trash_entries;
