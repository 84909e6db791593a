//! What a child that looks at memory may do and what not: this program shuts itself in and tries.
//!
//! `harness = false`: the sandbox holds for a whole process, and a test's process has many threads.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

/// What the process is to try, once it is shut in.
const TRY: &str = "VMWARD_TEST_TRY";

fn main() -> ExitCode {
    if let Ok(what) = std::env::var(TRY) {
        return shut_in(&what);
    }
    let killed = |what: &'static str| {
        Trial::test(format!("a_child_that_tries_to_{what}_is_killed"), move || {
            let status = tried(what)?;
            // SIGSYS: the filter of system calls. A limit may come first.
            let signal = status.signal();
            if signal == Some(nix::libc::SIGSYS) { Ok(()) } else { Err(format!("{status}").into()) }
        })
    };
    let lives = |what: &'static str| {
        Trial::test(format!("a_child_may_{what}"), move || {
            let status = tried(what)?;
            if status.success() { Ok(()) } else { Err(format!("{status}").into()) }
        })
    };
    let refused = |what: &'static str| {
        Trial::test(format!("a_child_cannot_{what}"), move || {
            let status = tried(what)?;
            if status.success() { Err("it could".into()) } else { Ok(()) }
        })
    };
    let trials = vec![
        lives("read_and_seek_in_what_it_holds"),
        lives("take_and_give_back_memory"),
        lives("ask_for_its_cpu_time"),
        killed("open_a_file"),
        killed("make_a_socket"),
        killed("start_a_process"),
        killed("start_a_thread"),
        killed("signal_another_process"),
        killed("make_its_memory_executable"),
        refused("take_more_memory_than_its_limit"),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn tried(what: &str) -> Result<std::process::ExitStatus, Failed> {
    let mut us = Command::new(std::env::current_exe()?);
    let us = us.arg0("shut-in").env(TRY, what).stderr(Stdio::null());
    Ok(us.status()?)
}

fn shut_in(what: &str) -> ExitCode {
    let file = std::fs::File::open("/proc/self/exe");
    if vmward::look::enter().is_err() {
        // Not the exit of one that tried.
        return ExitCode::from(99);
    }
    let done = match what {
        "read_and_seek_in_what_it_holds" => file.is_ok_and(|mut file| {
            use std::io::{Read, Seek, SeekFrom};
            let mut bytes = [0; 4];
            file.seek(SeekFrom::Start(0)).is_ok()
                && file.read_exact(&mut bytes).is_ok()
                && bytes == *b"\x7fELF"
        }),
        "take_and_give_back_memory" => {
            let mut sum = 0;
            for size in [1 << 10, 1 << 20, 64 << 20] {
                sum += vec![1u8; size].iter().map(|it| usize::from(*it)).sum::<usize>();
            }
            sum > 64 << 20
        }
        "ask_for_its_cpu_time" => {
            rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec < 60
        }
        "open_a_file" => std::fs::read("/etc/hostname").is_ok(),
        "make_a_socket" => std::net::TcpListener::bind("127.0.0.1:0").is_ok(),
        "start_a_process" => Command::new("/bin/true").status().is_ok(),
        "start_a_thread" => std::thread::Builder::new().spawn(|| ()).is_ok_and(|it| it.join().is_ok()),
        "signal_another_process" => nix::sys::signal::kill(nix::unistd::getppid(), None).is_ok(),
        "make_its_memory_executable" => {
            use nix::sys::mman::{MapFlags, ProtFlags};
            let size = std::num::NonZeroUsize::new(4096);
            size.is_some_and(|size| exec_page(size, ProtFlags::PROT_EXEC, MapFlags::MAP_PRIVATE))
        }
        "take_more_memory_than_its_limit" => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            (0..8).all(|_| {
                let mut more = Vec::new();
                let got = more.try_reserve_exact(64 << 20).is_ok();
                taken.push(more);
                got
            })
        }
        _ => false,
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(unsafe_code, reason = "asking for executable memory is what is tested")]
fn exec_page(
    size: std::num::NonZeroUsize,
    kind: nix::sys::mman::ProtFlags,
    flags: nix::sys::mman::MapFlags,
) -> bool {
    // SAFETY: a new mapping that nothing uses.
    unsafe { nix::sys::mman::mmap_anonymous(None, size, kind, flags) }.is_ok()
}
