//! Tells a ledger from every other, whatever they are called.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Made when a ledger's log is, and kept beside it. Whatever else is made of that log carries it, so that rows of one are
/// never taken for a view of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LedgerId(String);

impl LedgerId {
    pub fn fresh() -> LedgerId {
        LedgerId(Uuid::new_v4().to_string())
    }

    pub fn from_text(text: impl Into<String>) -> LedgerId {
        LedgerId(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
