//! Builds `patient`, our own PID 1, application and control agent of the fixture guests.
//!
//! It is a Cargo workspace of its own (`qemu-fixtures/patient`), static, linked by rust-lld so that no
//! cross compiler is needed, built once for each state of its sources.
//!
//! # Kernel command line
//!
//! | parameter | meaning | default |
//! |---|---|---|
//! | `patient.sysrq=N` | value of `kernel.sysrq` | 1 |
//! | `patient.app=off` | no application, `/dev/vda` is left alone | on when there is a `/dev/vda` |
//! | `patient.shell=off` | no shell on the console | on |
//!
//! # Control protocol
//!
//! On the virtio-serial port [`CONTROL_PORT`]: one command a line, one JSON object a line back. A line
//! `{"beat":N}` comes every 200 ms on its own. A reply has `"ok":true`, or `"ok":false` with `"error"`;
//! it repeats the command as `"cmd"`. See [`COMMANDS`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, sha256};
use crate::kernels::Arch;

/// Name of the virtio-serial port that the control agent listens on.
pub const CONTROL_PORT: &str = "org.vmward.fixture";

/// What the console shows when shell, application and control agent are up.
pub const READY: &str = "PATIENT READY";

/// The shell's prompt.
pub const PROMPT: &str = "patient# ";

/// The commands of the control agent, and what each answers.
pub const COMMANDS: [(&str, &str); 9] = [
    ("ping", "nothing more"),
    ("tasks", "`tasks`: of every thread pid, tid, comm, state letter, wchan, utime and stime in ticks"),
    ("stat", "`app` (label, writes of each worker), `cpu`, `meminfo`, `vmstat`, `pids`, `uptime`, `release`"),
    (
        "fault NAME [ARGS]",
        "`proof`; only after the guest's own truth shows the fault, or `armed` just before it",
    ),
    ("heal NAME", "undoes a fault that can be undone"),
    ("faults", "`faults`: the names"),
    ("symbol NAME", "`address` from /proc/kallsyms, hexadecimal"),
    ("load PATH [PARAMETERS]", "loads a kernel module of the initramfs"),
    ("respawn on|off", "whether PID 1 starts a new shell when one ends"),
];

/// The program for `arch`, built when its sources have changed.
///
/// # Errors
/// When cargo fails; its last lines are in the error.
pub fn program(cache: &Cache, arch: Arch) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("patient");
    let target = arch.rust_target();
    let key = format!("patient/{}-{}", arch.debian(), &sources_digest(&folder)?[..16]);
    cache.entry(&key, |path| {
        // One target folder for both architectures: one build at a time.
        let _guard = cache.lock("patient-build")?;
        let target_dir = cache.root().join("patient-target");
        let linker = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_ascii_uppercase());
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--locked", "--target", target, "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target_dir)
            .env(linker, "rust-lld")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .context("cannot run cargo to build the patient")?;
        if !output.status.success() {
            bail!(
                "cannot build the patient for {target} (is the target installed? `rustup target add {target}`):\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        fs::copy(target_dir.join(target).join("release/patient"), path)
            .context("cargo built no patient program")?;
        Ok(())
    })
}

fn sources_digest(folder: &Path) -> Result<String> {
    let mut files = vec![folder.join("Cargo.toml"), folder.join("Cargo.lock")];
    let mut folders = vec![folder.join("src")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend_from_slice(file.strip_prefix(folder)?.as_os_str().as_encoded_bytes());
        all.push(0);
        all.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
        all.push(0);
    }
    Ok(sha256(&all))
}
