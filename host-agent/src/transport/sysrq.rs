//! Magic SysRq by every path there is, each verified by what comes back on the console.
//!
//! Paths, in the order tried (the least intrusive that can work first):
//! 1. QMP `chardev-send-break`, then the key on the console (8250 and PL011 take a BREAK as SysRq).
//! 2. BREAK in-band on a mux console: Ctrl-A `b`, then the key.
//! 3. `^O`, then the key, on an hvc console (Linux `drivers/tty/hvc/hvc_console.c`).
//! 4. QMP `send-key alt-sysrq-KEY` to an emulated keyboard.
//!
//! An answer is the kernel's header (`sysrq: Show Memory`, before 5.4 `SysRq : Show Memory`). A refusal
//! by mask (`This sysrq operation is disabled`) proves that the guest's interrupts and printk live; no
//! other path is tried then, since the mask is the same for all keyboards and lines (only
//! `/proc/sysrq-trigger` is free of it). Where nothing comes back, the next path is tried.
//!
//! # The console's log level
//!
//! SysRq raises the console's log level by itself while it prints the header, and prints much of its
//! dumps at levels that a quiet console (`quiet`, level 4 or less) hides. A digit key sets the level; what
//! it was before cannot be read from outside. So the level is left alone unless the header came and
//! nothing behind it; then it is set to 7, the key pressed again, and the level put back to
//! [`DEFAULT_LOG_LEVEL`], the value that the caller knows from the guest's command line (`loglevel=`,
//! `quiet`) or else the one given here. The result says when that was done.
//!
//! The `sysrq-` keys that change more than the log (`b`, `c`, `e`, `i`, `o`, ...) have no [`Key`].

use std::time::{Duration, Instant};

use qapi::qmp;

use super::console::text::plain;
use super::console::{Console, mux};
use super::qmp::{L3Permit, Monitor};

/// What Linux boots with when nobody says otherwise is 7 (`CONFIG_CONSOLE_LOGLEVEL_DEFAULT`); `quiet`
/// boots with 4. Debian's kernels set neither.
pub const DEFAULT_LOG_LEVEL: u8 = 7;

/// Keys that only show something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// `w`: blocked tasks.
    BlockedTasks,
    /// `l`: backtraces of active CPUs.
    ActiveCpus,
    /// `m`: memory.
    Memory,
    /// `p`: registers of the current CPU.
    Registers,
    /// `q`: timers.
    Timers,
    /// `t`: all tasks.
    Tasks,
    /// `z`: the trace buffer. Leaves the guest's tracing off (`ftrace_dump`): never a default.
    TraceBuffer,
    /// `h`: the list of keys; allowed by every mask that allows SysRq at all.
    Help,
}

impl Key {
    /// The letter.
    #[must_use]
    pub fn letter(self) -> u8 {
        match self {
            Self::BlockedTasks => b'w',
            Self::ActiveCpus => b'l',
            Self::Memory => b'm',
            Self::Registers => b'p',
            Self::Timers => b'q',
            Self::Tasks => b't',
            Self::TraceBuffer => b'z',
            Self::Help => b'h',
        }
    }
}

/// One way to press the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// QMP `chardev-send-break`.
    SendBreak,
    /// Ctrl-A `b` on a mux.
    MuxBreak,
    /// `^O` on hvc.
    HvcCtrlO,
    /// QMP `send-key`.
    Keyboard,
}

/// What is known of the guest's ways in.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// QEMU's id of the console's character device, for `chardev-send-break`.
    pub chardev: Option<String>,
    /// True when the console is (also) an hvc.
    pub hvc: bool,
    /// True when there may be an emulated keyboard (x86 machines have one by default).
    pub keyboard: bool,
    /// The guest's console log level where it is known; see the module's words.
    pub log_level: Option<u8>,
}

/// Time and size of one key.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for the header to come, each path.
    pub header: Duration,
    /// The dump is over when nothing came for this long.
    pub quiet: Duration,
    /// The dump is cut after this long.
    pub whole: Duration,
    /// The dump is cut after this many bytes.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(2),
            quiet: Duration::from_millis(700),
            whole: Duration::from_secs(10),
            bytes: 4 << 20,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel answered.
    Answered {
        /// By which path.
        path: Path,
        /// From the header on, raw and untrusted.
        text: Vec<u8>,
        /// True when the dump was cut by time or size.
        cut: bool,
        /// True when the console's log level was raised for it and put back.
        level_raised: bool,
    },
    /// The kernel lives and its mask forbids the key.
    Refused {
        /// By which path.
        path: Path,
    },
    /// Nothing came back on any path.
    NoAnswer {
        /// The paths tried, each with why it could not be used, or that nothing came.
        paths: Vec<(Path, String)>,
    },
}

/// Presses `key` and collects what comes. `monitor` is for the QMP paths.
pub async fn press(
    permit: &L3Permit,
    console: &Console,
    monitor: Option<&Monitor>,
    ways: &Ways,
    key: Key,
    limits: Limits,
) -> Outcome {
    let mut tried = Vec::new();
    for path in [Path::SendBreak, Path::MuxBreak, Path::HvcCtrlO, Path::Keyboard] {
        let hand = Hand { permit, console, monitor, ways };
        match hand.press(path, key.letter()).await {
            None => continue,
            Some(Err(why)) => tried.push((path, why)),
            Some(Ok(position)) => match header(console, position, limits.header).await {
                Header::None => {
                    let words = hand.take_back(path, position, key.letter()).await;
                    tried.push((path, words.to_owned()));
                }
                Header::Refused => return Outcome::Refused { path },
                Header::Shown(start) => {
                    let (text, cut) = collect(console, start, limits).await;
                    return hand.with_body(path, key, text, cut, limits).await;
                }
            },
        }
    }
    Outcome::NoAnswer { paths: tried }
}

struct Hand<'a> {
    permit: &'a L3Permit,
    console: &'a Console,
    monitor: Option<&'a Monitor>,
    ways: &'a Ways,
}

impl Hand<'_> {
    /// `None` when the guest has no such way in; else the console's position before the key.
    async fn press(&self, path: Path, letter: u8) -> Option<Result<u64, String>> {
        match path {
            Path::SendBreak => {
                let id = self.ways.chardev.clone()?;
                let monitor = self.monitor?;
                Some(self.send_break(monitor, id, letter).await)
            }
            Path::MuxBreak if self.console.is_mux() => {
                Some(self.control([&mux::BREAK[..], &[letter]].concat()).await)
            }
            Path::HvcCtrlO if self.ways.hvc => Some(self.control(vec![0x0f, letter]).await),
            Path::Keyboard if self.ways.keyboard => Some(self.send_key(self.monitor?, letter).await),
            _ => None,
        }
    }

    /// A line that does not take BREAK or `^O` as SysRq gets the letter as text: when it was echoed and
    /// nothing else came, it is erased again, so that it does not spoil the next command.
    async fn take_back(&self, path: Path, position: u64, letter: u8) -> &'static str {
        let echoed = plain(&self.console.read_from(position, 16).bytes);
        let ours = echoed == [letter] || echoed == [b'^', b'O', letter];
        if path == Path::Keyboard || !ours {
            return "nothing came back";
        }
        match self.control(vec![0x7f; if path == Path::HvcCtrlO { 2 } else { 1 }]).await {
            Ok(_) => "the key was echoed as text and erased again: no SysRq on this line",
            Err(_) => "the key was echoed as text: no SysRq on this line",
        }
    }

    async fn control(&self, bytes: Vec<u8>) -> Result<u64, String> {
        self.console.control(self.permit, bytes).await.map_err(|e| e.to_string())
    }

    async fn send_break(&self, monitor: &Monitor, id: String, letter: u8) -> Result<u64, String> {
        let command = qmp::chardev_send_break { id };
        let within = Duration::from_secs(1);
        let sent = monitor.session(async |q| q.touch(self.permit, command, within).await).await;
        sent.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        self.control(vec![letter]).await
    }

    async fn send_key(&self, monitor: &Monitor, letter: u8) -> Result<u64, String> {
        let keys = serde_json::json!({ "keys": [
            { "type": "qcode", "data": "alt" },
            { "type": "qcode", "data": "sysrq" },
            { "type": "qcode", "data": char::from(letter).to_string() },
        ]});
        let command: qmp::send_key = serde_json::from_value(keys).map_err(|e| e.to_string())?;
        let position = self.console.position();
        let within = Duration::from_secs(1);
        let sent = monitor.session(async |q| q.touch(self.permit, command, within).await).await;
        sent.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        Ok(position)
    }

    /// A header with nothing behind it: a quiet console. Raises the level, presses again, puts it back.
    async fn with_body(&self, path: Path, key: Key, text: Vec<u8>, cut: bool, limits: Limits) -> Outcome {
        let plain_answer = |text, cut, level_raised| Outcome::Answered { path, text, cut, level_raised };
        // `h` is one line; everything else has more behind its header.
        if key == Key::Help || kernel_lines(&text) > 1 {
            return plain_answer(text, cut, false);
        }
        if !matches!(self.press(path, b'7').await, Some(Ok(_))) {
            return plain_answer(text, cut, false);
        }
        let again = match self.press(path, key.letter()).await {
            Some(Ok(position)) => match header(self.console, position, limits.header).await {
                Header::Shown(start) => Some(collect(self.console, start, limits).await),
                _ => None,
            },
            _ => None,
        };
        let level = self.ways.log_level.unwrap_or(DEFAULT_LOG_LEVEL).min(9);
        if !matches!(self.press(path, b'0' + level).await, Some(Ok(_))) {
            tracing::warn!(level, "the guest's console log level could not be put back");
        }
        match again {
            Some((text, cut)) => plain_answer(text, cut, true),
            None => plain_answer(text, cut, true),
        }
    }
}

enum Header {
    Shown(u64),
    Refused,
    None,
}

/// Waits for the header behind `position`.
async fn header(console: &Console, position: u64, within: Duration) -> Header {
    let began = Instant::now();
    let mut seen = position;
    loop {
        let piece = console.read_from(position, 64 << 10);
        if let Some((at, refused)) = find_header(&piece.bytes) {
            if refused {
                return Header::Refused;
            }
            return Header::Shown(piece.from + at as u64);
        }
        let left = within.saturating_sub(began.elapsed());
        if left.is_zero() || !console.beyond(seen.max(piece.end()), left).await {
            return Header::None;
        }
        seen = piece.end();
        // Slow lines come byte by byte: look again once in a while, not for each.
        tokio::time::sleep(Duration::from_millis(20).min(left)).await;
    }
}

/// Start of the line with the header, and whether it is a refusal. A header counts once its line ended.
fn find_header(bytes: &[u8]) -> Option<(usize, bool)> {
    let mut start = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let words = plain(line);
        let at = [&b"sysrq: "[..], b"SysRq : "]
            .iter()
            .find_map(|h| memchr::memmem::find(&words, h).map(|at| at + h.len()));
        if let (Some(at), true) = (at, line.ends_with(b"\n")) {
            let rest = words.get(at..).unwrap_or_default();
            let refused = memchr::memmem::find(rest, b"This sysrq operation is disabled").is_some();
            // A digit key's own answer is no dump.
            if !rest.starts_with(b"Changing Loglevel") {
                return Some((start, refused));
            }
        }
        start += line.len();
    }
    None
}

/// Collects from `start` until it is quiet or a limit is met.
async fn collect(console: &Console, start: u64, limits: Limits) -> (Vec<u8>, bool) {
    let began = Instant::now();
    let mut text = Vec::new();
    let mut position = start;
    loop {
        let room = limits.bytes.saturating_sub(text.len());
        let piece = console.read_from(position, room.min(64 << 10));
        if piece.missed > 0 {
            text.extend_from_slice(format!("\n[{} bytes missed]\n", piece.missed).as_bytes());
        }
        position = piece.end();
        text.extend_from_slice(&piece.bytes);
        if text.len() >= limits.bytes || began.elapsed() >= limits.whole {
            return (text, true);
        }
        if piece.bytes.is_empty() && !console.beyond(position, limits.quiet).await {
            return (text, false);
        }
    }
}

fn kernel_lines(text: &[u8]) -> usize {
    text.split(|b| *b == b'\n').filter(|l| l.trim_ascii().len() > 2).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::console::{Address, Settings};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn headers_of_all_kernels_are_known_and_a_refusal_is_one() {
        let text = b"x\r\n[    1.000001] sysrq: Show Blocked State\r\n";
        assert_eq!(find_header(text), Some((3, false)));
        assert_eq!(find_header(b"SysRq : Show Memory\r\n"), Some((0, false)));
        let refused = b"[    1.000001] sysrq: This sysrq operation is disabled.\r\n";
        assert_eq!(find_header(refused), Some((0, true)));
        assert_eq!(find_header(b"[    1.000001] sysrq: Show Blo"), None);
        assert_eq!(find_header(b"sysrq: Changing Loglevel\n"), None);
    }

    /// A guest whose kernel answers `answer(key)` to BREAK and key on a mux.
    fn guest(answer: impl Fn(u8) -> Vec<u8> + Send + 'static) -> (tempfile::TempDir, Console) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cons");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut last = [0u8; 3];
            while let Ok(byte) = stream.read_u8().await {
                last = [last[1], last[2], byte];
                if last[..2] == mux::BREAK {
                    stream.write_all(&answer(byte)).await.unwrap();
                }
            }
        });
        let settings =
            Settings { address: Address::Unix(path), mux: true, ring: None, qemu_log: None, prompts: vec![] };
        (dir, Console::start(settings).unwrap())
    }

    fn quick() -> Limits {
        Limits { header: Duration::from_millis(300), quiet: Duration::from_millis(100), ..Limits::default() }
    }

    async fn pressed(console: &Console, key: Key) -> Outcome {
        assert!(console.connected(Duration::from_secs(2)).await);
        let permit = L3Permit::allowed("test");
        press(&permit, console, None, &Ways::default(), key, quick()).await
    }

    #[tokio::test]
    async fn an_answer_is_collected_from_its_header_until_it_is_quiet() {
        let (_dir, console) = guest(|key| {
            assert_eq!(key, b'w');
            b"junk\r\nsysrq: Show Blocked State\r\ntask:dd state:D\r\n".to_vec()
        });
        let text = b"sysrq: Show Blocked State\r\ntask:dd state:D\r\n".to_vec();
        assert_eq!(
            pressed(&console, Key::BlockedTasks).await,
            Outcome::Answered { path: Path::MuxBreak, text, cut: false, level_raised: false }
        );
    }

    #[tokio::test]
    async fn a_mask_is_a_refusal_and_silence_is_no_answer() {
        let (_dir, console) = guest(|_| b"sysrq: This sysrq operation is disabled.\r\n".to_vec());
        let refused = Outcome::Refused { path: Path::MuxBreak };
        assert_eq!(pressed(&console, Key::Tasks).await, refused);
        let (_dir, console) = guest(|_| Vec::new());
        let nothing = vec![(Path::MuxBreak, "nothing came back".to_owned())];
        assert_eq!(pressed(&console, Key::Tasks).await, Outcome::NoAnswer { paths: nothing });
    }

    #[tokio::test]
    async fn a_key_that_is_echoed_as_text_is_erased_again() {
        let (_dir, console) = guest(|key| vec![key]);
        let words = "the key was echoed as text and erased again: no SysRq on this line";
        let paths = vec![(Path::MuxBreak, words.to_owned())];
        assert_eq!(pressed(&console, Key::Tasks).await, Outcome::NoAnswer { paths });
    }

    #[tokio::test]
    async fn a_quiet_console_is_raised_for_the_dump_and_put_back() {
        let (seen, mut keys) = tokio::sync::mpsc::unbounded_channel();
        let loud = std::sync::atomic::AtomicBool::new(false);
        let (_dir, console) = guest(move |key| {
            seen.send(key).unwrap();
            match key {
                b'7' => {
                    let was = loud.swap(true, std::sync::atomic::Ordering::Relaxed);
                    if was { vec![] } else { b"sysrq: Changing Loglevel\r\n".to_vec() }
                }
                _ if loud.load(std::sync::atomic::Ordering::Relaxed) => {
                    b"sysrq: Show Memory\r\nMem-Info:\r\n".to_vec()
                }
                _ => b"sysrq: Show Memory\r\n".to_vec(),
            }
        });
        match pressed(&console, Key::Memory).await {
            Outcome::Answered { text, level_raised: true, .. } => {
                assert!(text.ends_with(b"Mem-Info:\r\n"));
            }
            other => panic!("{other:?}"),
        }
        let mut all = Vec::new();
        for _ in 0..4 {
            let key = tokio::time::timeout(Duration::from_secs(2), keys.recv()).await;
            all.push(key.unwrap().unwrap());
        }
        assert_eq!(all, b"m7m7");
    }
}
