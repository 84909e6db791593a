//! Turns a verdict and its captures into named findings.
