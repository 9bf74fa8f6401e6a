//! Arguments of the command line: global options, and values that several verbs use.

pub(crate) mod filter;
pub(crate) mod global;
pub(crate) mod kdf;
pub(crate) mod keep;
pub(crate) mod location_advice;
pub(crate) mod pace;
pub(crate) mod path_rules;
pub(crate) mod repository_url;
pub(crate) mod synonyms;
pub(crate) mod times;
pub(crate) mod values;
