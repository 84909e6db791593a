//! Small kernels written by hand, with the stacks that real ones have.

mod arm64;
mod hostile;
mod orc;
