//! Guests as the lens sees them: memory and registers of an image that the fixtures took, with the truth that
//! the guest told beside them.
//!
//! ```no_run
//! use vmward_kernel_lens::Recorder;
//! use vmward_tests::lens::Pictured;
//! # fn main() -> anyhow::Result<()> {
//! let guest = Pictured::of("amd64-6.1")?;
//! let recorder = Recorder::new(guest.memory());
//! let kernel = guest.kernel(&recorder)?;
//! let truth = guest.image().text("kallsyms")?;
//! # Ok(())
//! # }
//! ```

use std::fs::File;

use anyhow::{Context, Result, ensure};
use vmward::transport::memory::{Backing, MemoryMap, registers, shared};
use vmward_kernel_facts::Examination;
use vmward_kernel_lens::source::{FileBytes, SegmentMemory};
use vmward_kernel_lens::{Arch, Cpu, Kernel, Options, PhysicalMemory, Recorder, examine, open};
use vmward_qemu_fixtures::image::{self, Image};

/// The kernels that there are images of.
pub const KERNELS: [&str; 5] = ["amd64-5.10", "amd64-6.1", "amd64-6.12", "amd64-7.x", "arm64-6.12"];

/// The memory of an image: its file, read as a live guest's is.
pub type ImageMemory = SegmentMemory<FileBytes>;

/// The name of the RAM block that an image is of.
const BLOCK: &str = "ram0";

/// A guest in an image.
pub struct Pictured {
    image: Image,
    memory: ImageMemory,
    cpus: Vec<Cpu>,
}

impl Pictured {
    /// The standard guest on `kernel`, healthy and paused.
    ///
    /// # Errors
    /// When there is no image and none can be taken.
    pub fn of(kernel: &str) -> Result<Self> {
        Self::open(image::of(kernel)?)
    }

    /// The standard guest on `kernel` with `fault`.
    ///
    /// # Errors
    /// When there is no image and none can be taken.
    pub fn of_fault(fault: &str, kernel: &str) -> Result<Self> {
        Self::open(image::of_fault(fault, kernel)?)
    }

    /// The standard guest on `kernel` with a fault that is none of those that must be noticed.
    ///
    /// # Errors
    /// When there is no image and none can be taken.
    pub fn of_made(fault: &dyn vmward_qemu_fixtures::fault::Fault, kernel: &str) -> Result<Self> {
        Self::open(image::of_made(fault, kernel)?)
    }

    /// Opens an image.
    ///
    /// # Errors
    /// When a file of it is missing or cannot be understood.
    pub fn open(image: Image) -> Result<Self> {
        let map = MemoryMap::parse(&image.mtree()?)?;
        let file =
            File::open(image.ram()).with_context(|| format!("cannot open {}", image.ram().display()))?;
        let memory = shared(&map, vec![(Backing { block: BLOCK.to_owned(), offset: 0 }, file)])?;
        let (cpus, problems) = registers::from_text(&image.registers()?);
        ensure!(problems.is_empty(), "{problems:?}");
        let n_vcpus = image.meta().vcpus as usize;
        ensure!(cpus.len() == n_vcpus, "registers of {} vCPUs, not of {n_vcpus}", cpus.len());
        Ok(Self { image, memory, cpus })
    }

    /// The image, with the guest's own truth.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The guest's memory.
    pub fn memory(&self) -> &ImageMemory {
        &self.memory
    }

    /// The vCPUs.
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// The architecture.
    pub fn arch(&self) -> Arch {
        if self.image.meta().kernel.starts_with("arm64") { Arch::Aarch64 } else { Arch::X86_64 }
    }

    /// Finds the guest's kernel with symbols and types, as an examination does.
    ///
    /// # Errors
    /// When it is not found.
    pub fn kernel<'m>(&self, recorder: &'m Recorder<'m>) -> Result<Kernel<'m>> {
        let opened = open(recorder, &self.cpus)?;
        ensure!(opened.problems.is_empty(), "{:?}", opened.problems);
        Ok(opened.kernel)
    }
}

/// A guest that runs, looked at as it is: nothing is paused.
pub struct Running {
    memory: ImageMemory,
}

impl Running {
    /// Opens its memory.
    ///
    /// # Errors
    /// When QEMU or the host does not tell where it is.
    pub fn of(guest: &mut vmward_qemu_fixtures::qemu::Guest) -> Result<Self> {
        Ok(Self { memory: crate::memory_sources::Place::of(guest)?.shared()? })
    }

    /// One look.
    ///
    /// # Errors
    /// When there is no kernel.
    pub fn look(&self, guest: &mut vmward_qemu_fixtures::qemu::Guest) -> Result<Examination> {
        let (cpus, _) = registers::from_text(&guest.qmp()?.human("info registers -a")?);
        let recorder = Recorder::new(&self.memory);
        Ok(examine(&recorder, &cpus, Options::default())?)
    }
}

/// A memory that tells what was read from it and in which order, to know what a reader looks at.
pub struct Told<'m> {
    memory: &'m dyn PhysicalMemory,
    pages: std::cell::RefCell<Vec<u64>>,
}

impl<'m> Told<'m> {
    /// Tells what is read from `memory`.
    pub fn new(memory: &'m dyn PhysicalMemory) -> Self {
        Self { memory, pages: std::cell::RefCell::default() }
    }

    /// Guest-physical addresses of the pages that were read as such, in order: those that a [`Recorder`] took
    /// into its record.
    pub fn pages(&self) -> Vec<u64> {
        self.pages.borrow().clone()
    }
}

impl PhysicalMemory for Told<'_> {
    fn ranges(&self) -> &[vmward_kernel_lens::PhysRange] {
        self.memory.ranges()
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), vmward_kernel_lens::ReadError> {
        if buf.len() as u64 == vmward_kernel_lens::PAGE_SIZE {
            self.pages.borrow_mut().push(phys);
        }
        self.memory.read(phys, buf)
    }

    fn populated(&self, from: u64) -> Option<vmward_kernel_lens::PhysRange> {
        self.memory.populated(from)
    }
}
