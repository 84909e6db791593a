//! The unikernel's modes, on real QEMUs; and what is left when their owners go.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use vmward_qemu_fixtures::qemu::{ConsoleAddress, Guest, Serial};
use vmward_qemu_fixtures::unikernel::{Mode, PROMPT, guest};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Reads from a console until it has said `mark`.
fn read_until(console: &mut (impl Read + ?Sized), mark: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut text = String::new();
    while !text.contains(mark) {
        assert!(Instant::now() < deadline, "no {mark:?} in {text:?}");
        let mut chunk = [0; 4096];
        if let Ok(n) = console.read(&mut chunk) {
            text.push_str(&String::from_utf8_lossy(&chunk[..n]));
        }
    }
    text
}

fn console_of(guest: &mut Guest) -> Result<UnixStream, Box<dyn std::error::Error>> {
    let stream = UnixStream::connect(guest.console_path()?)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(stream)
}

#[test]
fn idle_answers_uptime_and_halts_in_between() -> Outcome {
    let mut guest = guest("idle", Mode::Idle)?.boot()?;
    let mut console = console_of(&mut guest)?;
    console.write_all(b"\r")?;
    read_until(&mut console, PROMPT);
    console.write_all(b"uptime\r")?;
    let answer = read_until(&mut console, "load average");
    assert!(answer.contains(" up 0:00:"), "{answer:?}");
    read_until(&mut console, PROMPT);
    // As an agent frames its question, so that the echo is no answer.
    console.write_all(b"echo VW''A1; uptime; echo VW''Z1:$?\r")?;
    let answer = read_until(&mut console, "VWZ1:0");
    assert!(answer.contains("VWA1\r\n"), "{answer:?}");
    assert_eq!(guest.qmp()?.status()?, "running");
    Ok(())
}

#[test]
fn heartbeat_prints_a_label_each_second() -> Outcome {
    let mut guest = guest("heart", Mode::Heartbeat)?.boot()?;
    let began = Instant::now();
    guest.wait_console("app: label 4", Duration::from_secs(20))?;
    let took = began.elapsed().as_secs_f64();
    assert!((2.5..15.0).contains(&took), "four labels took {took} s");
    Ok(())
}

#[test]
fn spin_keeps_the_vcpu_busy_with_interrupts_off() -> Outcome {
    let mut guest = guest("spin", Mode::Spin)?.boot()?;
    std::thread::sleep(Duration::from_millis(300));
    let registers = guest.qmp()?.human("info registers")?;
    assert!(registers.contains("HLT=0"), "{registers}");
    let flags = registers.split("RFL=").nth(1).unwrap_or_default();
    let flags = u64::from_str_radix(&flags[..8], 16)?;
    assert_eq!(flags & 0x200, 0, "interrupts are on: {flags:#x}");
    Ok(())
}

#[test]
fn triple_fault_resets_the_machine() -> Outcome {
    let mut guest = guest("triple", Mode::TripleFault)?.boot()?;
    let event = guest.qmp()?.wait_event("RESET", Duration::from_secs(20))?;
    assert_eq!(event.data["guest"], true);
    Ok(())
}

#[test]
fn flood_fills_the_console() -> Outcome {
    // Nobody's log: 128 MiB of it are of no use.
    let builder = guest("flood", Mode::Flood)?.without_console_log();
    let mut guest = builder.start()?;
    let mut console = console_of(&mut guest)?;
    let mut n_bytes = 0;
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut chunk = vec![0; 65536];
    while n_bytes < 2 << 20 {
        assert!(Instant::now() < deadline, "only {n_bytes} bytes");
        n_bytes += console.read(&mut chunk).unwrap_or(0);
    }
    Ok(())
}

#[test]
fn the_console_may_be_tcp_or_a_terminal() -> Outcome {
    let builder = guest("tcp", Mode::Idle)?.console(Serial::tcp());
    let mut on_tcp = builder.boot()?;
    let ConsoleAddress::Tcp(port) = on_tcp.console()? else {
        panic!("{:?}", on_tcp.console());
    };
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"\r")?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    read_until(&mut stream, PROMPT);
    drop(on_tcp);

    let mut on_pty = guest("pty", Mode::Idle)?.console(Serial::pty()).boot()?;
    let path = on_pty.console_path()?;
    assert!(path.starts_with("/dev/pts"), "{path:?}");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_guest_that_was_dropped() -> Outcome {
    let guest = guest("gone", Mode::Idle)?.boot()?;
    let (pid, folder) = (guest.pid(), guest.folder().to_path_buf());
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    drop(guest);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!folder.exists());
    Ok(())
}
