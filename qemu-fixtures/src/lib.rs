//! Builds real guests, starts QEMU and injects faults, for tests and the demo.

pub mod cache;
pub mod disk;
pub mod initramfs;
pub mod kernels;
pub mod patient;
