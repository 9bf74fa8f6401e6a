//! Which extended attributes are restored.

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::fs::filter::RestoreFilter;

/// Which extended attributes are restored, ACLs and capabilities among them. Others are left as they are on
/// the target.
#[derive(Clone, Default)]
pub enum XattrChoice {
    /// All that the snapshot has. What it does not have is removed.
    #[default]
    All,
    /// None.
    None,
    /// Those with certain names.
    Some(Arc<RestoreFilter>),
}

impl XattrChoice {
    /// Chooses names that match one of `include` (any name if there is none) and none of `exclude`. The
    /// patterns are those of paths.
    ///
    /// # Errors
    /// A pattern is invalid.
    pub fn matching<P: AsRef<OsStr>>(include: &[P], exclude: &[P]) -> Result<Self> {
        if include.is_empty() && exclude.is_empty() {
            return Ok(Self::All);
        }
        Ok(Self::Some(Arc::new(RestoreFilter::new(include, exclude)?)))
    }

    /// Returns whether the attribute of this name is restored.
    pub fn takes(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some(filter) => filter.takes(name, false),
        }
    }
}

impl fmt::Debug for XattrChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::None => "None",
            Self::Some(_) => "Some",
        })
    }
}
