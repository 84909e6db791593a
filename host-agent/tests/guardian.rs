//! The guardian with real QEMU: an agent killed at any moment of an L2 operation leaves the guest running.
//!
//! This binary plays three parts: the tests, the guardian (`guardian ...`), and an agent that is there
//! to be killed (`victim ...`). So it has its own `main`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test with its own main: clippy's exception for tests does not see it"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use qapi::qmp;
use vmward::guardian::protocol::{Reply, Request};
use vmward::guardian::{Guardian, GuardianCommand, L2Error, L2Settings, registers_by_dump, registers_by_gdb};
use vmward::transport::qmp::{Deadlines, L2Permit, Monitor, Policy, Settings};
use vmward::transport::rsp::Gdb;

const STEP: Duration = Duration::from_secs(5);
const BUDGET: Duration = Duration::from_millis(700);

type Test = Result<(), Failed>;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_ref().and_then(|a| a.to_str()) {
        Some("guardian") => return vmward::guardian::main(args),
        Some("victim") => {
            let words: Vec<String> = args.filter_map(|a| a.into_string().ok()).collect();
            victim(&words);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let trials = vec![
        trial("a_one_page_dump_gives_registers_and_the_guest_runs_again", one_page_dump),
        trial("the_gdb_stub_gives_control_registers_and_the_guest_runs_again", gdb_registers),
        trial("a_guest_that_was_paused_is_refused_and_stays_paused", paused_stays),
        trial("a_request_that_the_host_owes_is_a_refusal_and_the_monitor_lives", owed_request),
        trial("an_agent_killed_inside_the_pause_leaves_the_guest_running", killed_inside),
        trial("an_agent_killed_at_any_moment_leaves_the_guest_running", killed_anywhere),
        trial("a_pause_that_outlasts_the_budget_is_ended", over_budget),
        trial("a_stop_by_somebody_else_is_not_undone", foreign_stop),
        trial("a_guardian_that_is_killed_is_stood_in_for_by_the_agent", guardian_killed),
        trial("physical_mode_of_a_killed_agent_is_put_back", physical_mode),
    ];
    let mut arguments = Arguments::from_args();
    // The tests measure time: one QEMU at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &'static str, test: fn(&tokio::runtime::Runtime) -> Test) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        test(&runtime)
    })
}

struct Machine {
    child: Child,
    dir: tempfile::TempDir,
}

impl Machine {
    /// SeaBIOS without a disk; two QMP sockets, so that the test can look while the guardian holds one.
    fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = |name| format!("unix:{},server=on,wait=off", dir.path().join(name).display());
        let child = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg", "-display", "none", "-nodefaults", "-no-user-config"])
            .args(["-m", "32", "-smp", "2", "-qmp", &socket("qmp"), "-qmp", &socket("eye")])
            .args(more)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..500 {
            // Bound is not listening yet: flag __SO_ACCEPTCON in the kernel's table.
            let table = std::fs::read_to_string("/proc/net/unix").unwrap();
            let eye = dir.path().join("eye").display().to_string();
            if table.lines().any(|l| l.ends_with(&eye) && l.contains(" 00010000 ")) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, dir }
    }

    fn monitor(&self, name: &str) -> Monitor {
        monitor(&self.dir.path().join(name))
    }

    async fn state(&self) -> qmp::RunState {
        self.monitor("eye").ask(qmp::query_status {}, STEP).await.unwrap().status
    }

    /// Waits until it runs and nothing of the guardian is left; gives how long that took.
    async fn until_free_and_running(&self, within: Duration) -> Duration {
        let began = Instant::now();
        loop {
            let left_over = std::fs::read_dir(self.dir.path())
                .unwrap()
                .any(|e| e.unwrap().file_name().to_string_lossy().starts_with("gdb-"));
            let state = self.state().await;
            if state == qmp::RunState::running && !left_over {
                return began.elapsed();
            }
            let took = began.elapsed();
            assert!(took < within, "{state:?}, folder left: {left_over}, after {took:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn monitor(path: &Path) -> Monitor {
    Monitor::new(Settings {
        path: path.to_owned(),
        policy: Policy::Hold,
        deadlines: Deadlines::default(),
        pid: None,
    })
}

fn settings(run_dir: &Path) -> L2Settings {
    L2Settings {
        command: GuardianCommand { program: std::env::current_exe().unwrap(), args: vec!["guardian".into()] },
        run_dir: run_dir.to_owned(),
        budget: BUDGET,
    }
}

fn permit() -> L2Permit {
    L2Permit::opted_in("test")
}

fn one_page_dump(runtime: &tokio::runtime::Runtime) -> Test {
    runtime.block_on(async {
        let machine = Machine::start(&[]);
        let monitor = machine.monitor("qmp");
        assert!(monitor.ask(qmp::query_status {}, STEP).await?.running);
        let l2 = settings(machine.dir.path());
        let got = registers_by_dump(&monitor, &permit(), &l2, 0).await?;
        assert_eq!(got.vcpus.len(), 2);
        for name in ["rip", "cr0", "cr3", "gs_base", "k_gs_base"] {
            assert!(got.vcpus[0].value(name).is_some(), "{name}");
        }
        assert!(got.paused > Duration::ZERO && got.paused < BUDGET, "{:?}", got.paused);
        // The agent has its monitor back.
        assert!(monitor.ask(qmp::query_status {}, STEP).await?.running);
        Ok(())
    })
}

fn gdb_registers(runtime: &tokio::runtime::Runtime) -> Test {
    runtime.block_on(async {
        let machine = Machine::start(&[]);
        let monitor = machine.monitor("qmp");
        let l2 = settings(machine.dir.path());
        for _ in 0..3 {
            let got = registers_by_gdb(&monitor, &permit(), &l2).await?;
            assert_eq!(got.vcpus.len(), 2);
            assert!(got.vcpus[1].value("cr3").is_some() && got.vcpus[1].value("efer").is_some());
            assert!(got.paused > Duration::ZERO && got.paused < BUDGET, "{:?}", got.paused);
            machine.until_free_and_running(Duration::ZERO + STEP).await;
        }
        assert!(monitor.ask(qmp::query_status {}, STEP).await?.running);
        Ok(())
    })
}

fn paused_stays(runtime: &tokio::runtime::Runtime) -> Test {
    runtime.block_on(async {
        let machine = Machine::start(&["-S"]);
        let monitor = machine.monitor("qmp");
        let l2 = settings(machine.dir.path());
        let by_gdb = registers_by_gdb(&monitor, &permit(), &l2).await;
        assert!(matches!(by_gdb, Err(L2Error::Refused(_))), "{by_gdb:?}");
        let by_dump = registers_by_dump(&monitor, &permit(), &l2, 0).await;
        assert!(matches!(by_dump, Err(L2Error::Refused(_))), "{by_dump:?}");
        assert_eq!(machine.state().await, qmp::RunState::prelaunch);
        Ok(())
    })
}

/// An NBD server that answers with zeros until `hang` is set, and then answers no more.
fn swallow(path: &Path, hang: Arc<AtomicBool>) {
    use std::io::{Read, Write};
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (mut s, _) = listener.accept().unwrap();
        s.write_all(b"NBDMAGICIHAVEOPT\x00\x01").unwrap();
        s.read_exact(&mut [0; 4]).unwrap();
        loop {
            let mut head = [0u8; 16];
            s.read_exact(&mut head).unwrap();
            let option = u32::from_be_bytes(head[8..12].try_into().unwrap());
            let length = u32::from_be_bytes(head[12..].try_into().unwrap());
            s.read_exact(&mut vec![0; length as usize]).unwrap();
            let mut reply = |kind: u32, body: &[u8]| {
                let mut out = 0x0003_e889_0455_65a9u64.to_be_bytes().to_vec();
                out.extend(option.to_be_bytes());
                out.extend(kind.to_be_bytes());
                out.extend((body.len() as u32).to_be_bytes());
                out.extend(body);
                s.write_all(&out).unwrap();
            };
            match option {
                // NBD_OPT_GO: NBD_REP_INFO with NBD_INFO_EXPORT (1 MiB), then NBD_REP_ACK.
                7 => {
                    let mut info = vec![0, 0];
                    info.extend((1u64 << 20).to_be_bytes());
                    info.extend([0, 1]);
                    reply(3, &info);
                    reply(1, &[]);
                    break;
                }
                // NBD_REP_ERR_UNSUP.
                _ => reply(0x8000_0001, &[]),
            }
        }
        // Requests: magic, flags, type, cookie, offset, length (NBD protocol, transmission phase).
        let mut request = [0u8; 28];
        while s.read_exact(&mut request).is_ok() {
            if hang.load(Ordering::Relaxed) {
                continue;
            }
            let length = u32::from_be_bytes(request[24..].try_into().unwrap()) as usize;
            let mut out = 0x6744_6698_0000_0000u64.to_be_bytes().to_vec();
            out.extend(&request[8..16]);
            if request[6..8] == [0, 0] {
                out.resize(out.len() + length, 0);
            }
            s.write_all(&out).unwrap();
        }
    });
}

fn owed_request(runtime: &tokio::runtime::Runtime) -> Test {
    runtime.block_on(async {
        let nbd = tempfile::tempdir().unwrap();
        let socket = nbd.path().join("nbd");
        let hang = Arc::new(AtomicBool::new(false));
        swallow(&socket, Arc::clone(&hang));
        let disk = format!("driver=nbd,node-name=n,server.type=unix,server.path={}", socket.display());
        // QEMU reads the geometry when it starts: the disk hangs only once the guest runs.
        let device = ["-S", "-blockdev", &disk, "-device", "virtio-blk-pci,drive=n,bootindex=0"];
        let machine = Machine::start(&device);
        assert_eq!(machine.state().await, qmp::RunState::prelaunch);
        hang.store(true, Ordering::Relaxed);
        let eye = machine.monitor("eye");
        let cont = qmp::cont {};
        eye.session(async |q| q.pause_rung(&permit(), cont, None, STEP).await).await??;
        eye.leave().await;
        let monitor = machine.monitor("qmp");
        // SeaBIOS reads the boot sector, which never comes.
        let began = Instant::now();
        loop {
            let devices = machine.monitor("eye").ask(qmp::x_query_virtio {}, STEP).await?;
            let path = devices[0].path.clone();
            let asked = qmp::x_query_virtio_queue_status { path, queue: 0 };
            let status = machine.monitor("eye").ask(asked, STEP).await;
            if status.is_ok_and(|s| s.inuse > 0) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "SeaBIOS did not read its disk");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let l2 = settings(machine.dir.path());
        for refused in [
            registers_by_gdb(&monitor, &permit(), &l2).await.unwrap_err(),
            registers_by_dump(&monitor, &permit(), &l2, 0).await.unwrap_err(),
        ] {
            assert!(refused.to_string().contains("in flight on queue 0"), "{refused}");
        }
        assert_eq!(machine.state().await, qmp::RunState::running);
        Ok(())
    })
}

fn spawn_victim(machine: &Machine, part: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["victim", part])
        .arg(machine.dir.path().join("qmp"))
        .arg(machine.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// An agent that is killed: `hold` pauses the guest and stays, `loop` takes registers again and again.
fn victim(words: &[String]) {
    let [part, qmp, run_dir] = words else { return };
    let (qmp, run_dir) = (PathBuf::from(qmp), PathBuf::from(run_dir));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let l2 = settings(&run_dir);
        if part == "loop" {
            let monitor = monitor(&qmp);
            loop {
                let _ = registers_by_gdb(&monitor, &permit(), &l2).await;
                let _ = registers_by_dump(&monitor, &permit(), &l2, 0).await;
            }
        }
        let (mut guardian, gdb) = hold(&qmp, &l2, part == "physical").await;
        println!("paused");
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(gdb);
        let _ = guardian.ask(&Request::Close, STEP).await;
    });
}

/// Pauses the guest by a gdb session under a guardian.
async fn hold(qmp: &Path, l2: &L2Settings, physical: bool) -> (Guardian, Gdb) {
    let started = Guardian::start(&l2.command, qmp, None, &l2.run_dir, l2.budget).await;
    let (mut guardian, ready) = started.unwrap();
    assert_eq!(ready, Reply::Ready);
    let Reply::GdbReady { path } = guardian.ask(&Request::OpenGdb, STEP).await.unwrap() else {
        panic!("no gdb server");
    };
    assert_eq!(guardian.ask(&Request::Connecting, STEP).await.unwrap(), Reply::Ok);
    let mut gdb = Gdb::attach(Path::new(&path), &permit(), STEP).await.unwrap();
    if physical {
        assert_eq!(guardian.ask(&Request::PhysicalMode, STEP).await.unwrap(), Reply::Ok);
        gdb.physical_mode(true).await.unwrap();
    }
    (guardian, gdb)
}

fn killed_inside(runtime: &tokio::runtime::Runtime) -> Test {
    runtime.block_on(async {
        let machine = Machine::start(&[]);
        for _ in 0..5 {
            let mut agent = spawn_victim(&machine, "hold");
            let mut line = String::new();
            BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "paused\n");
            agent.kill().unwrap();
            agent.wait().unwrap();
            machine.until_free_and_running(BUDGET + Duration::from_secs(1)).await;
        }
        Ok(())
    })
}

fn killed_anywhere(runtime: &tokio::runtime::Runtime) -> Test {
    runtime.block_on(async {
        let machine = Machine::start(&[]);
        for n in 0u64..12 {
            let mut agent = spawn_victim(&machine, "loop");
            // Spread over start-up and several rounds, never the same twice.
            let wait = 20 + n * 37 + u64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 4;
            tokio::time::sleep(Duration::from_millis(wait)).await;
            agent.kill().unwrap();
            agent.wait().unwrap();
            machine.until_free_and_running(BUDGET + Duration::from_secs(2)).await;
        }
        // And it stays so: nothing is left that could stop it later.
        tokio::time::sleep(BUDGET).await;
        machine.until_free_and_running(Duration::from_millis(500)).await;
        Ok(())
    })
}

fn over_budget(runtime: &tokio::runtime::Runtime) -> Test {
    runtime.block_on(async {
        let machine = Machine::start(&[]);
        let l2 = settings(machine.dir.path());
        let qmp = machine.dir.path().join("qmp");
        let (mut guardian, _gdb) = hold(&qmp, &l2, false).await;
        assert_eq!(machine.state().await, qmp::RunState::paused);
        // The guardian ignores the signals that end an agent.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(guardian.pid().unwrap()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        machine.until_free_and_running(BUDGET + Duration::from_secs(1)).await;
        match guardian.ask(&Request::Close, STEP).await? {
            Reply::Failed { why, report } => {
                assert!(why.contains("budget"), "{why}");
                assert!(report.continued && report.settled, "{report:?}");
            }
            other => panic!("{other:?}"),
        }
        guardian.leave().await;
        Ok(())
    })
}

fn foreign_stop(runtime: &tokio::runtime::Runtime) -> Test {
    runtime.block_on(async {
        let machine = Machine::start(&[]);
        let l2 = settings(machine.dir.path());
        let qmp = machine.dir.path().join("qmp");
        let started = Guardian::start(&l2.command, &qmp, None, &l2.run_dir, l2.budget).await;
        let (mut guardian, _) = started?;
        let opened = guardian.ask(&Request::OpenGdb, STEP).await?;
        assert!(matches!(opened, Reply::GdbReady { .. }), "{opened:?}");
        let eye = machine.monitor("eye");
        let stop = qmp::stop {};
        eye.session(async |q| q.pause_rung(&permit(), stop, None, STEP).await).await??;
        let answer = guardian.ask(&Request::Connecting, STEP).await?;
        assert!(matches!(answer, Reply::Refused(_)), "{answer:?}");
        guardian.leave().await;
        assert_eq!(eye.ask(qmp::query_status {}, STEP).await?.status, qmp::RunState::paused);
        Ok(())
    })
}

fn guardian_killed(runtime: &tokio::runtime::Runtime) -> Test {
    runtime.block_on(async {
        let machine = Machine::start(&[]);
        let l2 = settings(machine.dir.path());
        let monitor = machine.monitor("qmp");
        for n in 0..6u64 {
            let killer = {
                let dir = machine.dir.path().to_owned();
                std::thread::spawn(move || {
                    // The gdb socket's folder has the guardian's pid.
                    for _ in 0..5000 {
                        let pid = std::fs::read_dir(&dir).unwrap().find_map(|e| {
                            let name = e.unwrap().file_name().into_string().unwrap();
                            name.strip_prefix("gdb-")?.parse::<i32>().ok()
                        });
                        if let Some(pid) = pid {
                            std::thread::sleep(Duration::from_millis(n * 3));
                            let pid = nix::unistd::Pid::from_raw(pid);
                            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                            return;
                        }
                        std::thread::sleep(Duration::from_micros(200));
                    }
                })
            };
            // Whatever it gives, the guest runs afterwards.
            let _ = registers_by_gdb(&monitor, &permit(), &l2).await;
            killer.join().unwrap();
            assert_eq!(machine.state().await, qmp::RunState::running, "round {n}");
            for left in std::fs::read_dir(machine.dir.path()).unwrap() {
                let left = left.unwrap();
                if left.file_name().to_string_lossy().starts_with("gdb-") {
                    std::fs::remove_dir_all(left.path()).unwrap();
                }
            }
        }
        Ok(())
    })
}

fn physical_mode(runtime: &tokio::runtime::Runtime) -> Test {
    runtime.block_on(async {
        let machine = Machine::start(&[]);
        let mut agent = spawn_victim(&machine, "physical");
        let mut line = String::new();
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "paused\n");
        agent.kill().unwrap();
        agent.wait().unwrap();
        machine.until_free_and_running(BUDGET * 2 + Duration::from_secs(1)).await;
        // The clean-up's own session may still be on: wait for the monitor.
        let l2 = settings(machine.dir.path());
        let qmp = machine.dir.path().join("qmp");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (mut guardian, mut gdb) = hold(&qmp, &l2, false).await;
        assert_eq!(gdb.is_physical().await?, Some(false));
        gdb.detach().await?;
        let closed = guardian.ask(&Request::Close, STEP).await?;
        assert!(matches!(closed, Reply::Closed(_)), "{closed:?}");
        guardian.leave().await;
        Ok(())
    })
}
