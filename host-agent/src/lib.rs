//! Watches guests on a KVM/QEMU host and examines from outside those that hang.

pub mod agent;
pub mod transport;
pub mod verdict;
