//! What an operator may set. Nothing must be.

/// Everything that can be set.
#[derive(Clone, Debug, Default)]
pub struct Config {}
