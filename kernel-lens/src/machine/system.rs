//! What kernel it is, and whether it is still well: variables of the kernel's own.

use vmward_kernel_facts::machine::{Load, PanicState, System, Taint};

use super::object::{Object, symbol};
use crate::{Kernel, ReadError};

/// Bytes of a command line at most (`COMMAND_LINE_SIZE` is 2048 on both architectures; s390 has 4096).
const MAX_COMMAND_LINE: usize = 4096;
/// Load averages are fixed-point numbers with 11 bits behind the point (`FSHIFT`).
const LOAD_BITS: u32 = 11;

/// Reads it.
///
/// # Errors
/// What the read of one of the variables that every kernel has said.
pub fn read(kernel: &Kernel<'_>) -> Result<System, ReadError> {
    let uts = Object::symbol(kernel, "uts_namespace", "init_uts_ns")?;
    let tainted = kernel.space.u64(symbol(kernel, "tainted_mask")?)?;
    let command_line = kernel.space.u64(symbol(kernel, "saved_command_line")?)?;
    Ok(System {
        release: uts.text("name.release")?,
        version: uts.text("name.version")?,
        node: uts.text("name.nodename")?,
        machine: uts.text("name.machine")?,
        command_line: kernel.space.text(command_line, MAX_COMMAND_LINE)?,
        load: load(kernel)?,
        tainted,
        taints: Taint::of(tainted),
        panic: panic_state(kernel)?,
        online: kernel.online().to_vec(),
    })
}

fn load(kernel: &Kernel<'_>) -> Result<Load, ReadError> {
    let at = symbol(kernel, "avenrun")?;
    let one = |index: u64| Ok(hundredths(kernel.space.u64(at.wrapping_add(index * 8))?));
    Ok(Load { one: one(0)?, five: one(1)?, fifteen: one(2)? })
}

/// `LOAD_INT` and `LOAD_FRAC` of `fs/proc/loadavg.c`, with its rounding.
pub(super) fn hundredths(fixed: u64) -> u64 {
    let rounded = fixed.saturating_add((1 << LOAD_BITS) / 200);
    (rounded >> LOAD_BITS).saturating_mul(100) + (((rounded & ((1 << LOAD_BITS) - 1)) * 100) >> LOAD_BITS)
}

fn panic_state(kernel: &Kernel<'_>) -> Result<PanicState, ReadError> {
    let number = |name| Ok::<_, ReadError>(kernel.space.u32(symbol(kernel, name)?)?.cast_signed());
    let count = |name| kernel.space.u32(kernel.symbol(name)?).ok();
    Ok(PanicState {
        // PANIC_CPU_INVALID is -1.
        cpu: u32::try_from(number("panic_cpu")?).ok(),
        oops_in_progress: number("oops_in_progress")?,
        oops_count: count("oops_count"),
        warn_count: count("warn_count"),
        panic_on_oops: number("panic_on_oops")? != 0,
        panic_timeout: number("panic_timeout")?,
    })
}

#[cfg(test)]
mod tests {
    use super::hundredths;

    #[test]
    fn load_is_rounded_as_the_kernel_rounds_it() {
        // 0.00, 1.00 and 0.15 of a kernel: the last is 307 of 2048.
        assert_eq!((hundredths(0), hundredths(2048), hundredths(307)), (0, 100, 15));
        assert!(hundredths(u64::MAX) > 0);
    }
}
