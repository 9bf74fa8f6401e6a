//! This process: its name, signals, priority and threads, and the commands it starts.

pub(crate) mod command_line;
#[cfg(feature = "serve")]
pub(crate) mod heaps;
pub(crate) mod priority;
pub(crate) mod program_name;
pub(crate) mod shell_command;
pub(crate) mod signals;
pub(crate) mod threads;
