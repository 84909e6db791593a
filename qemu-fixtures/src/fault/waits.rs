//! No fault: threads of a kernel module and processes that hold and wait for one of each kind, and say so. The
//! truth that the wait graph of the lens is compared with; on the kernel whose headers are pinned.
//!
//! It is not among the faults that must be noticed, since nothing of it is one: [`crate::image::of_made`].

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::{Fault, Proof};
use crate::abba::build_module;
use crate::cache::sha256;
use crate::qemu::Guest;
use crate::standard::Patient;

const MODULE: [(&str, &str); 2] =
    [("Makefile", include_str!("../../waits/Makefile")), ("waits.c", include_str!("../../waits/waits.c"))];
const PROGRAM: &str = include_str!("../../waits/waiters.c");
/// What the guest's shell runs. Each line of the truth is marked, since the console shows others as well, and
/// takes the way of the kernel's log, which has written it before the next one comes.
const SCRIPT: &str = "insmod /modules/waits.ko
cp /modules/waiters /run/waiters
chmod 755 /run/waiters
/run/waiters > /run/waiters.out 2>&1 < /dev/null &
until grep -q 'waiters are there' /run/waiters.out; do sleep 1; done
echo on > /proc/sys/kernel/printk_devkmsg
cat /proc/waits /run/waiters.out | while read -r line; do echo \"<0>=waits= $line\" > /dev/kmsg; done
echo spin > /proc/waits
";
const MARK: &str = "=waits= ";
/// The module's last word, once the CPUs spin.
const THERE: &str = "waits: all of them are there";
/// An emulated guest on a busy host.
const PATIENCE: Duration = Duration::from_secs(240);
/// One holds a spinlock, two want it, and the guest has to go on.
const VCPUS: u32 = 4;

/// See the file's header.
#[derive(Debug)]
pub struct Waits {
    /// The guest does not know that it runs on a hypervisor, and its spinlocks have a queue.
    pub bare: bool,
}

impl Fault for Waits {
    fn name(&self) -> &'static str {
        if self.bare { "waits-bare" } else { "waits" }
    }

    fn prepare(&self, mut patient: Patient) -> Result<Patient> {
        let module = build_module(&patient.cache, &patient.kernel, "waits", &MODULE)?;
        let program = program(&patient)?;
        let script =
            patient.cache.entry(&format!("waits/{}.sh", &sha256(SCRIPT.as_bytes())[..16]), |path| {
                std::fs::write(path, SCRIPT).context("cannot write the script")
            })?;
        patient.initramfs = patient
            .initramfs
            .file("modules/waits.ko", &module)?
            .file("modules/waiters", &program)?
            .file("modules/waits.sh", &script)?;
        let bare = self.bare;
        Ok(patient.with(|it| {
            let it = it.vcpus(VCPUS);
            // Of two processors that are named, QEMU takes the last.
            if bare { it.arguments(["-cpu", "max,hypervisor=off"]) } else { it }
        }))
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let console = guest.console_path()?;
        let mut typed = UnixStream::connect(&console)
            .with_context(|| format!("cannot connect to {}", console.display()))?;
        typed.write_all(b"\rsh /modules/waits.sh\r").context("cannot type on the console")?;
        typed.set_nonblocking(true)?;
        let deadline = Instant::now() + PATIENCE;
        let (mut part, mut shown) = (vec![0; 65536], Vec::new());
        loop {
            // A console that is held and not read stops the guest after some hundred characters, and one that
            // is let go too soon loses what was typed. QEMU's own log of it has a character twice where the
            // reader was slow.
            while let Ok(len) = typed.read(&mut part)
                && len > 0
            {
                shown.extend_from_slice(&part[..len]);
            }
            let text = String::from_utf8_lossy(&shown);
            let lines: Vec<&str> =
                text.lines().filter_map(|it| Some(it.trim().split_once(MARK)?.1)).collect();
            if text.contains(THERE) {
                ensure!(lines.iter().any(|it| it.starts_with("edge ")), "nobody waits: {lines:?}");
                return Ok(Proof::new("the module and its program say who waits for whom", json!(lines)));
            }
            guest.check_not_void()?;
            if Instant::now() > deadline {
                let tail: Vec<&str> = text.lines().rev().take(20).collect();
                bail!("the truth was not told; the console ends with {tail:#?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The program, linked so that it needs nothing of the guest.
fn program(patient: &Patient) -> Result<std::path::PathBuf> {
    let key = format!("waits/waiters-{}", &sha256(PROGRAM.as_bytes())[..16]);
    patient.cache.entry(&key, |path| {
        let work = tempfile::tempdir()?;
        let source = work.path().join("waiters.c");
        std::fs::write(&source, PROGRAM)?;
        let output = Command::new("gcc")
            .args(["-static", "-O2", "-Wall", "-o"])
            .arg(path)
            .arg(&source)
            .arg("-lpthread")
            .output()
            .context("cannot run gcc: install the package gcc")?;
        ensure!(
            output.status.success(),
            "cannot build waiters:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    })
}
