//! Builds real guests, starts QEMU and injects faults, for tests and the demo.
//!
//! * [`qemu`]: a builder for one QEMU process and a handle whose clean-up cannot be escaped;
//! * [`kernels`], [`initramfs`], [`patient`], [`disk`]: what a Linux guest is made of, kept in [`cache`];
//! * [`debian`]: a guest with systemd, getty and cron;
//! * [`unikernel`]: a guest that starts in under a second;
//! * [`standard`]: the guest that tests and the demo use; [`fault`]: the ways to break it;
//! * [`image`]: a guest's RAM, registers and own truth as files, for the lens;
//! * [`nbd`]: a disk server that can fall silent;
//! * [`gdb`]: just enough of the GDB remote protocol to overwrite kernel text.

pub mod abba;
pub mod cache;
pub mod debian;
pub mod disk;
pub mod fault;
pub mod gdb;
pub mod image;
pub mod initramfs;
pub mod kernels;
pub mod nbd;
pub mod patient;
pub mod qemu;
pub mod standard;
pub mod unikernel;
