//! Keeps a report of several lines in one piece.
//!
//! A block takes the lines that look like part of a kernel's report, lets strangers pass (other CPUs,
//! user output), and ends at its own end mark, after too many strangers, or at its size limit.

use std::ops::Range;

use crate::cpu_header::{CpuHeader, parse_pc, parse_registers};
use crate::event::Trouble;
use crate::frame::parse_frame;
use crate::prefix::{Caller, Line, Source};
use crate::title::normalise;
use crate::trouble::{Found, TroubleKind, oom_victim};

/// Lines kept of one report.
const MAX_LINES: usize = 1_000;
/// Frames kept of its trace.
const MAX_FRAMES: usize = 256;
/// Registers kept.
const MAX_REGISTERS: usize = 128;
/// Lines in a row that do not belong to it before it is over.
const MAX_STRANGERS: u32 = 12;

/// A report that is being read.
#[derive(Debug)]
pub(crate) struct Block {
    pub range: Range<u64>,
    pub stamp_us: Option<u64>,
    pub trouble: Trouble,
    source: Source,
    caller: Option<Caller>,
    strangers: u32,
    /// The first call trace is over.
    trace_over: bool,
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is part of the report.
    Part,
    /// It is the report's last line.
    Last,
    /// It is not part of it.
    Stranger,
    /// It is not, and the report is over.
    Over,
}

impl Block {
    pub(crate) fn start(line: &Line<'_>, found: Found<'_>, follows: Option<u64>) -> Self {
        let trouble = Trouble {
            kind: found.kind,
            severity: found.severity,
            title: normalise(line.text),
            reason: found.reason.to_owned(),
            follows,
            cpu: found.cpu,
            pid: found.task.map(|it| it.1),
            comm: found.task.map(|it| it.0.to_owned()),
            taint: None,
            release: None,
            pc: None,
            registers: Default::default(),
            trace: Vec::new(),
            lines: vec![line.text.to_owned()],
            lines_dropped: 0,
            repeats: 0,
        };
        Self {
            range: line.range.clone(),
            stamp_us: line.stamp_us,
            trouble,
            source: line.source,
            caller: line.caller,
            strangers: 0,
            trace_over: false,
        }
    }

    /// Whether a new report inside of this one is part of it.
    pub(crate) fn swallows(&mut self, found: &Found<'_>) -> bool {
        let kind = self.trouble.kind;
        if found.secondary && (kind.is_exception() && found.kind.is_exception() || kind == found.kind) {
            return true;
        }
        let same_stall =
            kind == found.kind && matches!(kind, TroubleKind::RcuStall | TroubleKind::HardLockup);
        if same_stall {
            self.trouble.repeats += 1;
        }
        same_stall
    }

    /// Offers a line that starts no report of its own (or one that this one swallows).
    pub(crate) fn offer(&mut self, line: &Line<'_>, swallowed: bool) -> Taken {
        if !swallowed && !self.is_part(line) {
            self.strangers += 1;
            return if self.strangers > MAX_STRANGERS { Taken::Over } else { Taken::Stranger };
        }
        self.strangers = 0;
        self.range.end = line.range.end;
        self.read(line.text);
        if self.trouble.lines.len() < MAX_LINES {
            self.trouble.lines.push(line.text.to_owned());
        } else {
            self.trouble.lines_dropped += 1;
            if self.trouble.lines_dropped > MAX_LINES as u64 {
                return Taken::Last;
            }
        }
        if self.is_end(line.text) { Taken::Last } else { Taken::Part }
    }

    fn is_end(&self, text: &str) -> bool {
        match self.trouble.kind {
            TroubleKind::OomKill => oom_victim(text).is_some(),
            TroubleKind::Panic | TroubleKind::InitDied | TroubleKind::NoRoot => {
                text.starts_with("---[ end Kernel panic")
            }
            _ => text.starts_with("---[ end trace"),
        }
    }

    fn is_part(&self, line: &Line<'_>) -> bool {
        // Where the kernel stamps its lines a line without a stamp is the rest of a torn one, or a stranger.
        if line.source != self.source || (self.caller.is_some() && line.caller != self.caller) {
            return false;
        }
        let text = line.text;
        if text.starts_with([' ', '\t']) || text.is_empty() {
            return true;
        }
        if matches!(self.trouble.kind, TroubleKind::Lockdep | TroubleKind::Sanitizer) {
            // Their reports are prose; what ends them is the next report, other callers, or strangers.
            return self.source == Source::Kernel && !is_boot_chatter(text);
        }
        // The list of tasks: "[    146]     0   146 ...".
        let is_task_row = self.trouble.kind == TroubleKind::OomKill && text.starts_with('[');
        is_task_row || looks_like_report(text) || parse_frame(text).is_some() || is_register_line(text)
    }

    fn read(&mut self, text: &str) {
        let trouble = &mut self.trouble;
        if let Some(header) = CpuHeader::parse(text).filter(|it| it.comm.is_some()) {
            if trouble.cpu.is_none() || trouble.cpu == Some(header.cpu) {
                trouble.cpu = Some(header.cpu);
                if trouble.comm.is_none() && trouble.kind != TroubleKind::HungTask {
                    trouble.pid = header.pid;
                    trouble.comm = header.comm;
                }
            }
            trouble.taint = trouble.taint.take().or(header.taint);
            trouble.release = trouble.release.take().or(header.release);
        } else if let Some((pc, _)) = parse_pc(text) {
            trouble.pc.get_or_insert(pc);
        } else if let Some((comm, pid)) = oom_victim(text) {
            (trouble.comm, trouble.pid) = (Some(comm.to_owned()), Some(pid));
        } else if let Some(frame) = parse_frame(text) {
            if !self.trace_over && trouble.trace.len() < MAX_FRAMES {
                trouble.trace.push(frame);
            }
        } else if text.trim_start().to_ascii_lowercase().starts_with("call trace")
            && !trouble.trace.is_empty()
        {
            self.trace_over = true;
        } else if trouble.registers.len() < MAX_REGISTERS {
            let mut registers = Default::default();
            parse_registers(text, &mut registers);
            for (name, value) in registers {
                trouble.registers.entry(name).or_insert(value);
            }
        }
    }
}

/// Lines that the kernel prints around a trace, by how they begin.
fn looks_like_report(text: &str) -> bool {
    const HEADS: &[&str] = &[
        "CPU: ",
        "CPU#",
        "Hardware name: ",
        "Call Trace:",
        "Call trace:",
        "Modules linked in:",
        "Workqueue: ",
        "RIP: ",
        "RSP: ",
        "EIP: ",
        "ESP: ",
        "RIP  ",
        "EIP is at ",
        "PC is at ",
        "LR is at ",
        "Code: ",
        "Code:",
        "FS: ",
        "CS: ",
        "DS: ",
        "ES: ",
        "CR0: ",
        "CR2: ",
        "DR0: ",
        "DR3: ",
        "PKRU: ",
        "PGD ",
        "P4D ",
        "PUD ",
        "PMD ",
        "pgd = ",
        "[0000",
        "[ffff",
        "Oops: ",
        "Oops - ",
        "Oops",
        "#PF: ",
        "Mem abort info:",
        "Data abort info:",
        "user pgtable:",
        "swapper pgtable:",
        "Internal error: ",
        "pstate: ",
        "pc : ",
        "lr : ",
        "sp : ",
        "Process ",
        "Stack:",
        "Stack ",
        "Backtrace:",
        "---[ end ",
        "------------[ cut here",
        "Kernel Offset: ",
        "Kernel panic - not",
        "Dumping ftrace buffer",
        "SMP: stopping",
        "CPU features: ",
        "PHYS_OFFSET: ",
        "Memory Limit: ",
        "irq event stamp: ",
        "hardirqs last ",
        "softirqs last ",
        "note: ",
        "Fixing recursive",
        "invalid opcode: ",
        "double fault: ",
        "Sending NMI from",
        "NMI backtrace for cpu ",
        "rcu: ",
        "task:",
        "\"echo 0 > ",
        "Not tainted",
        "Tainted: ",
        "Blocked by coredump",
        "INFO: task ",
        "INFO: NMI handler",
        "Showing all locks held",
        "Mem-Info:",
        "active_anon:",
        "Node ",
        "lowmem_reserve",
        "Free swap",
        "Total swap",
        "Swap cache stats",
        "Tasks state",
        "[ pid ]",
        "[  pid  ]",
        "oom-kill:",
        "oom_kill",
        "Unreclaimable slab info",
        "Name ",
        "memory: usage ",
        "memory+swap: ",
        "swap: usage ",
        "kmem: usage ",
        "Memory cgroup stats for",
        "anon ",
        "Tasks in ",
        "Out of memory: ",
        "Memory cgroup out of memory: ",
        "Kernel Offset",
        "R13: ",
        "R10: ",
        "list_",
        "kernel BUG at ",
        "Exception RIP",
        "Unloaded tainted",
        "last sysfs file",
        "page:",
        "flags: ",
        "raw: ",
        "page dumped because",
        "page_owner",
        "<TASK>",
        "<IRQ>",
        "Please append",
        "available in",
        "Shutting down cpus",
        "pid: ",
        "Aborting core",
    ];
    let pages = text.split_once(' ').is_some_and(|it| it.0.parse::<u64>().is_ok() && it.1.contains("page"));
    pages || HEADS.iter().any(|it| text.starts_with(it))
}

fn is_register_line(text: &str) -> bool {
    parse_registers(text, &mut Default::default())
}

/// Lines that no report holds, however free its prose.
fn is_boot_chatter(text: &str) -> bool {
    ["Linux version ", "Command line: ", "Run ", "systemd["].iter().any(|it| text.starts_with(it))
}
