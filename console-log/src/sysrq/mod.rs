//! Reads what a kernel prints on SysRq keys, as kernel facts.
//!
//! [`parse`] takes any text (a whole console tail with other output in it, too) and returns what it
//! understood with the problems that it met. It never fails and never panics; what it keeps is
//! bounded ([`MAX_TASKS`], [`MAX_FRAMES`], [`MAX_PROBLEMS`]).
//!
//! Formats: `kernel/sched/core.c` `sched_show_task()`, `lib/nmi_backtrace.c`, `mm/show_mem.c`,
//! `drivers/tty/sysrq.c`; kernels 3.x to 7.x, x86-64 and arm64. User text between the lines is
//! skipped and never taken for a boundary, since it comes out of order with kernel text.

mod answer;
mod memory;
mod runqueue;
mod task_line;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use vmward_kernel_facts::{CpuStack, MemSummary, Task};

use crate::assemble::Assembler;
use crate::cpu_header::{CpuHeader, parse_pc, parse_registers};
use crate::frame::parse_frame;
use crate::prefix::{Line, Source};

pub use answer::{SysrqAnswer, SysrqKey, read_answer};

/// Tasks kept of one text.
pub const MAX_TASKS: usize = 65_536;
/// Frames kept of one stack; a kernel stack of 16 KiB holds fewer.
pub const MAX_FRAMES: usize = 512;
/// CPUs kept of one section.
const MAX_CPUS: usize = 8_192;
/// Problems kept of one text.
pub const MAX_PROBLEMS: usize = 1_000;

/// All that a text says in answer to SysRq keys, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysrqText {
    /// One for each key that was answered; the first may lack its header.
    pub sections: Vec<Section>,
}

/// The answer to one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The key; `None` for facts before any header (the text began in the middle of a dump).
    pub key: Option<SysrqKey>,
    /// The kernel refused: its mask does not allow this key, or kind of key.
    pub refused: bool,
    /// Tasks of `t` and `w`.
    pub tasks: Vec<Task>,
    /// CPUs of `l` and `p`.
    pub cpus: Vec<CpuStack>,
    /// Memory of `m`.
    pub memory: Option<MemSummary>,
}

/// Something in the text that could not be read as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Bytes of the line in the text.
    pub range: Range<u64>,
    /// What is wrong with it.
    pub what: String,
}

impl SysrqText {
    /// The newest section of a key.
    pub fn section(&self, key: SysrqKey) -> Option<&Section> {
        self.sections.iter().rev().find(|it| it.key == Some(key))
    }

    /// All tasks of the newest `t`, or without one the newest `w`, with their CPUs where known.
    pub fn tasks(&self) -> &[Task] {
        let with_tasks = |key| self.section(key).filter(|it| !it.tasks.is_empty());
        with_tasks(SysrqKey::ShowTasks)
            .or_else(|| with_tasks(SysrqKey::ShowBlocked))
            .or_else(|| self.sections.iter().rev().find(|it| !it.tasks.is_empty()))
            .map_or(&[], |it| &it.tasks)
    }

    /// The CPUs of the newest `l`, or without one the newest `p`.
    pub fn cpus(&self) -> &[CpuStack] {
        self.section(SysrqKey::ShowCpus)
            .filter(|it| !it.cpus.is_empty())
            .or_else(|| self.sections.iter().rev().find(|it| !it.cpus.is_empty()))
            .map_or(&[], |it| &it.cpus)
    }

    /// The newest memory summary.
    pub fn memory(&self) -> Option<&MemSummary> {
        self.sections.iter().rev().find_map(|it| it.memory.as_ref())
    }

    /// The kernel refused at least one key.
    pub fn is_refused(&self) -> bool {
        self.sections.iter().any(|it| it.refused)
    }
}

/// Reads a text; see the module's head.
pub fn parse(text: &[u8]) -> (SysrqText, Vec<Problem>) {
    let mut parser = Parser::default();
    let mut assembler = Assembler::default();
    assembler.push(text, |raw| Line::each(&raw.text, raw.range, |it| parser.line(it)));
    assembler.push(b"\n", |raw| Line::each(&raw.text, raw.range, |it| parser.line(it)));
    (parser.text, parser.problems)
}

/// What a stack line belongs to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Owner {
    #[default]
    Nobody,
    Task,
    Cpu,
}

#[derive(Default)]
struct Parser {
    text: SysrqText,
    problems: Vec<Problem>,
    owner: Owner,
    /// A CPU was announced (`NMI backtrace for cpu 1`); its `CPU: 1 PID: ...` line adds to it.
    announced: bool,
    runqueue: runqueue::Runqueue,
    n_tasks: usize,
}

impl Parser {
    fn line(&mut self, line: &Line<'_>) {
        if line.source == Source::Program {
            return;
        }
        let text = line.text;
        if let Some(answer) = read_answer(text) {
            self.answer(answer);
            return;
        }
        if self.task(line) || self.cpu(text) {
            return;
        }
        let section = section_of(&mut self.text);
        if memory::read(text, &mut section.memory) {
            self.owner = Owner::Nobody;
            return;
        }
        if self.runqueue.read(text, &mut section.tasks) {
            self.owner = Owner::Nobody;
            return;
        }
        self.stack_line(text);
    }

    fn answer(&mut self, answer: SysrqAnswer) {
        self.owner = Owner::Nobody;
        self.runqueue = runqueue::Runqueue::default();
        match answer {
            SysrqAnswer::Key(key) => self.push_section(Section { key: Some(key), ..Section::default() }),
            // On masks that refuse, the key's own header is not printed: there is nothing to mark.
            SysrqAnswer::Refused => self.push_section(Section { refused: true, ..Section::default() }),
            SysrqAnswer::Help => {
                self.push_section(Section { key: Some(SysrqKey::Help), ..Section::default() })
            }
        }
    }

    fn push_section(&mut self, section: Section) {
        // A console that repeats one header without end must not grow us.
        if self.text.sections.len() < 256 {
            self.text.sections.push(section);
        }
    }

    fn task(&mut self, line: &Line<'_>) -> bool {
        let in_list = self
            .text
            .sections
            .last()
            .is_some_and(|it| matches!(it.key, Some(SysrqKey::ShowTasks | SysrqKey::ShowBlocked)));
        let Some(task) = task_line::parse(line.text, in_list) else { return false };
        if task.torn {
            self.problem(line, "the line that names a task is torn; fields that it lost are not known");
        }
        self.owner = Owner::Nobody;
        if self.n_tasks == MAX_TASKS {
            self.problem(line, "more tasks than are kept");
            return true;
        }
        self.n_tasks += 1;
        section_of(&mut self.text).tasks.push(task);
        self.owner = Owner::Task;
        true
    }

    /// Lines that begin a CPU's part, or end it.
    fn cpu(&mut self, text: &str) -> bool {
        if let Some(rest) = text.strip_prefix("NMI backtrace for cpu ") {
            let (cpu, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let Ok(cpu) = cpu.trim_end_matches(':').parse() else { return false };
            self.start_cpu(cpu);
            if let Some(place) = rest.strip_prefix("skipped: idling at ") {
                // Up to 4.x: "pc 0x...", later a symbol.
                self.with_cpu(|it| {
                    it.idle = true;
                    it.pc = parse_frame(place.strip_prefix("pc ").unwrap_or(place));
                });
                self.owner = Owner::Nobody;
            }
            return true;
        }
        // Where no NMI can be sent (arm64 without pseudo-NMI) showacpu() prints "sysrq: CPU0:", and in v6.1
        // (not yet in v5.10) "sysrq: CPU1: backtrace skipped as idling".
        if let Some((cpu, rest)) = text.strip_prefix("sysrq: CPU").and_then(|it| it.split_once(':')) {
            let Ok(cpu) = cpu.parse() else { return false };
            self.start_cpu(cpu);
            if rest.trim() == "backtrace skipped as idling" {
                self.with_cpu(|it| it.idle = true);
                self.owner = Owner::Nobody;
            }
            return true;
        }
        if text.starts_with("Sending NMI from CPU ") {
            self.owner = Owner::Nobody;
            return true;
        }
        let Some(header) = text.starts_with("CPU: ").then(|| CpuHeader::parse(text)).flatten() else {
            return false;
        };
        let known = section_of(&mut self.text).cpus.last().map(|it| it.cpu);
        if !(self.announced && self.owner == Owner::Cpu && known == Some(header.cpu)) {
            self.start_cpu(header.cpu);
        }
        self.announced = false;
        self.with_cpu(|it| {
            it.idle = header.pid == Some(0);
            it.pid = header.pid;
            it.comm = header.comm;
        });
        true
    }

    fn start_cpu(&mut self, cpu: u32) {
        let cpus = &mut section_of(&mut self.text).cpus;
        if cpus.len() < MAX_CPUS {
            cpus.push(CpuStack { cpu, ..CpuStack::default() });
            self.owner = Owner::Cpu;
            self.announced = true;
        } else {
            self.owner = Owner::Nobody;
        }
    }

    fn with_cpu(&mut self, change: impl FnOnce(&mut CpuStack)) {
        if let (Owner::Cpu, Some(cpu)) = (self.owner, section_of(&mut self.text).cpus.last_mut()) {
            change(cpu);
        }
    }

    fn stack_line(&mut self, text: &str) {
        let owner = self.owner;
        let section = section_of(&mut self.text);
        match owner {
            Owner::Nobody => {}
            Owner::Task => {
                if let (Some(task), Some(frame)) = (section.tasks.last_mut(), parse_frame(text)) {
                    push_bounded(&mut task.stack, frame);
                }
            }
            Owner::Cpu => {
                let Some(cpu) = section.cpus.last_mut() else { return };
                if let Some((pc, user_mode)) = parse_pc(text) {
                    // A trace that goes through an interrupt shows a second place; the first counts,
                    // and a first one in user mode has no kernel stack.
                    if cpu.pc.is_none() && (cpu.stack.is_empty() || !user_mode) {
                        cpu.user_mode = user_mode;
                        cpu.pc = Some(pc);
                    }
                } else if let Some(frame) = parse_frame(text) {
                    push_bounded(&mut cpu.stack, frame);
                } else {
                    let mut registers = std::collections::BTreeMap::new();
                    if parse_registers(text, &mut registers) {
                        for (name, value) in registers {
                            cpu.registers.entry(name).or_insert(value);
                        }
                    }
                }
            }
        }
    }

    fn problem(&mut self, line: &Line<'_>, what: &str) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { range: line.range.clone(), what: what.to_owned() });
        }
    }
}

fn push_bounded<T>(list: &mut Vec<T>, item: T) {
    if list.len() < MAX_FRAMES {
        list.push(item);
    }
}

/// The section that facts go to; facts before any header get one without a key.
fn section_of(text: &mut SysrqText) -> &mut Section {
    if text.sections.is_empty() {
        text.sections.push(Section::default());
    }
    let last_idx = text.sections.len() - 1;
    &mut text.sections[last_idx]
}

#[cfg(test)]
mod tests;
