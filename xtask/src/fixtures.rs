//! `cargo xtask fixtures fetch|update|list`: what the test guests are made of.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use vmward_qemu_fixtures::cache::Cache;
use vmward_qemu_fixtures::fault::catalogue::Catalogue;
use vmward_qemu_fixtures::initramfs::Initramfs;
use vmward_qemu_fixtures::kernels::{KERNELS, Lock, update};
use vmward_qemu_fixtures::{debian, unikernel};

/// Arguments of `cargo xtask fixtures`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Fetch every pinned kernel into the cache, so that later runs need no network.
    Fetch,
    /// Pin the current kernels of each suite in `kernels.lock`; commit the change.
    Update,
    /// The faults and how each is made.
    List,
}

/// Runs it.
pub fn run(args: &Args) -> Result<ExitCode> {
    match args.what {
        What::Fetch => {
            prepare()?;
        }
        What::Update => {
            let lock = update(&Cache::open()?)?;
            let path = Lock::path();
            std::fs::write(&path, lock.to_text()?)?;
            println!("wrote {}; look at the change and commit it", path.display());
        }
        What::List => {
            for entry in Catalogue::shipped()?.faults {
                println!("{:<18} {:<15} {}", entry.name, entry.class, entry.made);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Fetches and builds everything that guests are made of, so that no test waits for it under a test's
/// own deadline. Quick, and without network, once the cache is full.
pub fn prepare() -> Result<()> {
    let cache = Cache::open()?;
    for name in KERNELS {
        let kernel = cache.kernel(name)?;
        let initramfs = Initramfs::patient(&kernel).build(&cache)?;
        eprintln!("{name:<12} {:<20} {}", kernel.version, initramfs.display());
    }
    eprintln!("headers      {}", cache.kernel_headers("amd64-6.1")?.display());
    eprintln!("unikernel    {}", unikernel::build()?.display());
    eprintln!("debian       {}", debian::image(&cache)?.display());
    Ok(())
}
