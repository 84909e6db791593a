//! QEMU processes in `/proc`.
//!
//! `/proc/PID/stat` takes no lock that a wedged process can hold, so the search itself never blocks.
//! `/proc/PID/cmdline` takes the process's `mmap_lock` (Linux, `fs/proc/base.c`), which a QEMU that hangs in
//! a page fault holds for ever: it is read in a throw-away thread, one for each process and no more.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

use super::cmdline::{CommandLine, parse};
use super::pty;

/// Largest command line that is read.
const MAX_CMDLINE: u64 = 4 << 20;
/// Field 22 of `/proc/PID/stat`, counted from the state, which is field 3.
const START_FROM_STATE: usize = 19;

/// One process that is a QEMU by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) start_ticks: u64,
}

/// What a QEMU process says of itself; none of it changes while it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) line: CommandLine,
    /// Its working folder, for relative paths.
    pub(super) cwd: Option<PathBuf>,
    /// Its ptys in the order of opening, or why they are not known.
    pub(super) ptys: Result<Vec<PathBuf>, String>,
}

/// Every QEMU process.
pub(super) fn list() -> std::io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse::<u32>().ok()) else { continue };
        let Some((name, process)) = stat(pid) else { continue };
        let by_file = || {
            let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
            Some(is_qemu(&exe.file_name()?.to_string_lossy()))
        };
        // `-name x,process=y` changes the name, so the program file counts as well where it may be seen.
        if is_qemu(&name) || by_file().unwrap_or(false) {
            found.push(process);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The process with that id, whatever it is.
pub(super) fn process(pid: u32) -> Option<Process> {
    stat(pid).map(|(_, process)| process)
}

fn stat(pid: u32) -> Option<(String, Process)> {
    let raw = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let (name, start_ticks) = parse_stat(&raw)?;
    Some((name, Process { pid, start_ticks }))
}

/// Name and start time. A process that has exited and was not reaped yet is none.
fn parse_stat(raw: &[u8]) -> Option<(String, u64)> {
    let text = String::from_utf8_lossy(raw);
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let name = text.get(open + 1..close)?.to_owned();
    let mut fields = text.get(close + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(START_FROM_STATE.checked_sub(1)?)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some((name, start))
}

fn is_qemu(name: &str) -> bool {
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    name.starts_with("qemu-system") || matches!(name, "qemu-kvm" | "kvm" | "qemu")
}

/// Starts to read what `process` says of itself. The thread ends when the kernel lets it.
pub(super) fn read_facts(process: Process) -> Receiver<Option<Facts>> {
    let (send, receive) = sync_channel(1);
    let read = move || drop(send.send(facts(process)));
    if let Err(error) = std::thread::Builder::new().name("proc-reader".to_owned()).spawn(read) {
        tracing::warn!("cannot start a thread to read /proc: {error}");
    }
    receive
}

fn facts(it: Process) -> Option<Facts> {
    use std::io::Read;
    let folder = Path::new("/proc").join(it.pid.to_string());
    let mut raw = Vec::new();
    std::fs::File::open(folder.join("cmdline")).ok()?.take(MAX_CMDLINE).read_to_end(&mut raw).ok()?;
    let args: Vec<String> = raw
        .split(|b| *b == 0)
        .map(|arg| std::ffi::OsString::from_vec(arg.to_vec()).to_string_lossy().into_owned())
        .collect();
    if raw.is_empty() {
        return None;
    }
    let line = parse(&args);
    let ptys = if line.ptys == 0 { Ok(Vec::new()) } else { pty::of(&folder) };
    let facts = Facts { line, cwd: std::fs::read_link(folder.join("cwd")).ok(), ptys };
    // The id may have been given to another process meanwhile.
    (process(it.pid) == Some(it)).then_some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_field_22_whatever_the_name_is() {
        let line = b"42 (qemu (x) y) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n";
        assert_eq!(parse_stat(line), Some(("qemu (x) y".to_owned(), 4711)));
        assert_eq!(parse_stat(b"42 (qemu) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711"), None);
        assert_eq!(parse_stat(b"42 (qemu"), None);
    }

    #[test]
    fn our_own_start_time_agrees_with_the_boot_clock() {
        let ours = process(std::process::id()).unwrap();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let up: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!(ours.start_ticks > 0 && (ours.start_ticks as f64) / 100.0 <= up + 1.0);
    }

    #[test]
    fn tools_of_qemu_are_no_guests() {
        for name in ["qemu-nbd", "qemu-img", "qemu-ga", "qemu-aarch64", "kvm-nx-lpage-re", "sh"] {
            assert!(!is_qemu(name), "{name}");
        }
        for name in ["qemu-system-x86", "qemu-system-aar", "kvm", "qemu-kvm"] {
            assert!(is_qemu(name), "{name}");
        }
    }

    #[test]
    fn a_process_with_a_crafted_command_line_is_read_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        // A shell keeps whatever arguments follow its script.
        let mut child = std::process::Command::new("sh")
            .current_dir(dir.path())
            .args(["-c", "read it", "sh", "-name", "a b", "-qmp", "unix:q,server=on"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let it = process(child.id()).unwrap();
        let mut facts = None;
        for _ in 0..200 {
            facts = read_facts(it).recv_timeout(std::time::Duration::from_secs(5)).unwrap();
            if facts.as_ref().is_some_and(|it| it.line.name.is_some()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let facts = facts.unwrap();
        assert_eq!(facts.line.name.as_deref(), Some("a b"));
        assert_eq!(facts.cwd, Some(dir.path().canonicalize().unwrap()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(process(child.id()).is_none());
    }
}
