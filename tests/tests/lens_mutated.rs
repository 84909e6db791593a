//! Guests whose memory lies: a thousand images with bytes changed where the lens looks. No reader panics, none
//! takes longer than two seconds of CPU time or more than 256 MiB.
//!
//! This binary plays two parts: the tests, and the process that looks (`look KERNEL FIRST COUNT`), whose time
//! and memory are its own. A failure names the seed: `lens_mutated look amd64-6.1 17 1` makes it again.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test with its own main: what was seen is part of the result"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::time::{ClockId, clock_gettime};
use vmward_qemu_fixtures::kernels::KERNELS;
use vmward_tests::hostile;
use vmward_tests::lens::Pictured;
use vmward_tests::mutate::Seeded;
use vmward_tests::readers::Subject;

/// Images of each kernel in the quick tests, and in `cargo xtask test --all`.
const FEW: u64 = 60;
const MANY: u64 = 200;
/// What one image may take.
const MOST_CPU: Duration = Duration::from_secs(2);
const MOST_MEMORY_KIB: u64 = 256 << 10;
/// CPU time at which the present image's began, in milliseconds; negative while none is looked at.
static BEGAN_MS: AtomicI64 = AtomicI64::new(-1);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let ["look", kernel, first, count] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return match look(kernel, first, count) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let mut trials = Vec::new();
    for kernel in KERNELS {
        let name = kernel.replace(['-', '.'], "_");
        trials
            .push(Trial::test(format!("mutated_images_of_{name}_do_no_harm"), move || check(kernel, 0, FEW)));
        trials.push(Trial::test(format!("all_thousand_mutated_images_do_no_harm_{name}"), move || {
            check(kernel, FEW, MANY)
        }));
    }
    trials.push(Trial::test("the_fuzz_corpora_do_no_harm", || Ok(replay()?)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Has another process look at images, and reads what came of it.
fn check(kernel: &str, first: u64, count: u64) -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?)
        .args(["look", kernel, &first.to_string(), &count.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    if !output.status.success() {
        return Err(format!("{} ({})", last, output.status).into());
    }
    println!("{kernel}: {last}");
    Ok(())
}

/// Looks at images `first` and on. One in three has lies anywhere, the others where one reader alone looks.
fn look(kernel: &str, first: &str, count: &str) -> Result<()> {
    let (first, count): (u64, u64) = (first.parse()?, count.parse()?);
    let subject = Subject::new(Pictured::of(kernel)?)?;
    for (reader, found) in subject.clean() {
        ensure!(*found > 0, "{reader} finds nothing in the guest as it is");
    }
    let readers = subject.readers();
    std::thread::spawn(watch);
    let (mut most_cpu, mut most_memory) = (0, 0);
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in first..first + count {
        println!("image {seed} of {kernel}");
        let mut choices = Seeded::new(seed);
        // What was resident until now is not this image's (proc(5), clear_refs).
        std::fs::write("/proc/self/clear_refs", "5").context("while forgetting the peak of memory")?;
        let began = cpu_ms()?;
        BEGAN_MS.store(began, Ordering::Relaxed);
        if seed % 3 == 0 {
            let (name, read) = if seed % 2 == 0 {
                ("whole", subject.whole(&mut choices))
            } else {
                ("without registers", subject.without_registers(&mut choices))
            };
            *found.entry(name).or_default() += usize::from(read.iter().any(|it| it.1 > 0));
        } else {
            let at = usize::try_from(seed / 3)? * 2 + usize::try_from(seed % 3)?;
            let reader = readers[at % readers.len()];
            *found.entry(reader).or_default() += usize::from(subject.one(reader, &mut choices)? > 0);
        }
        BEGAN_MS.store(-1, Ordering::Relaxed);
        most_cpu = most_cpu.max(cpu_ms()? - began);
        let memory = peak_kib()?;
        ensure!(memory <= MOST_MEMORY_KIB, "image {seed} of {kernel} took {memory} KiB");
        most_memory = most_memory.max(memory);
    }
    // Whoever finds nothing in any image was not looked at.
    let n_found: usize = found.values().sum();
    ensure!(n_found as u64 >= count / 4, "something was found in {n_found} of {count} images alone");
    println!(
        "{count} images, something found in {n_found}: {found:?}; CPU time {most_cpu} ms and {} MiB at most",
        most_memory / 1024
    );
    Ok(())
}

/// Gives the fuzz targets what was saved for them.
fn replay() -> Result<()> {
    for (target, read) in hostile::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
            let bytes = std::fs::read(entry?.path())?;
            read(&bytes);
            // Most trouble is at an end that comes too early.
            let steps = if *target == "lens_image" { 3 } else { 100 };
            (1..steps).for_each(|step| read(&bytes[..bytes.len() * step / steps]));
            count += 1;
        }
        ensure!(count >= 2, "{count} inputs for {target}");
    }
    Ok(())
}

/// Ends a look that has no end.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let (began, now) = (BEGAN_MS.load(Ordering::Relaxed), cpu_ms().unwrap_or(0));
        if began >= 0 && u128::try_from(now - began).unwrap_or(0) > MOST_CPU.as_millis() {
            println!("the last image took more than {MOST_CPU:?} of CPU time");
            std::process::exit(3);
        }
    }
}

/// CPU time of this process: another one's load does not count.
fn cpu_ms() -> Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000)
}

fn peak_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
