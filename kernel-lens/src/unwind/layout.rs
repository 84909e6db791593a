//! The sizes and offsets that unwinding needs, asked of the kernel's types once.

/// Sizes and offsets in bytes. `None`: this kernel has no such type or member.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layout {
    /// `union thread_union` is as long as a kernel stack.
    pub thread_size: Option<u64>,
    /// Lowest address of a task's stack.
    pub task_stack: Option<u64>,
    /// x86: the stack pointer of a task that does not run.
    pub thread_sp: Option<u64>,
    /// arm64: the callee-saved registers of a task that does not run.
    pub cpu_context: Option<u64>,
    /// arm64: bytes of `pt_regs`, which grew several times.
    pub pt_regs: Option<u64>,
    /// arm64: the frame record in `pt_regs`.
    pub stackframe: Option<u64>,
    /// arm64: whether records of exceptions say what they are (v6.13, commit c2c6b27b5aa1).
    pub has_meta_records: bool,
    /// x86 v6.2 to v6.14: where `pcpu_hot` holds the interrupt stack.
    pub pcpu_hot_irq_stack: Option<u64>,
    /// x86: where each of a CPU's exception stacks begins and ends; guard pages lie between.
    pub exception_stacks: [Option<(u64, u64)>; 6],
    /// x86: from `cpu_entry_area` to the exception stacks, and to the page that entry code starts on.
    pub entry_area: Option<(u64, u64)>,
    /// Loaded modules.
    pub module: ModuleLayout,
    /// Return addresses that tracers replaced.
    pub hooks: HookLayout,
    /// Code made at run time.
    pub made: MadeCodeLayout,
}

/// Of `struct module`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModuleLayout {
    /// The entry of the list of modules.
    pub list: Option<u64>,
    /// Since v6.4 (commit ac3b43283923): the array of memories, base and size in one, and its length.
    pub mem: Option<[u64; 4]>,
    /// Before: base and text size, of what stays and of what is freed after its start.
    pub layouts: Option<[[u64; 2]; 2]>,
    /// Count of ORC entries, their addresses, the entries.
    pub orc: Option<[u64; 3]>,
}

/// Of what remembers the return addresses that a tracer replaced.
#[derive(Debug, Clone, Copy, Default)]
pub struct HookLayout {
    /// In the task: the shadow stack of the function graph tracer and its depth.
    pub ret_stack: Option<[u64; 2]>,
    /// An entry of it: the true address, where it stood on the stack, bytes of one.
    pub ret_entry: Option<[u64; 3]>,
    /// In the task: the first hook (since v5.18, commit 54ecbe6f1ed5).
    pub rethooks: Option<u64>,
    /// A hook: next, true address, place on the stack.
    pub rethook: Option<[u64; 3]>,
    /// In the task: the first return probe (v5.11 to what has rethooks, commit d741bf41d7c7).
    pub kretprobes: Option<u64>,
    /// A return probe: next, true address, place on the stack.
    pub kretprobe: Option<[u64; 3]>,
}

/// Of the lists of code that was made at run time.
#[derive(Debug, Clone, Copy, Default)]
pub struct MadeCodeLayout {
    /// `bpf_ksym` (since v5.7): list entry, start, end, name.
    pub bpf_ksym: Option<[u64; 4]>,
    /// `ftrace_ops`: next, flags, trampoline, bytes of it.
    pub ftrace_ops: Option<[u64; 4]>,
}

/// Exception stacks and what follows each (`ESTACKS_MEMBERS`). Up to v5.9 the last two are not there.
const EXCEPTION_STACKS: [(&str, &str); 6] = [
    ("DF_stack", "NMI_stack_guard"),
    ("NMI_stack", "DB_stack_guard"),
    ("DB_stack", "MCE_stack_guard"),
    ("MCE_stack", "VC_stack_guard"),
    ("VC_stack", "VC2_stack_guard"),
    ("VC2_stack", "IST_top_guard"),
];

impl Layout {
    /// Asks for all of them: `size` of a type, `offset` of a member path in a type.
    pub fn gather(size: impl Fn(&str) -> Option<u64>, offset: impl Fn(&str, &str) -> Option<u64>) -> Self {
        let task = |path: &str| offset("task_struct", path);
        let estacks = offset("cpu_entry_area", "estacks");
        let entry_stack = offset("cpu_entry_area", "entry_stack_page");
        Self {
            thread_size: size("thread_union"),
            task_stack: task("stack"),
            thread_sp: task("thread.sp"),
            cpu_context: task("thread.cpu_context"),
            pt_regs: size("pt_regs"),
            stackframe: offset("pt_regs", "stackframe"),
            has_meta_records: size("frame_record_meta").is_some(),
            pcpu_hot_irq_stack: offset("pcpu_hot", "hardirq_stack_ptr"),
            exception_stacks: EXCEPTION_STACKS.map(|(from, to)| {
                let at = |member| offset("cea_exception_stacks", member);
                at(from).zip(at(to))
            }),
            entry_area: estacks.zip(entry_stack),
            module: ModuleLayout::gather(&size, &offset),
            hooks: HookLayout::gather(&size, &offset),
            made: MadeCodeLayout::gather(&offset),
        }
    }
}

impl ModuleLayout {
    fn gather(size: impl Fn(&str) -> Option<u64>, offset: impl Fn(&str, &str) -> Option<u64>) -> Self {
        let of = |path: &str| offset("module", path);
        let memory = |path: &str| offset("module_memory", path);
        let layout = |base, text| Some([of(base)?, of(text)?]);
        Self {
            list: of("list"),
            mem: (|| Some([of("mem")?, memory("base")?, memory("size")?, size("module_memory")?]))(),
            layouts: (|| {
                let stays = layout("core_layout.base", "core_layout.text_size")?;
                Some([stays, layout("init_layout.base", "init_layout.text_size")?])
            })(),
            orc: (|| Some([of("arch.num_orcs")?, of("arch.orc_unwind_ip")?, of("arch.orc_unwind")?]))(),
        }
    }
}

impl HookLayout {
    fn gather(size: impl Fn(&str) -> Option<u64>, offset: impl Fn(&str, &str) -> Option<u64>) -> Self {
        let task = |path: &str| offset("task_struct", path);
        let three = |of: &str, [a, b, c]: [&str; 3]| Some([offset(of, a)?, offset(of, b)?, offset(of, c)?]);
        let entry = "ftrace_ret_stack";
        Self {
            ret_stack: task("ret_stack").zip(task("curr_ret_stack")).map(|(a, b)| [a, b]),
            ret_entry: (|| Some([offset(entry, "ret")?, offset(entry, "retp")?, size(entry)?]))(),
            rethooks: task("rethooks.first"),
            rethook: three("rethook_node", ["node", "ret_addr", "frame"]),
            kretprobes: task("kretprobe_instances.first"),
            kretprobe: three("kretprobe_instance", ["llist", "ret_addr", "fp"]),
        }
    }
}

impl MadeCodeLayout {
    fn gather(offset: impl Fn(&str, &str) -> Option<u64>) -> Self {
        let four = |of: &str, [a, b, c, d]: [&str; 4]| {
            Some([offset(of, a)?, offset(of, b)?, offset(of, c)?, offset(of, d)?])
        };
        Self {
            bpf_ksym: four("bpf_ksym", ["lnode", "start", "end", "name"]),
            ftrace_ops: four("ftrace_ops", ["next", "flags", "trampoline", "trampoline_size"]),
        }
    }
}
