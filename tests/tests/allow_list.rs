//! Rung L1, word for word: no command of the allow-list makes QEMU touch a disk image, and all of them
//! answer while a disk owes an answer that never comes. A new entry of the list comes only with a line
//! here.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use qapi::qmp;
use vmward::transport::qmp::{Deadlines, HealthyPermit, HmpRead, Monitor, Policy, Settings};
use vmward_qemu_fixtures::qemu::{Builder, Disk, Guest, Source};
use vmward_tests::still::waiting_for;

const SOON: Duration = Duration::from_secs(5);

/// Firmware that waits for a sector of `vda`, whose NBD server swallows the request; `vdb` is a file.
struct Stuck {
    guest: Guest,
    image: PathBuf,
    monitor: Monitor,
    _folder: tempfile::TempDir,
}

async fn stuck() -> Result<Stuck> {
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("the-image.raw");
    std::fs::File::create(&image)?.set_len(16 << 20)?;
    let builder = Builder::q35("allow-list")
        .vcpus(2)
        .disk(Disk::nbd("vda", &image))
        .disk(Disk::new("vdb", Source::File(image.clone())))
        .qmp_sockets(["agent.sock"]);
    let guest = waiting_for(builder, "vda").await?;
    let settings = Settings {
        path: guest.qmp_path(),
        policy: Policy::Hold,
        deadlines: Deadlines::default(),
        pid: Some(guest.pid()),
    };
    Ok(Stuck { guest, image, monitor: Monitor::new(settings), _folder: folder })
}

/// Every system call of QEMU's threads while `work` runs, with paths.
async fn traced(pid: u32, out: &Path, work: impl Future<Output = Result<()>>) -> Result<Vec<String>> {
    let mut strace = Command::new("strace")
        .args(["-f", "-y", "-s", "8", "-o"])
        .arg(out)
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("strace is needed to see what QEMU touches")?;
    let words = BufReader::new(strace.stderr.take().context("no words of strace")?);
    let (attached, seen) = tokio::sync::oneshot::channel();
    let listener = std::thread::spawn(move || {
        let mut attached = Some(attached);
        // Read to the end, so that strace never waits for us.
        for line in words.lines().map_while(Result::ok) {
            if line.contains("attached")
                && let Some(attached) = attached.take()
            {
                let _ = attached.send(());
            }
        }
    });
    let begun = tokio::time::timeout(SOON, seen).await;
    let result = match begun {
        Ok(Ok(())) => work.await,
        _ => Err(anyhow::anyhow!("strace did not attach to QEMU: is ptrace forbidden here?")),
    };
    let strace_pid = nix::unistd::Pid::from_raw(i32::try_from(strace.id())?);
    nix::sys::signal::kill(strace_pid, nix::sys::signal::Signal::SIGINT)?;
    strace.wait()?;
    if listener.join().is_err() {
        bail!("the reader of strace's words panicked");
    }
    result?;
    Ok(std::fs::read_to_string(out)?.lines().map(str::to_owned).collect())
}

impl Stuck {
    /// Lines of the trace that name the image, while `work` runs.
    async fn touches(&self, work: impl Future<Output = Result<()>>) -> Result<Vec<String>> {
        let out = self.guest.folder().join("trace");
        let lines = traced(self.guest.pid(), &out, work).await?;
        ensure!(
            lines.iter().any(|it| it.contains("QMP") || it.contains("sendmsg")),
            "the trace saw no answer of QEMU"
        );
        let image = self.image.to_str().context("the image's path is text")?;
        Ok(lines.into_iter().filter(|it| it.contains(image)).collect())
    }
}

macro_rules! none_touches {
    ($stuck:ident: $($command:expr),+ $(,)?) => {
        $(
            let name = stringify!($command);
            let asked = async { $stuck.monitor.ask_raw($command, SOON).await.map(drop).context(name) };
            let touched = $stuck.touches(asked).await?;
            ensure!(touched.is_empty(), "{name} touches the image: {touched:?}");
        )+
    };
}

#[tokio::test]
async fn no_command_of_the_allow_list_touches_an_image_or_waits_for_a_silent_disk() -> Result<()> {
    let stuck = stuck().await?;
    // Connected before the first trace.
    stuck.monitor.ask(qmp::query_status {}, SOON).await?;

    // What shows that the trace would have seen it: these two fstat the image, and are not on the list.
    let healthy = HealthyPermit::seen_healthy();
    let asked = async {
        let answer = stuck.monitor.session(async |it| {
            it.ask_healthy(healthy, qmp::query_named_block_nodes { flat: None }, SOON).await
        });
        answer.await?.map(drop).context("query-named-block-nodes")
    };
    let touched = stuck.touches(asked).await?;
    ensure!(!touched.is_empty(), "the trace does not show what query-named-block-nodes does to an image");

    let blk = "/machine/peripheral-anon/device[0]/virtio-backend";
    let devices = stuck.monitor.ask_raw(qmp::x_query_virtio {}, SOON).await?;
    let path = devices
        .as_array()
        .and_then(|it| it.iter().find(|it| it["name"] == "virtio-blk"))
        .and_then(|it| it["path"].as_str())
        .unwrap_or(blk)
        .to_owned();
    none_touches!(stuck:
        qmp::query_status {},
        qmp::query_cpus_fast {},
        qmp::query_memdev {},
        qmp::query_blockstats { query_nodes: None },
        qmp::x_query_virtio {},
        qmp::x_query_virtio_status { path: path.clone() },
        qmp::x_query_virtio_queue_status { path: path.clone(), queue: 0 },
        qmp::x_query_virtio_queue_element { path: path.clone(), queue: 0, index: None },
        qmp::query_version {},
        qmp::query_name {},
        qmp::query_uuid {},
        qmp::query_target {},
        qmp::query_chardev {},
        qmp::query_migrate {},
        qmp::query_jobs {},
    );
    for read in [
        HmpRead::RegistersAll,
        HmpRead::MemoryTree,
        HmpRead::RamBlocks,
        HmpRead::HostAddress(0x1000),
        HmpRead::PhysicalBytes { address: 0x1000, count: 16 },
    ] {
        let asked = async { stuck.monitor.hmp(read, SOON).await.map(drop).context(read.line()) };
        let touched = stuck.touches(asked).await?;
        ensure!(touched.is_empty(), "{} touches the image: {touched:?}", read.line());
    }
    // And the disk still owes its answer, so that all of this was asked while it did.
    ensure!(stuck.guest.nbd()?.swallowed("vda")? > 0);
    Ok(())
}
