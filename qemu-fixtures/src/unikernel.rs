//! The tiny bare-metal guest: built from `qemu-fixtures/unikernel/` once, then cached.
//!
//! It starts in under a second and needs 32 MiB, so a test can have ten of them. The cache is
//! keyed by a hash of its sources; the source folder is compiled into this crate, so a copied
//! binary builds it as well.

use crate::cache::{Cache, sha256};
use crate::qemu::{Builder, Error, Memory, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The unikernel's sources, by path in its folder.
const SOURCES: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("../unikernel/Cargo.toml")),
    ("Cargo.lock", include_str!("../unikernel/Cargo.lock")),
    ("link.ld", include_str!("../unikernel/link.ld")),
    ("src/main.rs", include_str!("../unikernel/src/main.rs")),
    ("src/boot.rs", include_str!("../unikernel/src/boot.rs")),
    ("src/cpu.rs", include_str!("../unikernel/src/cpu.rs")),
    ("src/modes.rs", include_str!("../unikernel/src/modes.rs")),
    ("src/serial.rs", include_str!("../unikernel/src/serial.rs")),
    ("src/virtio.rs", include_str!("../unikernel/src/virtio.rs")),
];

/// The linker's words, for both targets.
const LINK: &str = "-Clink-arg=-Tlink.ld -Crelocation-model=static -Ccode-model=small";
/// What a hosted target needs on top to make a freestanding program.
const FREESTANDING: &str = "-Clink-arg=-nostartfiles -Clink-arg=-nostdlib -Clink-arg=-static \
     -Clink-arg=-no-pie -Clink-arg=-Wl,--build-id=none -Cno-redzone=yes";

/// What the unikernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Halts between interrupts and answers on its serial line.
    Idle,
    /// As idle, and prints `app: label N` each second.
    Heartbeat,
    /// Prints its ready line, then spins with interrupts off.
    Spin,
    /// Prints its ready line, then takes a triple fault (which resets the machine).
    TripleFault,
    /// Prints without end, more than 100 MB.
    Flood,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Heartbeat, Self::Spin, Self::TripleFault, Self::Flood];

    /// Its name on the unikernel's command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Heartbeat => "heartbeat",
            Self::Spin => "spin",
            Self::TripleFault => "triple-fault",
            Self::Flood => "flood",
        }
    }
}

/// The line that every mode prints first.
pub const READY: &str = "UNIKERNEL READY";
/// Its prompt.
pub const PROMPT: &str = "unikernel> ";

/// A guest that runs the unikernel in `mode`: one vCPU, 32 MiB as memfd, a console on a unix
/// socket. Builds the unikernel first where the cache has none.
pub fn guest(name: &str, mode: Mode) -> Result<Builder> {
    let elf = build()?;
    Ok(Builder::q35(name)
        .memory(Memory::memfd(32))
        .elf(elf)
        .append(&format!("mode={}", mode.word()))
        .ready_when(READY, Duration::from_secs(30)))
}

/// The unikernel's ELF, from the cache or built now.
pub fn build() -> Result<PathBuf> {
    let mut all = Vec::new();
    for (name, text) in SOURCES {
        all.extend([name, "\0", text, "\0"].concat().into_bytes());
    }
    all.extend([LINK, FREESTANDING].concat().into_bytes());
    let key = format!("unikernel/{}.elf", &sha256(&all)[..16]);
    let made = Cache::open().and_then(|cache| cache.entry(&key, make));
    made.map_err(|err| Error::Setup(format!("no unikernel: {err:#}")))
}

/// Builds in a folder of its own and puts the ELF at `elf`.
fn make(elf: &Path) -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    for (name, text) in SOURCES {
        let path = work.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(work.path()))?;
        std::fs::write(&path, text)?;
    }
    let built = compile(work.path(), "x86_64-unknown-none", LINK).or_else(|first| {
        // Not every toolchain has the bare target: the hosted one can be made freestanding.
        let flags = format!("{LINK} {FREESTANDING}");
        compile(work.path(), "x86_64-unknown-linux-gnu", &flags)
            .map_err(|second| anyhow::anyhow!("neither bare ({first}) nor freestanding ({second}) builds"))
    })?;
    std::fs::copy(built, elf)?;
    Ok(())
}

fn compile(folder: &Path, target: &str, flags: &str) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--locked", "--target", target])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("RUSTFLAGS", flags)
        // What the calling cargo set for its own build is not for this one.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .map_err(|err| err.to_string())?;
    if output.status.success() {
        return Ok(folder.join(format!("target/{target}/release/unikernel")));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.lines().filter(|it| it.contains("error")).collect();
    Err(format!("{}: {}", output.status, lines.join("; ")))
}
