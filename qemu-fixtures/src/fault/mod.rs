//! The faults: one file each, one line in [`ALL`], one entry in `faults.toml`.
//!
//! A fault proves itself by the guest's own truth (a task in D, beats that stopped) or by the host's
//! (a stopped process) before [`Fault::inject`] returns: a clock that starts there measures the
//! agent and not the fault.

mod abba;
mod boot_stuck;
mod busy_cpu;
mod busy_disk;
pub mod catalogue;
mod disk_stall;
mod fork_bomb;
mod fs_freeze;
mod fuse_self;
mod idle;
mod init_dies;
mod irq_off_one;
mod irq_off_spin;
mod lock_chain;
mod migrate;
mod oom_thrash;
mod oops;
mod panic;
mod paused;
mod qemu_killed;
mod qemu_stopped;
mod reboot;
mod rt_spin;
mod rt_spin_throttled;
mod save_restore;
mod shell_dead;
mod snapshot;
mod truth;
mod userspace_stop;
mod waits;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::qemu::Guest;
use crate::standard::Patient;

pub use waits::Waits;

/// What showed that a fault is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// In a sentence.
    pub text: String,
    /// What it rests on, as the patient, QEMU or the host said it.
    pub facts: Value,
}

impl Proof {
    fn new(text: impl Into<String>, facts: Value) -> Self {
        Self { text: text.into(), facts }
    }
}

/// One way to break a guest, or to do something harmless that looks like it.
pub trait Fault: std::fmt::Debug + Sync {
    /// Its name, as in `faults.toml`.
    fn name(&self) -> &'static str;

    /// Changes the guest before it boots.
    ///
    /// # Errors
    /// When something that it needs cannot be had.
    fn prepare(&self, patient: Patient) -> Result<Patient> {
        Ok(patient)
    }

    /// Makes it happen and proves it.
    ///
    /// # Errors
    /// When it cannot be made, or no proof comes in time; [`crate::qemu::Error::Voided`] when the
    /// guest died of something else.
    fn inject(&self, guest: &mut Guest) -> Result<Proof>;

    /// Undoes it.
    ///
    /// # Errors
    /// When it cannot be undone, which most cannot.
    fn heal(&self, _guest: &mut Guest) -> Result<()> {
        bail!("{} cannot be undone: start the guest again", self.name())
    }

    /// Whether the guest gets ready before the fault is made. Only a fault of the boot says no.
    fn boots(&self) -> bool {
        true
    }
}

/// Every fault, in the order of `faults.toml`.
pub const ALL: &[&dyn Fault] = &[
    &panic::Panic,
    &init_dies::InitDies,
    &oops::Oops,
    &irq_off_spin::IrqOffSpin,
    &irq_off_one::IrqOffOne,
    &disk_stall::DiskStall,
    &fs_freeze::FsFreeze,
    &lock_chain::LockChain,
    &abba::Abba,
    &fuse_self::FuseSelf,
    &rt_spin::RtSpin,
    &rt_spin_throttled::RtSpinThrottled,
    &oom_thrash::OomThrash,
    &fork_bomb::ForkBomb,
    &userspace_stop::UserspaceStop,
    &shell_dead::ShellDead,
    &boot_stuck::BootStuck,
    &qemu_stopped::QemuStopped,
    &qemu_killed::QemuKilled,
    &paused::Paused,
    &idle::Idle,
    &busy_cpu::BusyCpu,
    &busy_disk::BusyDisk,
    &reboot::Reboot,
    &snapshot::Snapshot,
    &migrate::Migrate,
    &save_restore::SaveRestore,
];

/// The fault called `name`.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Result<&'static dyn Fault> {
    let names = || ALL.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ");
    let found = ALL.iter().copied().find(|it| it.name() == name);
    found.with_context(|| format!("no fault {name:?}: there are {}", names()))
}

/// Starts the standard guest on `kernel` prepared for `fault`, ready to be broken.
///
/// # Errors
/// When it cannot be made or does not boot.
pub fn start(kernel: &str, fault: &dyn Fault) -> Result<Guest> {
    let builder = crate::standard::standard_patient(kernel, fault)?;
    Ok(if fault.boots() { builder.boot()? } else { builder.start()? })
}
