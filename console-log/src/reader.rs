//! The stream reader: bytes in, events out.

use std::borrow::Cow;

use crate::assemble::Assembler;
use crate::block::{Block, Taken};
use crate::event::{Event, EventKind, Trouble};
use crate::label::{LabelRule, last_number};
use crate::marks::{BootMark, Phase, ShutdownMark, boot_mark, shutdown_mark};
use crate::prefix::{Line, Source};
use crate::prompt::{PromptKind, prompt_kind};
use crate::shell::shell_answer;
use crate::sysrq::read_answer;
use crate::trouble::recognise;

/// Reads a console as it comes. The events do not depend on how the bytes were cut into chunks; what it
/// keeps between chunks is bounded (one line and one report).
///
/// A report of several lines is one event, given when the report is over. A guest that died says
/// nothing more: ask [`Reader::open_trouble`] for the report that is being read, and call
/// [`Reader::flush`] once the console has been quiet for a second.
#[derive(Debug, Default)]
pub struct Reader {
    assembler: Assembler,
    state: State,
}

/// Stamped lines after which a line without a stamp is not taken for the kernel's.
const STAMPS_TO_TRUST: u32 = 3;
/// Lines within which a report counts as a consequence of the one before.
const CHAIN_LINES: u64 = 200;

#[derive(Debug, Default)]
struct State {
    labels: Vec<LabelRule>,
    block: Option<Block>,
    /// Lines with a kernel's stamp in a row of one boot.
    n_stamped: u32,
    n_lines: u64,
    /// Start of the last report, and the line at which it was given.
    last_report: Option<(u64, u64)>,
    phase: Phase,
    last_prompt: Option<PromptKind>,
}

impl Reader {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader that also reports these labels.
    pub fn with_labels(labels: Vec<LabelRule>) -> Self {
        Self { state: State { labels, ..State::default() }, ..Self::default() }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let state = &mut self.state;
        self.assembler.push(bytes, |raw| Line::each(&raw.text, raw.range, |it| state.line(it, &mut events)));
        events
    }

    /// Goes on after `lost` bytes of the stream that nobody could read: positions stay those of the stream,
    /// and the two sides of the gap are never read as one line or one report.
    pub fn skip(&mut self, lost: u64) -> Vec<Event> {
        let mut events = Vec::new();
        let state = &mut self.state;
        self.assembler.skip(lost, |raw| Line::each(&raw.text, raw.range, |it| state.line(it, &mut events)));
        self.state.close(&mut events);
        events
    }

    /// Ends the report that is being read, since the console is quiet: its event, if there is one.
    pub fn flush(&mut self) -> Option<Event> {
        let mut events = Vec::new();
        self.state.close(&mut events);
        events.pop()
    }

    /// The report that is being read: known as soon as its first line is.
    pub fn open_trouble(&self) -> Option<&Trouble> {
        self.state.block.as_ref().map(|it| &it.trouble)
    }

    /// The unfinished line: where a prompt waits.
    pub fn pending_line(&self) -> Cow<'_, str> {
        self.assembler.pending()
    }

    /// The prompt that the console waits at, if what it said last is one. A finished line counts while
    /// nothing followed it, since some prompts are whole lines (`Press Enter for maintenance`).
    pub fn prompt(&self) -> Option<PromptKind> {
        let pending = self.pending_line();
        if pending.trim().is_empty() { self.state.last_prompt } else { prompt_kind(&pending) }
    }

    /// Where the guest is between reset and power-off.
    pub fn phase(&self) -> Phase {
        self.state.phase
    }

    /// Whether nothing may be typed now: firmware or a boot loader has the console, or a prompt that only a
    /// person may answer.
    pub fn must_stay_silent(&self) -> bool {
        matches!(self.phase(), Phase::Firmware | Phase::Bootloader)
            || self.prompt().is_some_and(PromptKind::must_not_be_answered)
    }

    /// Bytes taken so far: the next byte's position.
    pub fn offset(&self) -> u64 {
        self.assembler.offset()
    }
}

impl State {
    fn line(&mut self, line: &Line<'_>, events: &mut Vec<Event>) {
        self.n_lines += 1;
        self.last_prompt = if line.source == Source::Unknown { prompt_kind(line.text) } else { None };
        if line.source == Source::Kernel {
            self.n_stamped = self.n_stamped.saturating_add(1);
        }
        self.trouble(line, events);
        self.marks(line, events);
        if line.source == Source::Unknown {
            if let Some(kind) = self.last_prompt {
                self.emit(line, EventKind::Prompt(kind), events);
            } else if let Some(answer) = shell_answer(line.text) {
                self.emit(line, EventKind::Shell(answer), events);
            }
        }
        if let Some(answer) = read_answer(line.text).filter(|_| line.source != Source::Program) {
            self.emit(line, EventKind::Sysrq(answer), events);
        }
        // A line may be a label to several: each of them waits for its own.
        let labels: Vec<String> =
            self.labels.iter().filter(|it| it.matches(line.text)).map(|it| it.name.clone()).collect();
        for rule in labels {
            let kind = EventKind::Label { rule, text: line.text.to_owned(), counter: last_number(line.text) };
            self.emit(line, kind, events);
        }
    }

    fn trouble(&mut self, line: &Line<'_>, events: &mut Vec<Event>) {
        let found = if self.may_be_kernel(line) { recognise(line.text) } else { None };
        let found = found.filter(|it| !it.weak || line.source == Source::Kernel);
        if let Some(mut block) = self.block.take() {
            let swallowed = found.as_ref().is_some_and(|it| block.swallows(it));
            if found.is_none() || swallowed {
                let taken = block.offer(line, swallowed);
                self.block = Some(block);
                if matches!(taken, Taken::Last | Taken::Over) {
                    self.close(events);
                }
                return;
            }
            self.block = Some(block);
            self.close(events);
        }
        let Some(found) = found else { return };
        let recent = |it: &(u64, u64)| self.n_lines - it.1 <= CHAIN_LINES;
        let follows = self.last_report.filter(recent).map(|it| it.0).filter(|_| found.block);
        let is_block = found.block;
        self.block = Some(Block::start(line, found, follows));
        if !is_block {
            self.close(events);
        }
    }

    /// Whether a line may be the kernel's: once lines carry stamps, one without is somebody else's,
    /// unless its stamp is torn.
    fn may_be_kernel(&self, line: &Line<'_>) -> bool {
        match line.source {
            Source::Kernel => true,
            Source::Program => false,
            Source::Unknown => self.n_stamped < STAMPS_TO_TRUST,
        }
    }

    fn marks(&mut self, line: &Line<'_>, events: &mut Vec<Event>) {
        if let Some(mark) = boot_mark(line, self.last_prompt) {
            self.phase = Phase::after_boot(&mark);
            if matches!(mark, BootMark::Kernel { .. } | BootMark::Firmware) {
                self.n_stamped = 0;
            }
            self.emit(line, EventKind::Boot(mark), events);
        } else if let Some(mark) = shutdown_mark(line) {
            if mark != ShutdownMark::RestartAfterPanic {
                self.phase = Phase::GoingDown;
            }
            self.emit(line, EventKind::Shutdown(mark), events);
        }
    }

    fn emit(&mut self, line: &Line<'_>, kind: EventKind, events: &mut Vec<Event>) {
        events.push(Event { range: line.range.clone(), stamp_us: line.stamp_us, kind });
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        let Some(block) = self.block.take() else { return };
        self.last_report = Some((block.range.start, self.n_lines));
        let kind = EventKind::Trouble(Box::new(block.trouble));
        events.push(Event { range: block.range, stamp_us: block.stamp_us, kind });
    }
}

#[cfg(test)]
mod tests;
