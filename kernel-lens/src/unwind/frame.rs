//! What an unwinder found: frames, and why there are no more.

use thiserror::Error;
use vmward_kernel_facts::Frame;

use crate::Symbol;

/// How the code of a frame came to stand where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A CPU is about to run this instruction.
    Running,
    /// The task was made and never ran: this is where it will begin.
    NotStarted,
    /// It called the frame before; the address is the one that the call returns to.
    Call,
    /// An interrupt came before this instruction.
    Interrupt,
    /// This instruction raised an exception (page fault, double fault, breakpoint), or one came.
    Exception,
    /// A non-maskable interrupt came before this instruction.
    Nmi,
}

/// How a frame was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// Registers of a CPU, or saved by entry code or by the scheduler.
    Registers,
    /// The kernel's ORC tables.
    Orc,
    /// The chain of frame pointers, or of arm64's frame records.
    FramePointer,
    /// A link register that holds the caller: no record of its own is there yet, by the function's code.
    LinkRegister,
    /// Given back by what a tracer keeps of the return addresses that it replaced.
    Hook,
    /// A frame pointer where the tables know nothing (code made at run time), not confirmed by a call.
    Guess,
    /// An address that lies on the stack behind a call, where nothing better is known.
    Scan,
}

/// One frame, not yet named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawFrame {
    /// Instruction pointer.
    pub address: u64,
    /// Stack pointer in that frame; of a frame record its own address.
    pub sp: u64,
    /// How it came to stand here.
    pub kind: FrameKind,
    /// How it was found.
    pub how: How,
}

impl RawFrame {
    /// Whether the frame was really reached: what the kernel prints without `?`.
    pub fn sure(&self) -> bool {
        !matches!(self.how, How::Guess | How::Scan)
    }

    /// An address inside of the code that the frame is in: a call may be a function's last instruction.
    pub fn lookup(&self) -> u64 {
        match self.kind {
            FrameKind::Call => self.address.wrapping_sub(1),
            _ => self.address,
        }
    }
}

/// The registers with which a task left user mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserEntry {
    /// Where they lie (`struct pt_regs`); `None` for those of a CPU in user mode.
    pub pt_regs: Option<u64>,
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer: `rbp` or `x29`.
    pub fp: u64,
}

/// Why a stack cannot be followed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum BadFrame {
    /// The task or its stack cannot be read.
    #[error("guest-virtual address {0:#x} cannot be read")]
    Unreadable(u64),
    /// The address lies in no code that is known.
    #[error("{0:#x} is not code")]
    NotCode(u64),
    /// The tables say that nothing is known here.
    #[error("the tables know nothing of {0:#x}")]
    Undefined(u64),
    /// The tables need a register that was not saved.
    #[error("a register that was not saved is needed at {0:#x}")]
    NeedsRegister(u64),
    /// What should lie on the stack does not.
    #[error("{0:#x} is not on a stack of this task or its CPU")]
    OutsideStack(u64),
    /// The stack does not rise: a loop.
    #[error("the stack turns back at {0:#x}")]
    NotRising(u64),
    /// The task is dead and its stack is gone.
    #[error("the task has no stack any more")]
    NoStack,
    /// This kernel lacks what would be needed (types or symbols).
    #[error("this kernel does not tell where a task's stack is")]
    Unsupported,
    /// There are ORC tables of a form that is not known.
    #[error("the unwind tables have a form that is not known")]
    UnknownTables,
}

/// Why there are no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// User space entered the kernel here.
    User(UserEntry),
    /// The start of a kernel thread.
    Kthread,
    /// Nothing called the last frame: the boot code of a CPU, or entry code's first instructions.
    Outermost,
    /// What follows makes no sense.
    Bad(BadFrame),
    /// More frames than any kernel has.
    Limit,
}

impl End {
    /// Whether the stack was seen to its end.
    pub fn is_true_end(self) -> bool {
        matches!(self, Self::User(_) | Self::Kthread | Self::Outermost)
    }
}

/// A stack as it was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwound {
    /// Innermost first.
    pub frames: Vec<RawFrame>,
    /// Why there are no more.
    pub end: End,
}

/// The symbol of an address and the module that holds it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The symbol.
    pub symbol: Symbol<'a>,
    /// `None`: the kernel's image.
    pub module: Option<&'a str>,
}

impl Unwound {
    /// The frames with their names, as the kernel prints them. `place` names an address.
    pub fn named<'a>(&self, place: impl Fn(u64) -> Option<Place<'a>>) -> Vec<Frame> {
        let named = |it: &RawFrame| {
            let found = place(it.lookup());
            Frame {
                symbol: found.map(|it| it.symbol.name.to_owned()),
                offset: found.map(|found| it.address.wrapping_sub(found.symbol.address)),
                size: found.map(|it| it.symbol.size),
                module: found.and_then(|it| it.module).map(str::to_owned),
                address: Some(it.address),
                sure: it.sure(),
            }
        };
        self.frames.iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Symbols;

    #[test]
    fn a_call_is_named_by_the_function_that_made_it_though_it_was_its_last_instruction() {
        let symbols = Symbols::new([(0x1000, b'T', "dies"), (0x1040, b'T', "next"), (0x1080, b'T', "_end")]);
        let frame = |kind, how| RawFrame { address: 0x1040, sp: 0, kind, how };
        let frames = vec![frame(FrameKind::Call, How::Orc), frame(FrameKind::Exception, How::Scan)];
        let unwound = Unwound { frames, end: End::Kthread };
        let named = unwound.named(|at| Some(Place { symbol: symbols.at(at)?, module: Some("m") }));
        let text: Vec<_> = named.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["dies+0x40/0x40 [m]", "? next+0x0/0x40 [m]"]);
    }
}
