//! What can be known of a Linux kernel, whoever read it: tasks, stacks, CPUs, memory.
//!
//! The same types come out of a SysRq dump on a console and out of guest memory, so that captures,
//! stack folding and wait analysis are written once. Plain data with serde and JSON Schema; no I/O.
//!
//! Start at [`Task`]; [`wait_kind`] says what a task waits for, [`fold_stacks`] groups equal stacks.

mod ask;
mod border;
mod cpu;
mod examination;
mod fold;
mod frame;
mod log;
pub mod machine;
mod memory;
mod samples;
mod task;
mod task_detail;
mod wait;
mod wait_graph;
mod wait_table;
mod wait_target;
mod wait_words;

pub use ask::{Answer, Ask, FoundSymbol, Place};
pub use border::{
    Border, BorderDevice, BorderQueue, BorderRequest, BorderThread, Debtor, MatchedBy, QemuQueue,
};
pub use cpu::CpuStack;
pub use examination::{Examination, ExaminationCost, FoundBy, KernelIdentity, Machine};
pub use fold::{StackGroup, fold_stacks};
pub use frame::Frame;
pub use log::{KernelLog, LogCaller, LogRecord, LogStyle};
pub use memory::{MemSummary, ZoneSummary};
pub use samples::{SampledCpu, SampledStack, Sampler, Samples};
pub use task::{Task, TaskState};
pub use task_detail::{
    CgroupV1, SchedPolicy, Scheduling, Syscall, SyscallFile, TaskKind, TaskMemory, TimeInState,
};
pub use wait::{WaitKind, is_scheduler_glue, symbol_stem, wait_kind, wait_of_stack};
pub use wait_graph::{WaitEdge, WaitEnd, WaitGraph, WaitProof, WaitRoot};
pub use wait_table::{FREEZE_CALLERS, WAIT_SYMBOLS, WaitSymbol};
pub use wait_target::{MAX_WAITED_FILES, WaitTarget, WaitedFile};
