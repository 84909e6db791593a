//! `cargo xtask fixtures fetch|update|list`: what the test guests are made of.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use vmward_qemu_fixtures::cache::Cache;
use vmward_qemu_fixtures::fault::catalogue::Catalogue;
use vmward_qemu_fixtures::kernels::{KERNELS, Lock, update};

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
            let cache = Cache::open()?;
            for name in KERNELS {
                let kernel = cache.kernel(name)?;
                println!("{name:<12} {:<24} {}", kernel.version, kernel.vmlinuz.display());
            }
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
