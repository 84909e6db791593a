//! PID 1: mounts, loads modules, starts the three children, reaps. Nothing else, so that it stays alive
//! whatever a fault does to the rest.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::{kmsg, role};

/// Exists when PID 1 shall not start the shell again.
pub(crate) const NO_RESPAWN: &str = "/run/no-respawn";

/// How long a disk may take to appear after its driver was loaded.
const DISK_WAIT: Duration = Duration::from_millis(500);

/// A child whose process id others look up.
fn start(name: &str) -> Option<i32> {
    match role::spawn(name, &[]) {
        Ok(child) => {
            let pid = child.id();
            note(fs::write(format!("/run/{name}.pid"), pid.to_string()).context("cannot note a process id"));
            i32::try_from(pid).ok()
        }
        Err(error) => {
            note::<()>(Err(error));
            None
        }
    }
}

/// The whole life of PID 1. Returns only on `SIGUSR1`, which is the fault `init-dies`.
pub(crate) fn run() -> Result<()> {
    // Before any child exists, so that no SIGCHLD is lost.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGUSR1);
    signals.thread_block()?;

    mounts();
    let parameters = Parameters::read();
    note(fs::write("/proc/sys/kernel/sysrq", &parameters.sysrq).context("cannot set kernel.sysrq"));
    // The kernel insists on the line break (kernel/printk/printk.c, devkmsg_sysctl_set_loglvl).
    note(fs::write("/proc/sys/kernel/printk_devkmsg", "on\n").context("cannot set printk_devkmsg"));
    load_modules();
    let data = parameters.app && data_disk();
    let install = Command::new("/bin/busybox").args(["--install", "-s", "/bin"]).status();
    note(install.context("cannot install busybox"));

    let mut shell = if parameters.shell { start("shell") } else { None };
    if data {
        start("app");
    }
    start("control");

    loop {
        if signals.wait()? == Signal::SIGUSR1 {
            return Ok(());
        }
        let mut shell_died = false;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(status) => shell_died |= shell.is_some() && status.pid().map(|it| it.as_raw()) == shell,
            }
        }
        if shell_died {
            // A shell that dies at once must not keep PID 1 busy.
            sleep(Duration::from_millis(200));
            shell = if Path::new(NO_RESPAWN).exists() { None } else { start("shell") };
        }
    }
}

/// Logs a failure and goes on: a guest with less is more use than a panic at boot.
fn note<T>(result: Result<T>) {
    if let Err(error) = result {
        kmsg::write(kmsg::ERROR, &format!("init: {error:#}"));
    }
}

fn mounts() {
    for (kind, at) in [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("cgroup2", "/sys/fs/cgroup"),
        ("debugfs", "/sys/kernel/debug"),
    ] {
        let result = mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>);
        // The kernel mounts devtmpfs itself where CONFIG_DEVTMPFS_MOUNT covers an initramfs.
        if result != Err(Errno::EBUSY) {
            note(result.with_context(|| format!("cannot mount {kind} on {at}")));
        }
    }
}

/// What the kernel command line says to us; defaults as documented in the fixtures library.
struct Parameters {
    sysrq: String,
    app: bool,
    shell: bool,
}

impl Parameters {
    fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    /// Of a parameter that is there twice the last one counts, as for the kernel.
    fn parse(line: &str) -> Self {
        let value = |name: &str| line.split_whitespace().rev().find_map(|it| it.strip_prefix(name));
        Self {
            sysrq: value("patient.sysrq=").unwrap_or("1").to_owned(),
            app: value("patient.app=") != Some("off"),
            shell: value("patient.shell=") != Some("off"),
        }
    }
}

fn load_modules() {
    let list = fs::read_to_string("/etc/modules").unwrap_or_default();
    for path in list.lines() {
        note(load_module(path, ""));
    }
}

/// Loads the module at `path`; one that is loaded already, or has no device here, is no error.
pub(crate) fn load_module(path: &str, parameters: &str) -> Result<()> {
    let file = fs::File::open(path).with_context(|| format!("cannot open {path}"))?;
    let parameters = std::ffi::CString::new(parameters)?;
    match finit_module(&file, &parameters, ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot load {path}")),
    }
}

/// Mounts the data disk; false when there is none or it cannot be mounted.
fn data_disk() -> bool {
    let asked = Instant::now();
    while !Path::new("/dev/vda").exists() {
        if asked.elapsed() > DISK_WAIT {
            kmsg::write(kmsg::INFO, "init: no /dev/vda, so no application");
            return false;
        }
        sleep(Duration::from_millis(20));
    }
    let result = mount(Some("/dev/vda"), "/data", Some("ext4"), MsFlags::empty(), None::<&str>);
    let mounted = result.is_ok();
    note(result.context("cannot mount /dev/vda on /data"));
    mounted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_defaults_and_the_last_one_counts() {
        let it = Parameters::parse("console=ttyS0 panic=0");
        assert_eq!((it.sysrq.as_str(), it.app, it.shell), ("1", true, true));
        let it = Parameters::parse("patient.sysrq=0 patient.app=off patient.sysrq=438 patient.shell=off");
        assert_eq!((it.sysrq.as_str(), it.app, it.shell), ("438", false, false));
    }
}
