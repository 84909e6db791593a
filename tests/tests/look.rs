//! A look at a real guest that hangs: by a child without rights, with and without the monitor, without a stop.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use vmward::capture::{Context, KnownLayout, OverChild, OverQmp, Plan, diagnose};
use vmward::look::{LookError, MemoryFrom, MinicoreOrder, Order, Pool, Request, gather};
use vmward::node::{Process, Reader, stat};
use vmward::transport::qmp::{Deadlines, Monitor, Policy, Settings};
use vmward_kernel_facts::{Debtor, Examination, WaitKind};
use vmward_kernel_lens::{Options, Recorder, examine, source};
use vmward_model::{CaptureOutcome, GuestState, Incarnation, Rung};
use vmward_qemu_fixtures::fault;
use vmward_qemu_fixtures::qemu::Guest;
use vmward_tests::binary::vmward;

const LOOK: Duration = Duration::from_secs(20);

/// A guest as the agent reaches it.
struct Reached {
    life: Incarnation,
    process: Process,
    monitor: Arc<OverQmp>,
}

impl Reached {
    fn new(guest: &Guest) -> Result<Self> {
        let pid = guest.pid();
        let line = std::fs::read(format!("/proc/{pid}/stat"))?;
        let start_ticks = stat::parse(&line).context("an odd stat line")?.start_ticks;
        let monitor = Monitor::new(Settings {
            path: guest.qmp_path(),
            policy: Policy::Brief,
            deadlines: Deadlines::default(),
            pid: Some(pid),
        });
        Ok(Self {
            life: Incarnation { pid, start_ticks, boot: 0 },
            process: Process::new(pid, start_ticks, Reader::default(), None),
            monitor: Arc::new(OverQmp(monitor)),
        })
    }

    fn context(&self, pool: &Pool) -> Context {
        Context {
            incarnation: self.life,
            guest_state: GuestState::Running,
            process: self.process.clone(),
            monitor: Some(self.monitor.clone()),
            console: None,
            sysrq: None,
            pauser: None,
            memory: Some(Arc::new(OverChild {
                pool: pool.clone(),
                layout: KnownLayout::default(),
                minicore: Some(MinicoreOrder::default()),
            })),
            vcpu_threads: OnceLock::new(),
            memory_read: OnceLock::new(),
            queues_since: OnceLock::new(),
        }
    }
}

/// The fault's own proof names the holder and its waiters by these names.
fn tells_the_chain(found: &Examination) -> Result<()> {
    let name = |pid: u32| found.tasks.iter().find(|it| it.pid == Some(pid)).map_or("", |it| it.comm.as_str());
    let root = found.waits.roots.first().context("no root")?;
    ensure!(name(root.task) == "lock-holder", "{:?}", found.waits);
    ensure!(root.waiters.len() == 2 && root.waiters.iter().all(|it| name(*it).starts_with("app-writer")));
    ensure!(root.waits_for == Some(WaitKind::PageIo), "{root:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_chain_is_told_live_with_and_without_the_monitor_and_from_its_minicore() -> Result<()> {
    let fault = fault::find("lock-chain")?;
    let mut guest = fault::start("amd64-6.1", fault)?;
    fault.inject(&mut guest)?;
    let reached = Reached::new(&guest)?;
    let pool = Pool::of(vmward()?).with_spare();

    let gathered =
        gather(&reached.process, Some(&*reached.monitor), None).await.map_err(anyhow::Error::msg)?;
    ensure!(gathered.rung == Rung::L1 && gathered.notes.is_empty(), "{:?}", gathered.notes);
    let layout = gathered.layout.clone();
    let looked = pool.look(gathered.order, LOOK).await?;
    tells_the_chain(&looked.examination)?;
    ensure!(looked.examination.cpus.len() == 2, "{:?}", looked.examination.cpus);

    let done = diagnose(Arc::new(reached.context(&pool)), &Plan::default()).await;
    let of = |name: &str| done.records.iter().find(|it| it.capture == name);
    ensure!(of("memory").is_some_and(|it| it.rung == Rung::L1 && it.paused_us == 0), "{:?}", done.records);
    ensure!(of("memory-alone").is_some_and(|it| matches!(it.outcome, CaptureOutcome::Skipped { .. })));
    let look = done.kernel.look.as_ref().context("the case has no look")?;
    ensure!(look.waits == looked.examination.waits || !look.waits.roots.is_empty(), "{:?}", look.waits);
    // The fault's disk does not answer: the request that the chain ends at is owed by the host's storage.
    let border = done.kernel.border.as_ref().context("the case has no border")?;
    ensure!(border.devices.iter().any(|it| it.who_owes == Debtor::HostStorage), "{border:?}");
    let minicore = done.artifacts.iter().find(|it| it.kind == "minicore").context("no minicore")?;
    ensure!(!minicore.truncated && minicore.bytes.len() <= 8 << 20, "{} bytes", minicore.bytes.len());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("minicore");
    std::fs::write(&path, &minicore.bytes)?;
    let opened = source::open(&path)?;
    let recorder = Recorder::new(&*opened.memory);
    tells_the_chain(&examine(&recorder, &opened.cpus, Options::default())?)?;

    // QMP dead: QEMU as a whole is stopped. Once with the layout of a better time, once without.
    guest.signal(Signal::SIGSTOP)?;
    for known in [Some(layout), None] {
        let guesses = known.is_none();
        let gathered =
            gather(&reached.process, Some(&*reached.monitor), known).await.map_err(anyhow::Error::msg)?;
        ensure!(gathered.rung == Rung::L0 && gathered.layout.guessed == guesses, "{:?}", gathered.layout);
        tells_the_chain(&pool.look(gathered.order, LOOK).await?.examination)?;
    }
    guest.signal(Signal::SIGCONT)?;
    guest.check_alive()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_over_time_shows_the_function_that_a_cpu_spins_in() -> Result<()> {
    let fault = fault::find("irq-off-one")?;
    let mut guest = fault::start("amd64-6.1", fault)?;
    fault.inject(&mut guest)?;
    let reached = Reached::new(&guest)?;
    let pool = Pool::of(vmward()?);
    let gathered =
        gather(&reached.process, Some(&*reached.monitor), None).await.map_err(anyhow::Error::msg)?;
    let monitor = reached.monitor.clone();
    let registers = async || {
        use vmward::capture::{Monitor as _, Question};
        let answers = monitor.ask(vec![Question::Registers], Duration::from_secs(5)).await.ok()?;
        answers.into_iter().next()?.ok()?.as_str().map(str::to_owned)
    };
    let samples = pool.over_time(gathered.order, 10, LOOK, registers).await?;
    ensure!(samples.taken == 10 && samples.missed == 0, "{samples:?}");
    // One CPU stands at one function of the module that the fault loads, all the time.
    let spins = samples.cpus.iter().any(|it| it.seen == 10 && it.idle == 0 && it.places <= 4);
    ensure!(spins, "{:?}", samples.cpus);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_never_answers_is_ended_and_holds_up_nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("sleeper");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n")?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let pool = Pool::of(&program);
    let order = || -> Result<Order> {
        let request = Request { memory: MemoryFrom::Core, ..Request::default() };
        Ok(Order { request, files: vec![std::fs::File::open("/dev/null")?.into()] })
    };
    let began = Instant::now();
    let short = Duration::from_millis(300);
    // One more than there are places: the last one waits for a place and then has none in time.
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..9 {
        let (pool, order) = (pool.clone(), order()?);
        all.spawn(async move { pool.look(order, short).await });
    }
    let (mut ended, mut busy) = (0, 0);
    while let Some(done) = all.join_next().await {
        match done? {
            Err(LookError::Overtime(_)) => ended += 1,
            Err(LookError::Busy(_)) => busy += 1,
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(ended >= 8 && ended + busy == 9, "{ended} {busy}");
    ensure!(began.elapsed() < Duration::from_secs(30));
    let mut left = 0;
    for entry in std::fs::read_dir("/proc")? {
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        left += usize::from(line.windows(9).any(|it| it == b"sleep\x00600"));
    }
    ensure!(left == 0, "{left} children were left behind");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_core_is_told_by_the_child_in_a_sentence() -> Result<()> {
    let pool = Pool::of(vmward()?);
    let request = Request { memory: MemoryFrom::Core, ..Request::default() };
    let files = vec![std::fs::File::open("/proc/self/exe")?.into(), std::fs::File::open("/dev/null")?.into()];
    let answer = pool.look(Order { request, files }, LOOK).await;
    ensure!(matches!(&answer, Err(LookError::Not(why)) if !why.is_empty()), "{answer:?}");
    Ok(())
}
