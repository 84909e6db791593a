//! The system call that a task is in: the user registers at the top of its kernel stack.

use vmward_kernel_facts::Syscall;

use super::field::Field;
use super::syscall_names::{GENERIC, SHARED, X86_64};
use crate::kernel::stack_size;
use crate::{Arch, Kernel};

/// Number from which on all architectures share their numbers.
const SHARED_FROM: usize = 424;

/// Where the user registers (`struct pt_regs`) lie and what is in them.
pub(super) struct Entry {
    arch: Arch,
    /// Bytes of a kernel stack.
    stack_size: u64,
    /// Bytes of `struct pt_regs`.
    size: usize,
    number: Field,
    /// The six arguments, the first one as it was at the call.
    args: [Field; 6],
    ip: Field,
    sp: Field,
    /// x86: the code segment, which tells user space and 32-bit code.
    cs: Field,
    /// arm64: the processor state, whose exception level is 0 in user space.
    pstate: Field,
    /// The kernel's own table: names of calls that are newer than ours.
    table: Option<u64>,
}

/// x86: code segments of user space, 64-bit and 32-bit (`__USER_CS`, `__USER32_CS`).
const USER_CS: u64 = 0x33;
const USER32_CS: u64 = 0x23;
/// arm64: exception level and execution state (`PSR_MODE_MASK`); the 32-bit bit of it.
const MODE: u64 = 0x1f;
const MODE32: u64 = 0x10;

/// Bytes above the registers: none, or 16 where the kernel can use FRED, which pushes two words more
/// (`TOP_OF_KERNEL_STACK_PADDING`, commit 65c9cc9e2c14, v6.9).
const X86_PADDINGS: [u64; 2] = [0, 16];

impl Entry {
    /// `None` if this kernel's types do not tell.
    pub(super) fn new(kernel: &Kernel<'_>) -> Option<Self> {
        let field = |paths: &[&str]| Field::find(kernel, "pt_regs", paths);
        let args = match kernel.arch {
            Arch::X86_64 => ["di", "si", "dx", "r10", "r8", "r9"].map(|it| field(&[it])),
            Arch::Aarch64 => {
                ["orig_x0", "regs[1]", "regs[2]", "regs[3]", "regs[4]", "regs[5]"].map(|it| field(&[it]))
            }
        };
        let (number, ip) = match kernel.arch {
            Arch::X86_64 => (field(&["orig_ax"]), field(&["ip"])),
            Arch::Aarch64 => (field(&["syscallno"]), field(&["pc"])),
        };
        Some(Self {
            arch: kernel.arch,
            stack_size: stack_size(&kernel.symbols)?,
            size: kernel.types.size("pt_regs").and_then(|it| usize::try_from(it).ok())?.min(4096),
            number,
            args,
            ip,
            sp: field(&["sp"]),
            cs: field(&["cs"]),
            pstate: field(&["pstate"]),
            table: kernel.symbol("sys_call_table"),
        })
    }

    /// The call of a task with this kernel stack. `None` if it came into the kernel in another way, or never
    /// was in user space.
    ///
    /// Only of a task that is in the kernel: the registers of one that runs user code are those of its
    /// last entry.
    pub(super) fn read(&self, kernel: &Kernel<'_>, stack: u64) -> Option<Syscall> {
        let top = stack.checked_add(self.stack_size)?;
        let paddings: &[u64] = if self.arch == Arch::X86_64 { &X86_PADDINGS } else { &[0] };
        paddings.iter().find_map(|padding| {
            let at = top.checked_sub(self.size as u64)?.checked_sub(*padding)?;
            self.parse(kernel, &kernel.space.bytes(at, self.size).ok()?)
        })
    }

    fn parse(&self, kernel: &Kernel<'_>, regs: &[u8]) -> Option<Syscall> {
        let compat = match self.arch {
            // The type of cs is 16 bits wide since v6.9, with more above.
            Arch::X86_64 => match self.cs.get(regs, 0)? & 0xffff {
                USER_CS => false,
                USER32_CS => true,
                _ => return None,
            },
            Arch::Aarch64 => match self.pstate.get(regs, 0)? & MODE {
                0 => false,
                MODE32 => true,
                _ => return None,
            },
        };
        let number = self.number.get(regs, 0)?;
        // -1 is an entry that was no call; a number has 32 bits on both architectures.
        let number = i64::from((number as u32).cast_signed());
        let word = |field: Field| field.get(regs, 0).unwrap_or(0);
        let (user_ip, user_sp) = (word(self.ip), word(self.sp));
        if number < 0 || (user_ip == 0 && user_sp == 0) {
            return None;
        }
        let name = if compat { None } else { self.name(kernel, number) };
        Some(Syscall { number, name, args: self.args.map(word), user_sp, user_ip, compat, files: Vec::new() })
    }

    fn name(&self, kernel: &Kernel<'_>, number: i64) -> Option<String> {
        let number = usize::try_from(number).ok()?;
        if let Some(known) = name(self.arch, number) {
            return Some(known.to_owned());
        }
        // `sys_call_table[number]` is `__x64_sys_NAME` or `__arm64_sys_NAME`.
        let entry = self.table?.checked_add(8 * u64::try_from(number).ok().filter(|it| *it < 1024)?)?;
        let function = kernel.symbols.at(kernel.space.u64(entry).ok()?)?;
        let (_, name) = function.name.split_once("_sys_")?;
        (name != "ni_syscall").then(|| name.to_owned())
    }
}

/// The name of a call's number.
fn name(arch: Arch, number: usize) -> Option<&'static str> {
    let own: &[&str] = match arch {
        Arch::X86_64 => &X86_64,
        Arch::Aarch64 => &GENERIC,
    };
    let shared = || SHARED.get(number.checked_sub(SHARED_FROM)?);
    own.get(number).or_else(shared).copied().filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_names_of_their_architecture() {
        let x86 = |number| name(Arch::X86_64, number);
        let arm = |number| name(Arch::Aarch64, number);
        assert_eq!((x86(0), arm(63)), (Some("read"), Some("read")));
        assert_eq!((x86(230), arm(115)), (Some("clock_nanosleep"), Some("clock_nanosleep")));
        assert_eq!((x86(128), arm(137)), (Some("rt_sigtimedwait"), Some("rt_sigtimedwait")));
        assert_eq!((x86(449), arm(449)), (Some("futex_waitv"), Some("futex_waitv")));
        assert_eq!((x86(400), arm(300)), (None, None));
        assert_eq!(x86(usize::MAX), None);
    }
}
