//! The gdb remote protocol, client side: registers of every vCPU out of QEMU's gdb stub (rung L2).
//!
//! [`packet`], [`layout`] and [`messages`] are the sans-I/O core; [`Gdb`] is a session. Used through
//! `crate::guardian`, which sees to it that the guest runs again whatever happens to us.

mod client;
pub mod layout;
pub mod messages;
pub mod packet;
#[cfg(test)]
mod tests;

pub use client::{Gdb, RspError, VcpuRegisters};
pub use layout::{Layout, Register};
