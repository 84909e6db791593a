//! The guest that all tests and the demo use: 2 vCPUs, 512 MiB as memfd, the application's disk and a
//! spare one behind the fixture's NBD server, a console on a unix socket, two monitor sockets.

use std::fs::File;
use std::path::PathBuf;

use anyhow::Result;

use crate::cache::Cache;
use crate::disk::data_disk;
use crate::fault::Fault;
use crate::initramfs::Initramfs;
use crate::kernels::{Arch, Kernel};
use crate::qemu::{self, Builder, Disk, Memory};

/// RAM of the standard guest, MiB.
pub const MEMORY_MIB: u32 = 512;
/// vCPUs of the standard guest.
pub const VCPUS: u32 = 2;
/// Size of the spare disk, bytes.
const SPARE_SIZE: u64 = 16 << 20;

/// A Linux guest before its boot: QEMU's side, and what its initramfs gets.
#[derive(Debug)]
pub struct Patient {
    /// QEMU's side, without kernel and initrd.
    pub builder: Builder,
    /// What the guest boots into.
    pub initramfs: Initramfs,
    /// The kernel.
    pub kernel: Kernel,
    /// Where images are kept.
    pub cache: Cache,
}

impl Patient {
    /// The standard guest on `kernel`, one of [`crate::kernels::KERNELS`], as yet without a fault.
    ///
    /// # Errors
    /// When the kernel or the disks cannot be had.
    pub fn standard(kernel: &str) -> Result<Self> {
        let cache = Cache::open()?;
        let kernel = cache.kernel(kernel)?;
        let (arch, tty) = match kernel.arch {
            Arch::Amd64 => (qemu::Arch::X86_64, "ttyS0"),
            Arch::Arm64 => (qemu::Arch::Aarch64, "ttyAMA0"),
        };
        let builder = Builder::on(arch, "patient")
            .vcpus(VCPUS)
            .memory(Memory::memfd(MEMORY_MIB))
            .append(&format!("console={tty}"))
            .disk(Disk::nbd("vda", data_disk(&cache)?))
            .disk(Disk::nbd("vdb", blank_disk(&cache, SPARE_SIZE)?))
            .control_port()
            .vmcoreinfo()
            .pvpanic();
        Ok(Self { builder, initramfs: Initramfs::patient(&kernel), kernel, cache })
    }

    /// Changes the QEMU side.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// The guest, ready to start.
    ///
    /// # Errors
    /// When the initramfs cannot be built.
    pub fn finish(self) -> Result<Builder> {
        let initrd = self.initramfs.build(&self.cache)?;
        Ok(self.builder.kernel(self.kernel.vmlinuz, initrd))
    }
}

/// The standard guest on `kernel`, prepared for `fault`. More can be said to the builder before it
/// is booted.
///
/// # Errors
/// When kernel, disks or initramfs cannot be had.
pub fn standard_patient(kernel: &str, fault: &dyn Fault) -> Result<Builder> {
    fault.prepare(Patient::standard(kernel)?)?.finish()
}

/// An empty disk image of `size` bytes from the cache. Guests get copies.
///
/// # Errors
/// When it cannot be made.
pub fn blank_disk(cache: &Cache, size: u64) -> Result<PathBuf> {
    cache.entry(&format!("disk/blank-{size}.img"), |path| Ok(File::create(path)?.set_len(size)?))
}
