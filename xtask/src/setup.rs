//! What this machine needs before guests can be built and started: Debian packages and Rust
//! targets. As root missing things are installed; otherwise the one command for them is printed.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::run;

/// A program that a chore calls and the Debian package that brings it.
struct Need {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const NEEDS: &[Need] = &[
    Need { program: "qemu-system-x86_64", package: "qemu-system-x86", why: "runs the amd64 guests" },
    Need { program: "qemu-system-aarch64", package: "qemu-system-arm", why: "runs the arm64 guest" },
    Need { program: "mke2fs", package: "e2fsprogs", why: "makes the guests' disks" },
    Need { program: "xz", package: "xz-utils", why: "unpacks kernel modules" },
    Need { program: "zstd", package: "zstd", why: "unpacks reports by hand" },
    Need { program: "mmdebstrap", package: "mmdebstrap", why: "builds the Debian guest" },
    Need { program: "gpg", package: "gpg", why: "checks the archive's signatures for mmdebstrap" },
    Need { program: "gcc", package: "gcc", why: "builds the lock-inversion module and zstd" },
    Need { program: "make", package: "make", why: "builds the lock-inversion module" },
    Need { program: "strace", package: "strace", why: "shows what is synced and what QEMU touches" },
    Need { program: "openssl", package: "openssl", why: "makes the certificates of the tests" },
    Need { program: "chromium", package: "chromium", why: "looks at the controller's pages" },
    Need { program: "node", package: "nodejs", why: "drives the browser" },
    Need { program: "npm", package: "npm", why: "fetches what drives the browser" },
    Need { program: "gdb", package: "gdb", why: "checks our register reader" },
    Need { program: "gdb-multiarch", package: "gdb-multiarch", why: "looks into arm64 guests" },
];

const TARGETS: &[(&str, &str)] = &[
    ("x86_64-unknown-linux-musl", "the amd64 patient"),
    ("aarch64-unknown-linux-musl", "the arm64 patient"),
    ("x86_64-unknown-none", "the bare-metal guest"),
];

/// What is missing on this machine.
pub struct Missing {
    packages: Vec<&'static Need>,
    targets: Vec<&'static (&'static str, &'static str)>,
}

impl Missing {
    /// Looks at the PATH and at the installed Rust targets.
    pub fn look() -> Result<Missing> {
        let packages = NEEDS.iter().filter(|need| !present(need)).collect();
        let sysroot = Command::new("rustc")
            .args(["--print", "sysroot"])
            .output()
            .context("while asking rustc for its folder")?;
        let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
        let lib = std::path::Path::new(&sysroot).join("lib/rustlib");
        let targets = TARGETS.iter().filter(|(name, _)| !lib.join(name).join("lib").is_dir()).collect();
        Ok(Missing { packages, targets })
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.targets.is_empty()
    }

    /// One line for each missing thing.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for need in &self.packages {
            text.push_str(&format!("  package {:<18} {}\n", need.package, need.why));
        }
        for (target, why) in &self.targets {
            text.push_str(&format!("  Rust target {target:<28} {why}\n"));
        }
        text
    }

    /// The one command that a user with root rights would run.
    pub fn command(&self) -> String {
        let mut parts = Vec::new();
        if !self.packages.is_empty() {
            let names: Vec<&str> = self.packages.iter().map(|need| need.package).collect();
            parts.push(format!("sudo apt-get install --yes --no-install-recommends {}", names.join(" ")));
        }
        if !self.targets.is_empty() {
            let names: Vec<&str> = self.targets.iter().map(|(name, _)| *name).collect();
            parts.push(format!("rustup target add {}", names.join(" ")));
        }
        parts.join(" && ")
    }

    /// Installs everything. Only called as root: this program never runs sudo itself.
    pub fn install(&self) -> Result<()> {
        if !self.packages.is_empty() {
            let mut apt = Command::new("apt-get");
            apt.env("DEBIAN_FRONTEND", "noninteractive").arg("update").arg("--quiet=2");
            run::step("apt-get update", &mut apt)?;
            let mut apt = Command::new("apt-get");
            apt.env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
                .args(self.packages.iter().map(|need| need.package));
            run::step("apt-get install", &mut apt)?;
        }
        if !self.targets.is_empty() {
            let mut rustup = Command::new("rustup");
            rustup.args(["target", "add"]).args(self.targets.iter().map(|(name, _)| *name));
            run::step("rustup target add", &mut rustup).context(
                "the Rust targets could not be added; without rustup, install the std library of each target \
                 with your distribution's packages and run this again",
            )?;
        }
        Ok(())
    }
}

fn present(need: &Need) -> bool {
    run::on_path(need.program)
        || ["/usr/sbin", "/sbin"].iter().any(|dir| std::path::Path::new(dir).join(need.program).is_file())
}

fn is_root() -> bool {
    // The owner of /proc/self is the effective user of this process (proc(5)).
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// Makes the machine ready, or says how and gives the exit code to stop with.
///
/// `ask` is put before anything is installed; it is not called when nothing is missing.
pub fn ready(ask: impl FnOnce(&Missing) -> Result<bool>) -> Result<Option<ExitCode>> {
    let missing = Missing::look()?;
    if missing.is_empty() {
        return Ok(None);
    }
    eprintln!("missing on this machine:\n{}", missing.describe());
    if !is_root() {
        eprintln!("install it with:\n\n    {}\n\nthen run this again", missing.command());
        return Ok(Some(ExitCode::from(3)));
    }
    if !ask(&missing)? {
        eprintln!("nothing was installed");
        return Ok(Some(ExitCode::from(3)));
    }
    missing.install()?;
    let left = Missing::look()?;
    if left.is_empty() {
        Ok(None)
    } else {
        eprintln!("still missing after the installation:\n{}", left.describe());
        Ok(Some(ExitCode::from(3)))
    }
}
