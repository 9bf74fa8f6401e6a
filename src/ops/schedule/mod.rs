//! Decides which jobs run when. Pure: it uses neither processes nor a clock, so a test can simulate a year in
//! a second.

pub mod cron;
pub mod scheduler;
pub mod window;
