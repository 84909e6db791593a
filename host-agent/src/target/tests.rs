//! Discovery against real QEMU processes.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vmward_model::TransportKind;

use super::*;
use crate::config::{Config, GuestEntry, QmpEntry};

/// A QEMU without a guest in it that ends with the test.
struct Qemu(Child);

impl Qemu {
    fn start(dir: &Path, args: &[&str], sockets: &[&str]) -> Self {
        let base = ["-accel", "tcg", "-display", "none", "-nodefaults", "-S", "-m", "64"];
        let child = Command::new("qemu-system-x86_64")
            .args(base)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while !sockets.iter().all(|it| dir.join(it).exists()) {
            assert!(Instant::now() < until, "QEMU did not make its sockets");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(child)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The guest whose process that is, found among all others of this host.
fn found(config: &Config, qemu: &Qemu) -> Target {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let all = discover(config);
        if let Some(it) = all.targets.into_iter().find(|it| it.pid() == Some(qemu.0.id())) {
            return it;
        }
        assert!(Instant::now() < until, "not found: {:?}", all.problems);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn problem_of<'a>(target: &'a Target, kind: TransportKind, address: &str) -> Option<&'a str> {
    let it = target.transports.iter().find(|it| it.kind == kind && it.address.ends_with(address)).unwrap();
    it.problem.as_deref()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

#[test]
fn a_qemu_with_relative_sockets_and_a_pty_is_found_whole() {
    let (_dir, path) = folder();
    let args = ["-name", "relative", "-qmp", "unix:q.sock,server=on,wait=off", "-qmp"];
    let more = ["unix:vmward.qmp,server=on,wait=off", "-serial", "pty"];
    let qemu = Qemu::start(&path, &[&args[..], &more[..]].concat(), &["q.sock", "vmward.qmp"]);
    // QEMU opens its terminal some time after its sockets.
    let until = Instant::now() + Duration::from_secs(30);
    let mut it = found(&Config::default(), &qemu);
    while it.console.is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
        it = found(&Config::default(), &qemu);
    }
    assert_eq!((it.name.as_str(), it.found_by.as_slice()), ("relative", &[FoundBy::Proc][..]));
    let qmp = it.qmp.as_ref().unwrap();
    assert_eq!(
        (qmp.path.clone(), qmp.policy),
        (path.join("vmward.qmp"), QmpPolicy::Hold),
        "ours is preferred"
    );
    assert_eq!(problem_of(&it, TransportKind::Qmp, "q.sock"), Some("not needed: another one is used"));
    let Some(ConsoleAddress { at: ConsoleAt::Tty(tty), .. }) = &it.console else { panic!("{it:?}") };
    assert!(tty.starts_with("/dev/pts/"));
    let ticks = it.incarnation.unwrap().start_ticks;
    assert_eq!(found(&Config::default(), &qemu).incarnation.unwrap().start_ticks, ticks);
}

#[test]
fn eves_folder_and_the_process_are_one_guest_and_the_listener_is_never_touched() {
    let (_dir, root) = folder();
    let name = "6f9619ff-8b86-d011-b42d-00cf4fc964ff.1.2";
    let path = root.join(name);
    std::fs::create_dir(&path).unwrap();
    let socket = |id: &str, file: &str, more: &str| {
        format!("socket,id={id},path={},server=on,wait=off{more}", path.join(file).display())
    };
    let (qmp, listener, cons) =
        (socket("m", "qmp", ""), socket("l", "listener.qmp", ""), socket("charserial0", "cons", ",mux=on"));
    let args = [
        "-name",
        name,
        "-chardev",
        &qmp,
        "-mon",
        "chardev=m,mode=control",
        "-chardev",
        &listener,
        "-mon",
        "chardev=l,mode=control",
        "-chardev",
        &cons,
        "-serial",
        "chardev:charserial0",
        "-device",
        "virtio-serial",
        "-device",
        "virtconsole,chardev=charserial0",
    ];
    let qemu = Qemu::start(&path, &args, &["qmp", "listener.qmp", "cons"]);
    std::fs::write(path.join("pid"), format!("{}\n", qemu.0.id())).unwrap();
    // EVE's reader of events is there all the time.
    let holder = UnixStream::connect(path.join("listener.qmp")).unwrap();
    let mut config = Config::default();
    config.discovery.eve_root = root.clone();
    let it = found(&config, &qemu);
    assert_eq!(it.found_by, [FoundBy::Eve, FoundBy::Proc]);
    assert_eq!(it.uuid.map(|it| it.to_string()).as_deref(), name.get(..36));
    let address = it.qmp.as_ref().unwrap();
    assert_eq!((address.path.clone(), address.policy), (path.join("qmp"), QmpPolicy::Brief));
    let why = problem_of(&it, TransportKind::Qmp, "listener.qmp").unwrap();
    assert!(why.contains("never touched"), "{why}");
    let console = it.console.as_ref().unwrap();
    assert_eq!((&console.at, console.mux), (&ConsoleAt::Unix(path.join("cons")), true));
    drop(holder);

    // Without /proc the folder alone is enough, and the process is known by its pid file.
    config.discovery.proc = false;
    assert_eq!(found(&config, &qemu).name, name);
    drop(qemu);
    let gone = discover(&config).targets;
    assert_eq!(gone[0].pid(), None);
    assert!(gone[0].problems[0].contains("which is gone"), "{:?}", gone[0].problems);
}

#[test]
fn what_the_configuration_says_stands_before_what_was_found() {
    let (_dir, path) = folder();
    let qemu = Qemu::start(&path, &["-name", "declared", "-qmp", "unix:q,server=on,wait=off"], &["q"]);
    let mut config = Config::default();
    config.discovery.proc = false;
    config.guests = vec![GuestEntry {
        name: Some(crate::config::Glob::new("my-db")),
        qmp: Some(QmpEntry { path: path.join("q"), policy: None }),
        ..GuestEntry::default()
    }];
    let it = found(&config, &qemu);
    assert_eq!((it.name.as_str(), it.qmp.unwrap().policy), ("my-db", QmpPolicy::Hold));
    assert_eq!(it.found_by, [FoundBy::Config, FoundBy::Proc]);
    config.guests[0].qmp_policy = Some(QmpPolicy::Brief);
    assert_eq!(found(&config, &qemu).qmp.unwrap().policy, QmpPolicy::Brief);
}

#[test]
fn a_stopped_qemu_is_still_found_and_a_declared_one_that_does_not_run_too() {
    let (_dir, path) = folder();
    let qemu = Qemu::start(&path, &["-name", "stopped", "-serial", "stdio"], &[]);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(qemu.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let it = found(&Config::default(), &qemu);
    assert_eq!((it.qmp.is_none(), it.console.is_none()), (true, true));
    assert!(problem_of(&it, TransportKind::Console, "stdio").unwrap().contains("whoever started QEMU"));

    let mut config = Config::default();
    config.discovery.proc = false;
    config.guests = vec![GuestEntry {
        name: Some(crate::config::Glob::new("absent")),
        qmp: Some(QmpEntry { path: path.join("none"), policy: None }),
        ..GuestEntry::default()
    }];
    let all = discover(&config).targets;
    assert_eq!((all.len(), all[0].incarnation), (1, None));
    assert!(problem_of(&all[0], TransportKind::Qmp, "none").unwrap().contains("is not there"));
}
