//! The stacks that the lens finds are the kernel's own: `/proc/PID/stack` and SysRq `t` in the guest.

use anyhow::{Context, Result, ensure};
use vmward_kernel_lens::task::{KernelTask, TaskOptions, Tasks, read_tasks};
use vmward_kernel_lens::unwind::{End, FrameKind, Place, RawFrame, Unwinder, Unwound, user_frames};
use vmward_kernel_lens::{AddressSpace, Kernel, Modules, Recorder, open};
use vmward_tests::lens::Pictured;

/// A kernel and what is needed to name frames.
struct Look<'k, 'm> {
    kernel: &'k Kernel<'m>,
    modules: Modules,
    unwinder: Unwinder<'k, 'm>,
    tasks: Tasks,
}

impl<'k, 'm> Look<'k, 'm> {
    fn at(kernel: &'k Kernel<'m>) -> Result<Self> {
        let tasks = read_tasks(kernel, TaskOptions::default())?;
        let modules = Modules::read(&kernel.space, &kernel.symbols, &kernel.types);
        Ok(Self { kernel, modules, unwinder: Unwinder::new(kernel), tasks })
    }

    /// The frames that are sure, as the kernel prints them.
    fn text(&self, unwound: &Unwound, wanted: impl Fn(&RawFrame) -> bool) -> Vec<String> {
        let frames = unwound.frames.iter().copied().filter(|it| it.sure() && wanted(it)).collect();
        let sure = Unwound { frames, end: unwound.end };
        let named = sure.named(|address| match self.modules.symbol(&self.kernel.space, address) {
            Some((module, symbol)) => Some(Place { symbol, module: Some(&module.name) }),
            None => Some(Place { symbol: self.kernel.symbols.at(address)?, module: None }),
        });
        named.iter().map(ToString::to_string).collect()
    }

    fn sleeping(&self) -> impl Iterator<Item = &KernelTask> {
        self.tasks.iter().filter(|it| !it.task.running)
    }
}

/// Every thread that did not run between the guest's answers before and after the image: its stack, which
/// `/proc` shows without the scheduler's own functions, and where it left user space.
fn stacks_are_those_of_proc(guest: &Pictured, look: &Look<'_, '_>) -> Result<()> {
    let truth = guest.image().files("tasks")?;
    let symbol = |name| look.kernel.symbol(name).with_context(|| format!("no {name}"));
    let scheduler = symbol("__sched_text_start")?..symbol("__sched_text_end")?;
    let (mut threads, mut frames, mut users) = (0, 0, 0);
    for thread in guest.image().still_threads()? {
        let task = look.tasks.by_pid(thread.1).with_context(|| format!("no {thread:?}"))?;
        let unwound = look.unwinder.sleeping(task.address);
        let theirs: Vec<&str> = truth.of_thread(thread, "stack").unwrap_or_default().lines().collect();
        let ours = look.text(&unwound, |it| !scheduler.contains(&it.address));
        let ours: Vec<String> = ours.iter().map(|it| format!("[<0>] {it}")).collect();
        ensure!(ours == theirs, "{thread:?} {}: we {ours:#?}, the guest {theirs:#?}", task.task.comm);
        threads += 1;
        frames += theirs.len();
        // System call number, six arguments, stack pointer, instruction pointer; `-1` outside of one.
        let syscall = truth.of_thread(thread, "syscall").unwrap_or_default();
        let hex = |it: &str| u64::from_str_radix(it.trim_start_matches("0x"), 16);
        if let [_, .., sp, ip] = syscall.split_whitespace().collect::<Vec<_>>()[..]
            && (hex(sp)?, hex(ip)?) != (0, 0)
        {
            let End::User(entry) = unwound.end else { anyhow::bail!("{thread:?} ends {:?}", unwound.end) };
            ensure!((entry.sp, entry.ip) == (hex(sp)?, hex(ip)?), "{thread:?}: {syscall} {entry:x?}");
            users += 1;
        }
    }
    ensure!(threads > 30 && users > 1, "only {threads} threads stood still, {users} of user space");
    ensure!(frames > threads, "only {frames} frames of {threads} threads");
    Ok(())
}

/// A task of SysRq `t`: when it was printed (ns) and its frames without those with `?`.
fn of_sysrq(guest: &Pictured) -> Result<Vec<(u32, u64, Vec<String>)>> {
    let mut all: Vec<(u32, u64, Vec<String>)> = Vec::new();
    for line in guest.image().text("sysrq_t")?.lines() {
        let Some((head, text)) = line.split_once("] ") else { continue };
        let time = head.split_once('[').map_or("", |it| it.1).trim();
        if let Some(rest) = text.strip_prefix("task:") {
            let pid = rest.split_once("pid:").and_then(|it| it.1.split_whitespace().next());
            let seconds: f64 = time.parse().with_context(|| line.to_owned())?;
            all.push((pid.context("no pid")?.parse()?, (seconds * 1e9) as u64, Vec::new()));
        } else if text.starts_with("Sched Debug") || text.starts_with("Showing") {
            break;
        } else if let Some((_, _, frames)) = all.last_mut() {
            let frame = text.trim();
            let is_frame = frame.contains("+0x") && frame.contains("/0x") && !frame.contains("RIP:");
            if is_frame && !frame.starts_with('?') {
                frames.push(frame.to_owned());
            }
        }
    }
    Ok(all)
}

/// SysRq shows the scheduler's functions too, of a moment before. A task may differ only if it was given a
/// CPU since then, or had one.
fn stacks_are_those_of_sysrq(guest: &Pictured, look: &Look<'_, '_>) -> Result<()> {
    let arrival = look.kernel.offset("task_struct", "sched_info.last_arrival").context("no last_arrival")?;
    let (mut equal, mut moved, mut frames) = (0, Vec::new(), 0);
    for (pid, printed, theirs) in of_sysrq(guest)? {
        let Some(task) = look.tasks.by_pid(pid).filter(|it| !it.task.running) else { continue };
        let ours = look.text(&look.unwinder.sleeping(task.address), |_| true);
        if ours == theirs {
            equal += 1;
            frames += ours.len();
            continue;
        }
        let arrived = look.kernel.space.u64(task.address + arrival)?;
        let ran_then = theirs.iter().any(|it| it.starts_with("sched_show_task")) || theirs.len() <= 1;
        ensure!(
            ran_then || arrived > printed,
            "{pid} {} of {printed} came at {arrived}: {ours:#?} {theirs:#?}",
            task.task.comm
        );
        moved.push(task.task.comm.as_str());
    }
    ensure!(
        equal > 40 && frames > equal,
        "only {equal} tasks are as SysRq showed them; ran since: {moved:?}"
    );
    Ok(())
}

fn every_stack_has_a_true_end(look: &Look<'_, '_>) -> Result<()> {
    let mut count = 0;
    for task in look.sleeping() {
        let unwound = look.unwinder.sleeping(task.address);
        // A zombie may have no stack any more.
        if task.stack != 0 {
            ensure!(unwound.end.is_true_end(), "{}: {:?}", task.task.comm, unwound);
            ensure!(matches!(unwound.end, End::User(_)) == (task.mm != 0), "{}: {unwound:?}", task.task.comm);
            count += 1;
        }
    }
    ensure!(count > 30, "only {count} tasks sleep");
    Ok(())
}

/// Frames of user space lie in what the process has mapped as code.
fn user_frames_are_code(guest: &Pictured, recorder: &Recorder<'_>, look: &Look<'_, '_>) -> Result<()> {
    let maps = guest.image().files("all-maps")?;
    let pgd = look.kernel.offset("mm_struct", "pgd").context("no pgd")?;
    let (mut sure, mut all) = (0, 0);
    for task in look.sleeping().filter(|it| it.mm != 0) {
        let unwound = look.unwinder.sleeping(task.address);
        let (End::User(entry), Some(tgid)) = (unwound.end, task.task.tgid) else { continue };
        let root = look.kernel.space.phys(look.kernel.space.u64(task.mm + pgd)?)?;
        let space = AddressSpace::new(recorder, look.kernel.space.paging().with_root(root));
        let maps = maps.get(&format!("/proc/{tgid}/maps")).unwrap_or_default();
        let is_code = |address: u64| {
            maps.lines().filter(|it| it.contains("r-xp")).any(|it| {
                let bounds = it.split_whitespace().next().and_then(|it| it.split_once('-'));
                let hex = |it| u64::from_str_radix(it, 16).unwrap_or(0);
                bounds.is_some_and(|(from, to)| (hex(from)..hex(to)).contains(&address))
            })
        };
        for frame in user_frames(&space, &entry).iter().filter(|it| it.sure()) {
            ensure!(is_code(frame.address), "{}: {frame:x?} {maps}", task.task.comm);
            sure += 1;
        }
        all += 1;
    }
    ensure!(all > 3 && sure >= all, "only {sure} frames of {all} tasks of user space");
    Ok(())
}

fn stacks_are_the_kernels_own(name: &str, tables: &str) -> Result<()> {
    let guest = Pictured::of(name)?;
    let recorder = Recorder::new(guest.memory());
    let kernel = open(&recorder, guest.cpus())?.kernel;
    let look = Look::at(&kernel)?;
    ensure!(look.unwinder.describe() == tables, "{}", look.unwinder.describe());
    stacks_are_those_of_proc(&guest, &look)?;
    stacks_are_those_of_sysrq(&guest, &look)?;
    every_stack_has_a_true_end(&look)?;
    user_frames_are_code(&guest, &recorder, &look)?;
    for cpu in guest.cpus() {
        let unwound = look.unwinder.running(&cpu.registers, None);
        ensure!(unwound.end.is_true_end(), "{unwound:?}");
    }
    Ok(())
}

#[test]
fn stacks_of_5_10_are_the_kernels_own() -> Result<()> {
    stacks_are_the_kernels_own("amd64-5.10", "ORC tables, form 1")
}

#[test]
fn stacks_of_6_1_are_the_kernels_own() -> Result<()> {
    stacks_are_the_kernels_own("amd64-6.1", "ORC tables, form 1")
}

#[test]
fn stacks_of_6_12_are_the_kernels_own() -> Result<()> {
    stacks_are_the_kernels_own("amd64-6.12", "ORC tables, form 3")
}

#[test]
fn stacks_of_7_are_the_kernels_own() -> Result<()> {
    stacks_are_the_kernels_own("amd64-7.x", "ORC tables, form 4")
}

#[test]
fn stacks_of_arm64_are_the_kernels_own() -> Result<()> {
    stacks_are_the_kernels_own("arm64-6.12", "frame records")
}

/// The code that the fault `panic` ends in.
const CRASH: &str = "sysrq_handle_crash+0x";

/// What the guest printed of its panic, from that code outwards, without frames with `?`.
fn of_console(guest: &Pictured) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(guest.image().folder().join("console.log"))?;
    let (_, panic) = text.split_once("Kernel panic").context("the console shows no panic")?;
    let lines = panic.lines().map(|it| it.split_once("] ").map_or(it, |it| it.1).trim());
    let frames = lines.skip_while(|it| !it.starts_with(CRASH));
    // Registers, or the next part, end it.
    let frames = frames.take_while(|it| !it.contains(": ") && !it.contains("---"));
    let frames = frames.filter(|it| it.contains("+0x") && !it.starts_with('?'));
    // Since v6.13 arm64 marks what came out of registers by a letter behind.
    Ok(frames.map(|it| it.split(" (").next().unwrap_or(it).to_owned()).collect())
}

/// All vCPUs are followed to a true end: the one that panics as the kernel did itself, and those that it
/// stopped by an interrupt, though it took them out of the mask of those that are online.
fn a_panic_is_followed_on_every_vcpu(name: &str) -> Result<()> {
    let guest = Pictured::of_fault("panic", name)?;
    let recorder = Recorder::new(guest.memory());
    let kernel = open(&recorder, guest.cpus())?.kernel;
    ensure!(kernel.online().len() == 1 && kernel.cpus().len() == guest.cpus().len());
    let look = Look::at(&kernel)?;
    let (mut panics, mut stopped) = (0, 0);
    for cpu in guest.cpus() {
        let unwound = look.unwinder.running(&cpu.registers, None);
        let text = look.text(&unwound, |_| true);
        ensure!(unwound.end.is_true_end(), "{unwound:?}");
        if let Some(crash) = text.iter().position(|it| it.starts_with(CRASH)) {
            let theirs = of_console(&guest)?;
            ensure!(text[crash..] == theirs, "we {text:#?}, the guest {theirs:#?}");
            panics += 1;
        } else {
            ensure!(unwound.frames.iter().any(|it| it.kind == FrameKind::Interrupt), "{text:#?}");
            stopped += 1;
        }
    }
    ensure!(panics == 1 && stopped + 1 == guest.cpus().len(), "{panics} panic, {stopped} were stopped");
    Ok(())
}

#[test]
fn a_panic_of_6_1_is_followed_on_every_vcpu() -> Result<()> {
    a_panic_is_followed_on_every_vcpu("amd64-6.1")
}

#[test]
fn a_panic_of_7_is_followed_on_every_vcpu() -> Result<()> {
    a_panic_is_followed_on_every_vcpu("amd64-7.x")
}

#[test]
fn a_panic_of_arm64_is_followed_on_every_vcpu() -> Result<()> {
    a_panic_is_followed_on_every_vcpu("arm64-6.12")
}
