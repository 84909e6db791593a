//! Who owes whom, of real guests: a disk whose server swallows requests, a busy disk, a healthy guest.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use vmward::capture::{Context, Examined, KnownLayout, OverChild, OverQmp, Plan, diagnose};
use vmward::look::Pool;
use vmward::node::{Process, Reader, stat};
use vmward::transport::qmp::{Deadlines, Monitor, Policy, Settings};
use vmward_kernel_facts::{Border, BorderDevice, Debtor};
use vmward_model::{GuestState, Incarnation};
use vmward_qemu_fixtures::fault;
use vmward_qemu_fixtures::qemu::Guest;
use vmward_qemu_fixtures::standard::standard_patient;
use vmward_tests::binary;

/// A diagnosis that neither pauses the guest nor presses a key.
async fn diagnosed(guest: &mut Guest) -> Result<Examined> {
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
        queues_since: OnceLock::new(),
        memory_read: OnceLock::new(),
    };
    let done = diagnose(Arc::new(context), &Plan::default()).await;
    monitor.ask(qapi::qmp::query_status {}, Duration::from_secs(2)).await.context("the monitor")?;
    Ok(done)
}

fn border(done: &Examined) -> Result<&Border> {
    done.kernel.border.as_ref().with_context(|| format!("no border: {:?}", done.records))
}

fn disk<'a>(border: &'a Border, name: &str) -> Result<&'a BorderDevice> {
    let found = border.devices.iter().find(|it| it.serves.iter().any(|it| it == name));
    found.with_context(|| format!("no {name}: {border:?}"))
}

/// Both sides name the same ring, and what QEMU says of it stands in the guest's memory as well.
fn sides_agree(border: &Border) -> Result<()> {
    let mut compared = 0;
    for device in &border.devices {
        ensure!(device.qemu_path.is_some() && device.matched_by.is_some(), "{device:?}");
        for queue in &device.queues {
            let (Some(used), Some(last)) = (queue.used_idx, queue.qemu.last().and_then(|it| it.used_idx))
            else {
                continue;
            };
            let still = queue.qemu.iter().all(|it| it.used_idx == Some(last));
            ensure!(!still || used == last, "{}: {queue:?}", device.name);
            compared += 1;
        }
    }
    ensure!(compared > 5, "{border:?}");
    Ok(())
}

async fn a_silent_server(kernel: &str) -> Result<()> {
    let fault = fault::find("disk-stall")?;
    let mut guest = standard_patient(kernel, fault)?.name("border-stall").boot()?;
    fault.inject(&mut guest)?;
    let owed = guest.nbd()?.swallowed("vda")?;
    let done = diagnosed(&mut guest).await?;
    let border = border(&done)?;
    sides_agree(border)?;
    let vda = disk(border, "vda")?;
    ensure!(vda.who_owes == Debtor::HostStorage, "{vda:?}");
    let queues = vda.queues.iter().filter(|it| it.who_owes == Debtor::HostStorage);
    let (requests, in_use) = queues.fold((0, 0), |(requests, in_use), it| {
        (requests + it.requests.len(), in_use + it.qemu.last().map_or(0, |it| it.inuse))
    });
    // QEMU may split one request into several for the server, and hold a write back behind a flush.
    ensure!(requests > 0 && requests as u32 == in_use, "{owed} owed: {vda:?}");
    ensure!(vda.backend.iter().any(|it| it.contains("nbd")), "{vda:?}");
    ensure!(vda.queues.iter().flat_map(|it| &it.requests).all(|it| it.disk == "vda"), "{vda:?}");
    let vdb = disk(border, "vdb")?;
    ensure!(!vdb.who_owes.is_stuck(), "{vdb:?}");
    ensure!(guest.qmp()?.status()? == "running");
    Ok(())
}

#[tokio::test]
async fn a_server_that_swallows_requests_is_the_hosts_storage_on_6_1() -> Result<()> {
    a_silent_server("amd64-6.1").await
}

#[tokio::test]
async fn a_server_that_swallows_requests_is_the_hosts_storage_on_7() -> Result<()> {
    a_silent_server("amd64-7.x").await
}

#[tokio::test]
async fn a_busy_disk_moves_and_nothing_is_stuck() -> Result<()> {
    let fault = fault::find("busy-disk")?;
    let mut guest = standard_patient("amd64-6.1", fault)?.name("border-busy").boot()?;
    fault.inject(&mut guest)?;
    let done = diagnosed(&mut guest).await?;
    let border = border(&done)?;
    sides_agree(border)?;
    ensure!(border.stuck().is_empty(), "{:?}", border.stuck());
    let vda = disk(border, "vda")?;
    ensure!(vda.who_owes == Debtor::Moving, "{vda:?}");
    Ok(())
}
