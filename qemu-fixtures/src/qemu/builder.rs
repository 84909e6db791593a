//! The description of a guest, as a chain of sentences.

use super::devices::{Disk, Memory, Serial};
use std::path::PathBuf;
use std::time::Duration;

/// The processor that is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86-64 on the q35 machine.
    X86_64,
    /// arm64 on the virt machine.
    Aarch64,
}

/// How the guest starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Boot {
    /// Firmware and whatever it finds.
    Firmware,
    /// A Linux kernel with an initrd, or an ELF with a PVH note without one.
    Kernel { kernel: PathBuf, initrd: Option<PathBuf> },
}

/// Describes one guest; [`Builder::start`] and [`Builder::boot`] make it real.
///
/// The processor is always emulated (`-accel tcg -cpu max`): tests must behave the same where
/// there is no usable KVM.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) arch: Arch,
    pub(super) name: String,
    pub(super) uuid: Option<String>,
    pub(super) vcpus: u32,
    pub(super) memory: Memory,
    pub(super) boot: Boot,
    pub(super) cmdline: Vec<String>,
    pub(super) disks: Vec<Disk>,
    pub(super) console: Serial,
    pub(super) console_log: bool,
    pub(super) qmp_sockets: Vec<PathBuf>,
    pub(super) vmcoreinfo: bool,
    pub(super) pvpanic: bool,
    pub(super) watchdog: bool,
    pub(super) control: bool,
    pub(super) vsock: Option<u32>,
    pub(super) acpi_tables: Vec<PathBuf>,
    pub(super) serial_ports: Vec<(String, PathBuf)>,
    pub(super) paused: bool,
    pub(super) incoming: Option<String>,
    pub(super) extra: Vec<String>,
    pub(super) ready_mark: String,
    pub(super) ready_wait: Duration,
}

/// The line that the patient prints when its application runs.
const PATIENT_READY: &str = "PATIENT READY";

impl Builder {
    /// An x86-64 guest on the q35 machine.
    pub fn q35(name: &str) -> Self {
        Self::on(Arch::X86_64, name)
    }

    /// An arm64 guest on the virt machine.
    pub fn virt(name: &str) -> Self {
        Self::on(Arch::Aarch64, name)
    }

    /// A guest of `arch` with one vCPU, 256 MiB as memfd, and a console on a unix socket.
    pub fn on(arch: Arch, name: &str) -> Self {
        Self {
            arch,
            name: name.to_owned(),
            uuid: None,
            vcpus: 1,
            memory: Memory::memfd(256),
            boot: Boot::Firmware,
            cmdline: Vec::new(),
            disks: Vec::new(),
            console: Serial::unix_socket(),
            console_log: true,
            qmp_sockets: vec![PathBuf::from("qmp.sock")],
            vmcoreinfo: false,
            pvpanic: false,
            watchdog: false,
            control: false,
            vsock: None,
            acpi_tables: Vec::new(),
            serial_ports: Vec::new(),
            paused: false,
            incoming: None,
            extra: Vec::new(),
            ready_mark: PATIENT_READY.to_owned(),
            ready_wait: match arch {
                Arch::X86_64 => Duration::from_secs(90),
                Arch::Aarch64 => Duration::from_secs(150),
            },
        }
    }

    /// Gives the guest a UUID, as management layers do.
    pub fn uuid(mut self, uuid: &str) -> Self {
        self.uuid = Some(uuid.to_owned());
        self
    }

    /// Renames the guest (`-name guest=`).
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// The number of vCPUs.
    pub fn vcpus(mut self, n_vcpus: u32) -> Self {
        self.vcpus = n_vcpus;
        self
    }

    /// The RAM and what backs it.
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Boots a Linux kernel with an initrd.
    pub fn kernel(mut self, kernel: impl Into<PathBuf>, initrd: impl Into<PathBuf>) -> Self {
        self.boot = Boot::Kernel { kernel: kernel.into(), initrd: Some(initrd.into()) };
        self
    }

    /// Boots an ELF by its PVH note, or a kernel without an initrd.
    pub fn elf(mut self, elf: impl Into<PathBuf>) -> Self {
        self.boot = Boot::Kernel { kernel: elf.into(), initrd: None };
        self
    }

    /// Adds words to the kernel's command line.
    pub fn append(mut self, words: &str) -> Self {
        self.cmdline.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    /// Adds a disk; the guest sees disks in the order they were added.
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Replaces the disk of the same name.
    pub fn replace_disk(mut self, disk: Disk) -> Self {
        match self.disks.iter_mut().find(|it| it.name == disk.name) {
            Some(it) => *it = disk,
            None => self.disks.push(disk),
        }
        self
    }

    /// How the console is reached. Default: a unix socket.
    pub fn console(mut self, console: Serial) -> Self {
        self.console = console;
        self
    }

    /// Leaves out QEMU's own log of the console, as many hosts do. The fixture then has to hold
    /// the console itself until the guest is ready.
    pub fn without_console_log(mut self) -> Self {
        self.console_log = false;
        self
    }

    /// The monitor sockets for others: relative paths are put into the guest's folder. Default:
    /// `qmp.sock`. The fixture's own comes on top.
    pub fn qmp_sockets<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.qmp_sockets = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Leaves the vmcoreinfo device out again.
    pub fn without_vmcoreinfo(mut self) -> Self {
        self.vmcoreinfo = false;
        self
    }

    /// Adds the vmcoreinfo device.
    pub fn vmcoreinfo(mut self) -> Self {
        self.vmcoreinfo = true;
        self
    }

    /// Adds pvpanic. A panic is then an event, and the guest is left as it is.
    pub fn pvpanic(mut self) -> Self {
        self.pvpanic = true;
        self
    }

    /// Adds the i6300esb watchdog, which only reports (`-action watchdog=none`).
    pub fn watchdog(mut self) -> Self {
        self.watchdog = true;
        self
    }

    /// Adds the patient's control port (`org.vmward.fixture`).
    pub fn control_port(mut self) -> Self {
        self.control = true;
        self
    }

    /// Adds a virtio-serial port `name` on a unix socket; a relative path is put into the
    /// guest's folder.
    pub fn serial_port(mut self, name: &str, socket: impl Into<PathBuf>) -> Self {
        self.serial_ports.push((name.to_owned(), socket.into()));
        self
    }

    /// Adds vsock with this context id where the host can; else the guest goes without.
    pub fn vsock_if_there(mut self, cid: u32) -> Self {
        let there = std::path::Path::new("/dev/vhost-vsock").exists();
        self.vsock = there.then_some(cid);
        self
    }

    /// Adds an ACPI table file (x86 only: qemu-system-aarch64 refuses the option).
    pub fn acpi_table(mut self, file: impl Into<PathBuf>) -> Self {
        self.acpi_tables.push(file.into());
        self
    }

    /// Starts with all vCPUs stopped (`-S`).
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Waits for an incoming migration at `uri`.
    pub fn incoming(mut self, uri: &str) -> Self {
        self.incoming = Some(uri.to_owned());
        self
    }

    /// Adds raw QEMU arguments, for what has no sentence here.
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.extra.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The console text that says the guest is ready, and how long it may take.
    pub fn ready_when(mut self, mark: &str, wait: Duration) -> Self {
        self.ready_mark = mark.to_owned();
        self.ready_wait = wait;
        self
    }

    /// The processor that is emulated.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// The number of vCPUs it describes.
    pub fn n_vcpus(&self) -> u32 {
        self.vcpus
    }
}
