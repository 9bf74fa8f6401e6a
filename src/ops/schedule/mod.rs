//! What is to run when: pure, so that a year can be tried in a second. It knows no process and no clock.

pub mod cron;
pub mod scheduler;
