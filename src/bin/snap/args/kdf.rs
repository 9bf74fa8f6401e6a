//! Flags and variables for the cost of trying a password on a new key slot.

use std::env;

use clap::Args;
use snap_backup::codec::crypto::kdf::{self, KdfParams};
use snap_backup::{Error, Result};

use crate::args::values;
use crate::terminal::output;

const MEMORY: &str = "SNAP_KDF_MEMORY";
const PASSES: &str = "SNAP_KDF_PASSES";

#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Kdf {
    /// Memory that trying a password takes: 8M to 2G [default: 64M]; or SNAP_KDF_MEMORY
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(crate) kdf_memory: Option<u32>,
    /// Passes over this memory: 1 to 16 [default: 3]; or SNAP_KDF_PASSES
    #[arg(long, value_name = "N", value_parser = passes)]
    pub(crate) kdf_passes: Option<u32>,
}

impl Kdf {
    /// Returns whether a flag was given. Variables do not count, because they also apply to runs without a
    /// password.
    pub(crate) fn is_given(self) -> bool {
        self.kdf_memory.is_some() || self.kdf_passes.is_some()
    }

    /// Returns the costs of a new slot. A flag takes precedence over its variable.
    ///
    /// # Errors
    /// A variable is not a valid number.
    pub(crate) fn costs(self) -> Result<KdfParams> {
        Ok(KdfParams {
            memory: or_variable(self.kdf_memory, MEMORY, memory)?.unwrap_or(kdf::DEFAULT.memory),
            passes: or_variable(self.kdf_passes, PASSES, passes)?.unwrap_or(kdf::DEFAULT.passes),
            ..kdf::DEFAULT
        })
    }
}

/// Formats the costs: "64 MiB x 3".
pub(crate) fn format_costs(costs: KdfParams) -> String {
    format!("{} x {}", output::size(u64::from(costs.memory) << 10), costs.passes)
}

fn or_variable(
    flag: Option<u32>,
    name: &str,
    parse: impl Fn(&str) -> Result<u32, String>,
) -> Result<Option<u32>> {
    if flag.is_some() {
        return Ok(flag);
    }
    let text = env::var_os(name).filter(|text| !text.is_empty());
    let wrong = |why: String| Error::Usage(format!("{name}: {why}"));
    text.map(|text| parse(&text.to_string_lossy()).map_err(wrong)).transpose()
}

fn memory(text: &str) -> Result<u32, String> {
    let kib = values::size(text).ok().and_then(|bytes| u32::try_from(bytes >> 10).ok());
    kib.filter(|kib| kdf::MEMORY.contains(kib)).ok_or_else(|| "a size from 8M to 2G".to_owned())
}

fn passes(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| kdf::PASSES.contains(number));
    number.ok_or_else(|| "a number from 1 to 16".to_owned())
}
