//! A minicore of a paused guest tells byte for byte what its whole memory told, in a few MiB and without user
//! space's pages.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use vmward_kernel_facts::Examination;
use vmward_kernel_lens::minicore::{self, Policy, SaveError};
use vmward_kernel_lens::source::{self, Format};
use vmward_kernel_lens::task::{TaskOptions, read_tasks};
use vmward_kernel_lens::unwind::{End, Unwinder};
use vmward_kernel_lens::{AddressSpace, Options, PhysicalMemory, Recorder, examine, examine_opened, open};
use vmward_tests::lens::Pictured;

/// Kernels whose fault of a lock chain makes the largest minicore that is promised to be small.
const FAULTED: [&str; 4] = ["amd64-5.10", "amd64-6.1", "amd64-6.12", "amd64-7.x"];
/// What a minicore of it may take.
const PROMISED: u64 = 8 << 20;
/// What the agent allows.
const LIMIT: u64 = 24 << 20;

/// Everything that is told, but what it cost to find out.
fn told(mut found: Examination) -> Result<String> {
    found.cost = Default::default();
    Ok(serde_json::to_string_pretty(&found)?)
}

/// A minicore of a guest, and what its memory told.
fn saved(
    guest: &Pictured,
    with_registers: bool,
    policy: Policy,
) -> Result<(Vec<u8>, minicore::Counts, String)> {
    let recorder = Recorder::new(guest.memory());
    let cpus = if with_registers { guest.cpus() } else { &[] };
    let opened = open(&recorder, cpus)?;
    let found = examine_opened(&opened, cpus, Options::default(), Instant::now());
    let mut file = Vec::new();
    let counts = minicore::save(&mut file, &opened, cpus, &found, policy, LIMIT)?;
    Ok((file, counts, told(found)?))
}

fn first_difference(one: &str, other: &str) -> String {
    let lines = one.lines().zip(other.lines()).enumerate();
    let differ = lines.filter(|(_, (a, b))| a != b).take(5);
    differ.map(|(at, (a, b))| format!("line {at}: {a} | {b}\n")).collect()
}

fn tells_the_same(guest: &Pictured, with_registers: bool, policy: Policy) -> Result<u64> {
    let (file, counts, live) = saved(guest, with_registers, policy)?;
    ensure!(counts.unreadable == 0, "{counts:?}");
    let len = file.len() as u64;
    let opened = source::open_bytes(Box::new(file))?;
    ensure!(opened.format == Format::Minicore && opened.memory.ranges() == guest.memory().ranges());
    let recorder = Recorder::new(&*opened.memory);
    let kept = told(examine(&recorder, &opened.cpus, Options::default())?)?;
    ensure!(kept == live, "the minicore tells something else:\n{}", first_difference(&live, &kept));
    Ok(len)
}

#[test]
fn a_minicore_tells_the_same_on_every_kernel() -> Result<()> {
    for kernel in vmward_tests::lens::KERNELS {
        let guest = Pictured::of(kernel)?;
        tells_the_same(&guest, true, Policy::Kernel).with_context(|| kernel.to_owned())?;
        tells_the_same(&guest, false, Policy::Kernel).with_context(|| format!("{kernel}, no registers"))?;
    }
    Ok(())
}

#[test]
fn a_minicore_of_a_lock_chain_tells_the_same_and_is_small() -> Result<()> {
    for kernel in FAULTED {
        let guest = Pictured::of_fault("lock-chain", kernel)?;
        let len = tells_the_same(&guest, true, Policy::Kernel).with_context(|| kernel.to_owned())?;
        ensure!(len <= PROMISED, "{kernel}: {len} bytes");
    }
    Ok(())
}

/// A secret that a program of the guest holds is in the file only if the policy says so; names of programs are
/// told in any case.
#[test]
fn user_memory_stays_out_of_a_minicore_unless_it_is_asked_for() -> Result<()> {
    let guest = Pictured::of("amd64-6.1")?;
    let (kernel_only, _, told) = saved(&guest, true, Policy::Kernel)?;
    ensure!(told.contains("\"command_line\""), "nobody has a command line");
    let (with_user, _, _) = saved(&guest, true, Policy::User)?;
    tells_the_same(&guest, true, Policy::User)?;
    let user_pages = |file: Vec<u8>| -> Result<usize> {
        let opened = source::open_bytes(Box::new(file))?;
        let recorder = Recorder::new(&*opened.memory);
        let kernel = open(&recorder, &opened.cpus)?.kernel;
        let unwinder = Unwinder::new(&kernel);
        let mut pages = 0;
        for task in read_tasks(&kernel, TaskOptions::default())?.iter().filter(|it| it.mm != 0) {
            let End::User(entry) = unwinder.sleeping(task.address).end else { continue };
            let root = kernel.space.phys(kernel.word(task.mm, "mm_struct", "pgd")?)?;
            let space = AddressSpace::new(&recorder, kernel.space.paging().with_root(root));
            for at in [entry.ip, entry.sp] {
                pages += usize::from(space.u8(at).is_ok());
            }
        }
        Ok(pages)
    };
    ensure!(user_pages(kernel_only)? == 0, "user pages are in the file");
    ensure!(user_pages(with_user)? > 4, "no user pages are in the file");
    Ok(())
}

#[test]
fn a_minicore_that_has_no_room_is_made_smaller_and_still_tells_the_same() -> Result<()> {
    let guest = Pictured::of("amd64-6.1")?;
    let (whole, counts, live) = saved(&guest, true, Policy::Kernel)?;
    let recorder = Recorder::new(guest.memory());
    let opened = open(&recorder, guest.cpus())?;
    let found = examine_opened(&opened, guest.cpus(), Options::default(), Instant::now());
    let mut small = Vec::new();
    let limit = whole.len() as u64 - (64 << 10);
    let fewer = minicore::save(&mut small, &opened, guest.cpus(), &found, Policy::Kernel, limit)?;
    ensure!(fewer.kept < counts.kept && small.len() as u64 <= limit, "{fewer:?}");
    let smaller = source::open_bytes(Box::new(small))?;
    let recorder = Recorder::new(&*smaller.memory);
    ensure!(told(examine(&recorder, &smaller.cpus, Options::default())?)? == live);
    let mut none = Vec::new();
    let refused = minicore::save(&mut none, &opened, guest.cpus(), &found, Policy::Kernel, 1 << 20);
    ensure!(matches!(refused, Err(SaveError::TooLarge { .. })) && none.is_empty());
    Ok(())
}
