//! The connection against fake peers: silent, garbage, closing, slow, flooding, wrong ids; and against
//! a real QEMU.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use qapi::qmp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::*;

const GREETING: &[u8] = b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
const SOON: Duration = Duration::from_millis(300);

fn quick() -> Deadlines {
    Deadlines { connect: SOON, greeting: SOON, negotiation: SOON }
}

/// A peer that runs `play` on the first connection.
fn peer<F>(play: impl FnOnce(UnixStream) -> F + Send + 'static) -> (tempfile::TempDir, PathBuf)
where
    F: Future<Output = ()> + Send,
{
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        play(stream).await;
        // Keep listening: nobody else is served.
        std::future::pending::<()>().await;
        drop(listener);
    });
    (dir, path)
}

/// Greets, agrees to the negotiation and then answers each line with what `answer` says.
async fn talk(stream: UnixStream, mut answer: impl FnMut(&str, u64) -> Option<Vec<u8>>) {
    let (read, mut write) = stream.into_split();
    write.write_all(GREETING).await.unwrap();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let v: serde_json::Value = serde_json::from_str(&line).unwrap();
        let name = v["execute"].as_str().unwrap().to_owned();
        let id = v["id"].as_u64().unwrap();
        if name == "qmp_capabilities" {
            assert_eq!(v["arguments"]["enable"][0], "oob");
            let ok = format!("{{\"return\": {{}}, \"id\": {id}}}\r\n");
            write.write_all(ok.as_bytes()).await.unwrap();
        } else {
            match answer(&name, id) {
                Some(bytes) => {
                    if write.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                None => return,
            }
        }
    }
}

fn running(id: u64) -> String {
    format!(
        "{{\"return\": {{\"status\": \"running\", \"singlestep\": false, \"running\": true}}, \"id\": {id}}}\r\n"
    )
}

async fn connect(path: &Path) -> Result<Qmp, ConnectError> {
    Qmp::connect(path, Book::default(), quick(), None).await
}

#[tokio::test]
async fn a_path_with_nothing_there_is_no_socket_and_a_stale_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    assert!(matches!(connect(&path).await, Err(ConnectError::NoSocket { .. })));
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(connect(&path).await, Err(ConnectError::Refused { .. })));
}

#[tokio::test]
async fn a_peer_that_accepts_and_stays_silent_is_silent() {
    let (_dir, path) = peer(|stream| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(stream);
    });
    let began = Instant::now();
    match connect(&path).await {
        Err(ConnectError::Silent { accepted, .. }) => assert_ne!(accepted, Some(false)),
        // Without unix_diag our own accepted connection cannot be told from another's.
        Err(ConnectError::Busy { peer, .. }) => assert_eq!(peer.pid, None),
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_socket_that_somebody_else_holds_is_busy_and_names_the_peer() {
    let (_dir, path) = peer(|stream| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(stream);
    });
    let _holder = UnixStream::connect(&path).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    match connect(&path).await {
        Err(ConnectError::Busy { peer, .. }) => {
            if let Some(pid) = peer.pid {
                assert_eq!(pid, std::process::id());
            }
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn garbage_instead_of_a_greeting_is_named() {
    let (_dir, path) = peer(|mut stream| async move {
        stream.write_all(b"SSH-2.0-x\x1b[31m\r\n").await.unwrap();
    });
    match connect(&path).await {
        Err(ConnectError::Garbage { sample, .. }) => assert_eq!(sample, "SSH-2.0-x\\x1b[31m"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_peer_that_closes_in_the_middle_of_a_reply_is_closed() {
    let (_dir, path) = peer(|stream| async move {
        talk(stream, |_, id| (id < 3).then(|| b"{\"return\": {\"sta".to_vec())).await;
    });
    let qmp = connect(&path).await.unwrap();
    let first = qmp.ask(qmp::query_status {}, SOON).await;
    assert!(matches!(first, Err(AskError::Timeout { .. })), "{first:?}");
    let second = qmp.ask(qmp::query_status {}, SOON).await;
    assert!(matches!(second, Err(AskError::Closed { mid_reply: true, .. })), "{second:?}");
    assert!(!qmp.is_open());
}

#[tokio::test]
async fn a_late_answer_and_wrong_ids_do_no_harm() {
    let (_dir, path) = peer(|stream| async move {
        let mut late = None;
        talk(stream, move |_, id| match late.take() {
            None => {
                late = Some(id);
                Some(b"\r\n".to_vec())
            }
            Some(first) => Some([running(first), running(999), running(id)].concat().into_bytes()),
        })
        .await;
    });
    let qmp = connect(&path).await.unwrap();
    let first = qmp.ask(qmp::query_status {}, SOON).await;
    assert!(matches!(first, Err(AskError::Timeout { .. })), "{first:?}");
    let second = qmp.ask(qmp::query_status {}, SOON).await.unwrap();
    assert_eq!(second.status, qmp::RunState::running);
    assert_eq!(qmp.book().oddities(), (2, 0));
}

#[tokio::test]
async fn garbage_instead_of_an_answer_fails_that_command_and_not_the_next() {
    let (_dir, path) = peer(|stream| async move {
        talk(stream, |_, id| {
            Some(match id {
                2 => b"\xff\xfe no json\r\n".to_vec(),
                _ => running(id).into_bytes(),
            })
        })
        .await;
    });
    let qmp = connect(&path).await.unwrap();
    let first = qmp.ask(qmp::query_status {}, SOON).await;
    assert!(matches!(first, Err(AskError::Garbage { .. })), "{first:?}");
    assert!(qmp.ask(qmp::query_status {}, SOON).await.unwrap().running);
}

#[tokio::test]
async fn a_flood_of_unknown_events_neither_ends_nor_starves_the_connection() {
    let (_dir, path) = peer(|stream| async move {
        talk(stream, |_, id| {
            let event = "{\"event\": \"NOBODY_KNOWS\", \"data\": {\"x\": 1}}\r\n";
            Some([event.repeat(5000), running(id)].concat().into_bytes())
        })
        .await;
    });
    let qmp = connect(&path).await.unwrap();
    let within = Duration::from_secs(10);
    assert!(qmp.ask(qmp::query_status {}, within).await.unwrap().running);
    let history = qmp.book().history();
    assert_eq!(history.dropped + history.events.len() as u64, 5000);
    assert_eq!(history.events.first().unwrap().name, "NOBODY_KNOWS");
}

#[tokio::test]
async fn a_peer_that_reads_nothing_and_answers_nothing_cannot_fill_us() {
    let (_dir, path) = peer(|mut stream| async move {
        stream.write_all(GREETING).await.unwrap();
        let mut line = [0; 256];
        let _ = stream.read(&mut line).await.unwrap();
        stream.write_all(b"{\"return\": {}, \"id\": 1}\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let qmp = connect(&path).await.unwrap();
    let mut backlogged = 0;
    for _ in 0..20 {
        let tick = Duration::from_millis(5);
        if let Err(AskError::Backlogged { .. }) = qmp.ask(qmp::query_status {}, tick).await {
            backlogged += 1;
        }
    }
    assert_eq!(backlogged, 20 - session::MAX_OUTSTANDING);
}

#[tokio::test]
async fn a_brief_session_leaves_even_when_the_work_does_not_end() {
    let (_dir, path) = peer(|stream| async move {
        talk(stream, |_, _| Some(b"\r\n".to_vec())).await;
    });
    let monitor = Monitor::new(Settings { path, policy: Policy::Brief, deadlines: quick(), pid: None });
    let began = Instant::now();
    let long = Duration::from_secs(60);
    let got = monitor.ask(qmp::query_status {}, long).await;
    assert!(matches!(got, Err(QmpError::OverTime(_))), "{got:?}");
    assert!(began.elapsed() < Duration::from_millis(1500));
    assert!(!monitor.book().history().complete);
}

/// A QEMU with a machine and no guest code to speak of (SeaBIOS without a disk).
pub(crate) struct Machine {
    pub child: std::process::Child,
    pub dir: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::start_as("qemu-system-x86_64", more)
    }

    pub(crate) fn start_as(program: &str, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let qmp = format!("unix:{},server=on,wait=off", dir.path().join("qmp").display());
        let child = std::process::Command::new(program)
            .args(["-accel", "tcg", "-display", "none", "-nodefaults", "-m", "32"])
            .args(["-no-user-config", "-qmp", &qmp])
            .args(more)
            .current_dir(dir.path())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("QEMU is needed for this test");
        let machine = Self { child, dir };
        for _ in 0..500 {
            // Bound is not listening yet: flag __SO_ACCEPTCON in the kernel's table.
            let table = std::fs::read_to_string("/proc/net/unix").unwrap();
            let path = machine.qmp().display().to_string();
            if table.lines().any(|l| l.ends_with(&path) && l.contains(" 00010000 ")) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        machine
    }

    pub(crate) fn qmp(&self) -> PathBuf {
        self.dir.path().join("qmp")
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub(crate) fn monitor(&self, policy: Policy) -> Monitor {
        Monitor::new(Settings { path: self.qmp(), policy, deadlines: Deadlines::default(), pid: None })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_real_qemu_answers_and_a_held_socket_is_busy_with_its_holder() {
    let machine = Machine::start(&["-smp", "2"]);
    let monitor = machine.monitor(Policy::Hold);
    let within = Duration::from_secs(5);
    let status = monitor.ask(qmp::query_status {}, within).await.unwrap();
    assert!(status.running);
    let cpus = monitor.ask(qmp::query_cpus_fast {}, within).await.unwrap();
    assert_eq!(cpus.len(), 2);
    let text = monitor.hmp(HmpRead::RegistersAll, within).await.unwrap();
    assert!(text.contains("CPU#1"), "{text}");
    assert!(monitor.book().history().complete);
    assert!(monitor.book().wire_log().contains("\"execute\":\"query-status\""));

    // The same socket, asked by a second client while the first stays.
    let other = machine.monitor(Policy::Brief);
    match other.ask(qmp::query_status {}, within).await {
        Err(QmpError::Connect(ConnectError::Busy { peer, .. })) => {
            if let Some(pid) = peer.pid {
                assert_eq!(pid, std::process::id());
            }
        }
        other => panic!("{other:?}"),
    }
    monitor.leave().await;
    let after = other.ask(qmp::query_status {}, within).await.unwrap();
    assert!(after.running);
}

#[tokio::test]
async fn a_stopped_qemu_is_told_from_a_silent_one_and_a_killed_one_is_refused() {
    let machine = Machine::start(&[]);
    let monitor = machine.monitor(Policy::Brief);
    let within = Duration::from_secs(5);
    monitor.ask(qmp::query_status {}, within).await.unwrap();
    machine.signal(nix::sys::signal::Signal::SIGSTOP);
    match monitor.ask(qmp::query_status {}, within).await {
        Err(QmpError::Connect(ConnectError::QemuStopped { pid })) => {
            assert_eq!(pid, machine.child.id());
        }
        other => panic!("{other:?}"),
    }
    machine.signal(nix::sys::signal::Signal::SIGKILL);
    let mut machine = machine;
    machine.child.wait().unwrap();
    assert!(matches!(
        monitor.ask(qmp::query_status {}, within).await,
        Err(QmpError::Connect(ConnectError::Refused { .. }))
    ));
}

#[tokio::test]
async fn a_descriptor_travels_with_its_command() {
    let machine = Machine::start(&[]);
    let monitor = machine.monitor(Policy::Hold);
    let permit = L2Permit::opted_in("test");
    let memfd = nix::sys::memfd::memfd_create("dump", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
    let ours = memfd.try_clone().unwrap();
    let within = Duration::from_secs(5);
    monitor
        .session(async |qmp| {
            let fdname = "vmward".to_owned();
            let get = qmp::getfd { fdname: fdname.clone() };
            qmp.pause_rung(&permit, get, Some(memfd), within).await.unwrap();
            let dump = qmp::dump_guest_memory {
                paging: false,
                protocol: format!("fd:{fdname}"),
                begin: Some(0),
                length: Some(4096),
                detach: None,
                format: None,
            };
            qmp.pause_rung(&permit, dump, None, within).await.unwrap();
        })
        .await
        .unwrap();
    let length = nix::sys::stat::fstat(&ours).unwrap().st_size;
    assert!(length > 1000, "{length} bytes in fd {}", ours.as_raw_fd());
    let names: Vec<String> = monitor.book().history().events.into_iter().map(|e| e.name).collect();
    assert!(names.contains(&"STOP".to_owned()) && names.contains(&"RESUME".to_owned()));
}
