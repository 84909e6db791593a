//! The lines that say which CPU and task a trace belongs to, and registers.

use std::collections::BTreeMap;

use vmward_kernel_facts::Frame;

use crate::frame::{hex, parse_frame};

/// `CPU: 1 PID: 97 Comm: spinner Not tainted 6.1.0-50-cloud-amd64 #1 ...`; `UID: 0` since v6.12.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpuHeader {
    pub cpu: u32,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub taint: Option<String>,
    pub release: Option<String>,
}

impl CpuHeader {
    /// Reads the line. The name may hold anything: it ends at the last ` Not tainted ` or ` Tainted: `.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.trim_start().strip_prefix("CPU: ").or_else(|| text.strip_prefix("CPU "))?;
        let (cpu, rest) = rest.split_once(' ')?;
        let mut header = Self { cpu: cpu.parse().ok()?, pid: None, comm: None, taint: None, release: None };
        let Some((_, rest)) = rest.split_once("PID: ") else { return Some(header) };
        let (pid, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        header.pid = pid.parse().ok();
        let Some(rest) = rest.trim_start().strip_prefix("Comm: ") else { return Some(header) };
        let (comm, tail) = if let Some(at) = rest.rfind(" Not tainted ") {
            (&rest[..at], &rest[at + " Not tainted ".len()..])
        } else if let Some(at) = rest.rfind(" Tainted: ") {
            let tail = &rest[at + " Tainted: ".len()..];
            // Flags are single letters with blanks between; the release is the first longer word.
            let flags_len: usize =
                tail.split_inclusive(' ').take_while(|it| it.trim().len() <= 1).map(str::len).sum();
            header.taint = Some(tail[..flags_len].split_ascii_whitespace().collect());
            (&rest[..at], &tail[flags_len..])
        } else {
            (rest, "")
        };
        header.comm = Some(comm.to_owned());
        header.release =
            tail.split_ascii_whitespace().next().filter(|it| it.contains('.')).map(str::to_owned);
        Some(header)
    }
}

/// Where a CPU was: `RIP: 0010:symbol+0x1/0x2`, `RIP: 0033:0x40182c`, `pc : symbol+0x1/0x2`,
/// `EIP: symbol+0x1/0x2`, `PC is at symbol+0x1/0x2`. The flag says user mode.
pub(crate) fn parse_pc(text: &str) -> Option<(Frame, bool)> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("RIP: ") {
        let (selector, place) = rest.split_once(':')?;
        // The two low bits of the selector are the privilege level; before 4.10 an address follows.
        let user = hex(selector).is_some_and(|it| it & 3 == 3);
        let place = place.trim();
        let place = place.split_once("]  ").map_or(place, |it| it.1);
        return parse_frame(place).map(|it| (it, user));
    }
    let place = ["pc : ", "PC is at ", "EIP: "].iter().find_map(|it| text.strip_prefix(it))?;
    let place = place.strip_prefix("[<").map_or(place, |it| it.split_once(">] ").map_or(place, |it| it.1));
    if let Some(address) = hex(place) {
        let frame = Frame { symbol: None, address: Some(address), ..Frame::named("") };
        // arm64 and x86-64 kernels live in the upper half.
        return Some((frame, address >> 63 == 0));
    }
    parse_frame(place).map(|it| (it, false))
}

/// Registers of one line into `into`: `RAX: 0000 RBX: ...`, `x29: ... x28: ...`, `sp : ...`.
/// Returns whether the line was such a line.
pub(crate) fn parse_registers(text: &str, into: &mut BTreeMap<String, u64>) -> bool {
    const NAMES: &[&str] = &[
        "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP", "R08", "R09", "R10", "R11", "R12", "R13",
        "R14", "R15", "EFLAGS", "ORIG_RAX", "CR0", "CR2", "CR3", "CR4", "EAX", "EBX", "ECX", "EDX", "ESI",
        "EDI", "EBP", "ESP", "sp", "lr", "pstate", "PKRU",
    ];
    let mut found = false;
    let mut words = text.split_ascii_whitespace().peekable();
    while let Some(word) = words.next() {
        let name = match word.strip_suffix(':') {
            Some(name) => name,
            None if words.peek() == Some(&":") => {
                words.next();
                word
            }
            None => continue,
        };
        let is_arm = name.strip_prefix('x').and_then(|it| it.parse::<u8>().ok()).is_some_and(|it| it <= 30);
        if !is_arm && !NAMES.contains(&name) {
            continue;
        }
        let Some(value) = words.peek().and_then(|it| hex(it.rsplit(':').next().unwrap_or(it))) else {
            continue;
        };
        words.next();
        into.insert(name.to_owned(), value);
        found = true;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_whatever_the_name() {
        let header =
            CpuHeader::parse("CPU: 1 UID: 0 PID: 97 Comm: a Tainted: b Not tainted 6.12.1+deb #1").unwrap();
        assert_eq!((header.cpu, header.pid, header.comm.as_deref()), (1, Some(97), Some("a Tainted: b")));
        assert_eq!(header.release.as_deref(), Some("6.12.1+deb"));
        let header =
            CpuHeader::parse("CPU: 0 PID: 1 Comm: init Tainted: G        W   E      5.10.0 #1").unwrap();
        assert_eq!((header.taint.as_deref(), header.release.as_deref()), (Some("GWE"), Some("5.10.0")));
        assert_eq!(CpuHeader::parse("CPU: x"), None);
    }

    #[test]
    fn the_place_is_read_on_both_architectures() {
        let (frame, user) = parse_pc("RIP: 0010:native_safe_halt+0xe/0x20").unwrap();
        assert_eq!((frame.name(), user), ("native_safe_halt", false));
        let (frame, user) = parse_pc("RIP: 0033:0x40182c").unwrap();
        assert_eq!((frame.address, user), (Some(0x40182c), true));
        let (frame, user) = parse_pc("pc : cpu_do_idle+0x10/0x20").unwrap();
        assert_eq!((frame.name(), user), ("cpu_do_idle", false));
        assert!(parse_pc("pc : 0000000000400878").unwrap().1);
        let (frame, _) =
            parse_pc("RIP: 0010:[<ffffffff81001234>]  [<ffffffff81001234>] foo+0x1/0x2").unwrap();
        assert_eq!(frame.name(), "foo");
    }

    #[test]
    fn registers_are_read_on_both_architectures() {
        let mut registers = BTreeMap::new();
        assert!(parse_registers("RSP: 0018:ffffa69a80083ef0 EFLAGS: 00000246", &mut registers));
        assert!(parse_registers("x29: 0000ffffd03d6990 x8 : 00000000000000a7", &mut registers));
        assert!(!parse_registers("Hardware name: QEMU", &mut registers));
        assert_eq!(registers["RSP"], 0xffffa69a80083ef0);
        assert_eq!(registers["x8"], 0xa7);
        assert_eq!(registers.len(), 4);
    }
}
