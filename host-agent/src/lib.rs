//! Watches guests on a KVM/QEMU host and examines from outside those that hang.

pub mod agent;
pub mod capture;
pub mod cli;
pub mod config;
mod descriptor;
pub mod guardian;
pub mod look;
pub mod node;
pub mod opener;
pub mod postmortem;
pub mod probe;
pub mod report;
pub mod spool;
pub mod target;
pub mod transport;
pub mod upload;
pub mod verdict;
mod word;
