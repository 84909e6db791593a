//! The opener against real processes, in a thread of the test.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::server::accept_all;
use super::*;
use crate::node::{fds::Fd, stat};

const SOON: Duration = Duration::from_secs(5);

struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn sleeper() -> Sleeper {
    Sleeper(Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap())
}

impl Sleeper {
    fn ask(&self, file: Want) -> Request {
        let line = std::fs::read(format!("/proc/{}/stat", self.0.id())).unwrap();
        Request { pid: self.0.id(), start_ticks: stat::parse(&line).unwrap().start_ticks, file }
    }
}

/// An opener that takes programs for QEMU as `qemu` says and serves `users`.
fn opener(users: &[u32], qemu: fn(&str) -> bool) -> (tempfile::TempDir, Client) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("opener");
    let listener = UnixListener::bind(&path).unwrap();
    let users: Arc<[u32]> = users.into();
    std::thread::spawn(move || accept_all(&listener, &users, qemu));
    (dir, Client::new(path))
}

fn us() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Stands in for "is a QEMU" where the test's process is `sleep` (busybox and coreutils name it so).
fn sleep_is_qemu(name: &str) -> bool {
    matches!(name, "sleep" | "coreutils" | "busybox")
}

#[test]
fn a_process_that_is_no_qemu_is_refused() {
    let (_dir, client) = opener(&[us()], target::qemu_name);
    let sleeper = sleeper();
    for file in
        [Want::Mem, Want::Pagemap, Want::Fds, Want::Task { tid: sleeper.0.id(), file: TaskFile::Stack }]
    {
        match client.open(&sleeper.ask(file), SOON) {
            Err(OpenerError::Refused(why)) => assert!(why.contains("is no QEMU"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_user_who_is_not_on_the_list_is_refused() {
    let (_dir, client) = opener(&[us() + 1], sleep_is_qemu);
    let refused = client.open(&sleeper().ask(Want::Fds), SOON);
    assert!(matches!(&refused, Err(OpenerError::Refused(why)) if why.contains("may not ask")), "{refused:?}");
}

#[test]
fn a_process_that_started_at_another_time_is_refused() {
    let (_dir, client) = opener(&[us()], sleep_is_qemu);
    let sleeper = sleeper();
    let other = Request { start_ticks: 1, ..sleeper.ask(Want::Fds) };
    let refused = client.open(&other, SOON);
    assert!(
        matches!(&refused, Err(OpenerError::Refused(why)) if why.contains("another time")),
        "{refused:?}"
    );
}

#[test]
fn memory_and_thread_files_of_a_qemu_are_passed_read_only() {
    let (_dir, client) = opener(&[us()], sleep_is_qemu);
    let sleeper = sleeper();
    let tid = sleeper.0.id();
    let text = client.read(&sleeper.ask(Want::Task { tid, file: TaskFile::Stat }), SOON, 4096).unwrap();
    assert_eq!(stat::parse(&text).unwrap().comm, "sleep");

    let maps = std::fs::read_to_string(format!("/proc/{tid}/maps")).unwrap();
    let start = u64::from_str_radix(maps.split('-').next().unwrap(), 16).unwrap();
    let memory = std::fs::File::from(client.open(&sleeper.ask(Want::Mem), SOON).unwrap());
    let mut magic = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut magic, start).unwrap();
    assert_eq!(&magic, b"\x7fELF");
    assert!(std::os::unix::fs::FileExt::write_at(&memory, b"x", start).is_err());

    let list = client.read(&sleeper.ask(Want::Fds), SOON, 1 << 20).unwrap();
    let fds: Vec<Fd> = serde_json::from_slice(&list).unwrap();
    assert_eq!(fds.iter().find(|it| it.fd == 0).unwrap().link, "/dev/null");
}

#[test]
fn a_descriptor_that_is_no_memory_is_refused() {
    let (_dir, client) = opener(&[us()], sleep_is_qemu);
    let refused = client.open(&sleeper().ask(Want::Memfd { fd: 0 }), SOON);
    assert!(matches!(&refused, Err(OpenerError::Refused(why)) if why.contains("no memory")), "{refused:?}");
}

#[test]
fn garbage_is_answered_and_the_next_request_is_served() {
    let (dir, client) = opener(&[us()], sleep_is_qemu);
    let mut stream = UnixStream::connect(dir.path().join("opener")).unwrap();
    stream.write_all(b"{\"pid\": \"../1\"}").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains("no request"), "{said}");
    assert!(client.open(&sleeper().ask(Want::Fds), SOON).is_ok());
}

#[test]
fn an_opener_that_stays_silent_costs_no_more_than_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("opener");
    let _listener = UnixListener::bind(&path).unwrap();
    let began = std::time::Instant::now();
    let silent = Client::new(path).open(&sleeper().ask(Want::Mem), Duration::from_millis(100));
    assert!(matches!(silent, Err(OpenerError::NoAnswer { .. })), "{silent:?}");
    assert!(began.elapsed() < Duration::from_secs(3));
}
