//! The default diagnosis of a real QEMU without Linux: firmware that waits for a sector which never comes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use vmward::capture::{Context, KnownLayout, OverChild, OverQmp, Plan, diagnose};
use vmward::look::Pool;
use vmward::node::{Process, Reader, stat};
use vmward::transport::qmp::{Deadlines, Monitor, Policy, Settings};
use vmward_model::observed::{MonitorHealth, ThreadRole};
use vmward_model::{CaptureOutcome, GuestState, Incarnation};
use vmward_qemu_fixtures::qemu::{Builder, Disk, Guest};
use vmward_tests::binary;
use vmward_tests::still::{resident, waiting_for};

fn examined(guest: &Guest) -> Result<(Context, Monitor)> {
    let pid = guest.pid();
    let line = std::fs::read(format!("/proc/{pid}/stat"))?;
    let start_ticks = stat::parse(&line).context("an odd stat line")?.start_ticks;
    let monitor = Monitor::new(Settings {
        path: guest.qmp_path(),
        policy: Policy::Brief,
        deadlines: Deadlines::default(),
        pid: Some(pid),
    });
    let context = Context {
        incarnation: Incarnation { pid, start_ticks, boot: 0 },
        guest_state: GuestState::Running,
        process: Process::new(pid, start_ticks, Reader::default(), None),
        monitor: Some(Arc::new(OverQmp(monitor.clone()))),
        console: None,
        sysrq: None,
        pauser: None,
        memory: Some(Arc::new(OverChild {
            pool: Pool::of(binary::vmward()?),
            layout: KnownLayout::default(),
            minicore: None,
        })),
        vcpu_threads: OnceLock::new(),
        memory_read: OnceLock::new(),
        queues_since: OnceLock::new(),
    };
    Ok((context, monitor))
}

#[tokio::test]
async fn a_guest_whose_disk_is_silent_is_examined_whole_and_its_monitor_still_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("disk.raw");
    std::fs::File::create(&image)?.set_len(16 << 20)?;
    let builder = Builder::q35("ladder").vcpus(2).disk(Disk::nbd("vda", &image)).qmp_sockets(["agent.sock"]);
    let guest = waiting_for(builder, "vda").await?;

    let before = resident(&guest)?;
    let (context, monitor) = examined(&guest)?;
    // The guest's owner opted in, and still it must not be stopped.
    let plan = Plan { l2: true, ..Plan::default() };
    let done = diagnose(Arc::new(context), &plan).await;
    ensure!(resident(&guest)? == before, "the diagnosis made the guest's memory grow");
    ensure!(done.took_ms < 20_000, "it took {} ms", done.took_ms);

    let seen = &done.observed;
    let state = seen.run_state.as_ref().context("no run state")?;
    ensure!(
        state.monitor == MonitorHealth::Answers && state.status.as_deref() == Some("running"),
        "{state:?}"
    );
    ensure!(state.arch.as_deref() == Some("x86_64"));
    for sample in seen.queues.as_ref().context("no queues")? {
        ensure!(sample.queues.iter().any(|it| it.device == "virtio-blk" && it.inuse == 1), "{sample:?}");
    }
    let blocks = seen.blocks.as_ref().context("no block counters")?;
    ensure!(blocks.len() == 2 && blocks.first().map(|it| &it.devices) == blocks.last().map(|it| &it.devices));
    let vcpus = seen.vcpus.as_ref().context("no registers")?;
    ensure!(vcpus.samples.len() == 5 && vcpus.samples.iter().all(|it| it.cpus.len() == 2), "{vcpus:?}");
    let host = seen.host.as_ref().context("nothing of the host")?;
    for index in 0..2 {
        ensure!(
            host.threads.iter().any(|it| it.role == ThreadRole::Vcpu(index)),
            "no thread of vCPU {index}"
        );
    }
    ensure!(host.disks.iter().any(|it| it.contains("nbd")), "{:?}", host.disks);
    for capture in ["registers-dump", "registers-gdb"] {
        let record = done.records.iter().find(|it| it.capture == capture).context("no record")?;
        ensure!(matches!(record.outcome, CaptureOutcome::Skipped { .. }), "{record:?}");
    }
    monitor.ask(qapi::qmp::query_status {}, Duration::from_secs(2)).await?;
    Ok(())
}
