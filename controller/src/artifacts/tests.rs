//! Artifacts as a whole.
