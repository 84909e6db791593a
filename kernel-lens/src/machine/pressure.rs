//! How much time tasks lost for want of CPU, memory and disk: `psi_system` (`struct psi_group`).

use vmward_kernel_facts::machine::{Pressure, PressureLine};

use super::object::Object;
use crate::{Kernel, ReadError};

/// Averages are fixed-point numbers in percent with 11 bits behind the point (`FSHIFT`).
const AVERAGE_BITS: u32 = 11;

/// Reads it; `None` if the kernel was booted with it off.
///
/// # Errors
/// [`ReadError::Inconsistent`] for a kernel without it; what a read said.
pub fn read(kernel: &Kernel<'_>) -> Result<Option<Pressure>, ReadError> {
    // A static key: above 0 if it is on.
    let disabled = kernel.symbol("psi_disabled").map(|it| kernel.space.u32(it)).transpose()?;
    if disabled.is_some_and(|it| it.cast_signed() > 0) {
        return Ok(None);
    }
    let group = Object::symbol(kernel, "psi_group", "psi_system")?;
    let line = |state: &'static str| -> Result<PressureLine, ReadError> {
        let unknown = ReadError::Inconsistent { what: state, virt: group.at };
        let index = kernel.types.enumerator(state).and_then(|it| u64::try_from(it).ok()).ok_or(unknown)?;
        let average = |which| Ok::<_, ReadError>(hundredths(group.element("avg", index * 3 + which)?));
        Ok(PressureLine {
            average: [average(0)?, average(1)?, average(2)?],
            // The first row is what the averages are made from; another is for pollers.
            total_usec: group.element("total", index)? / 1000,
        })
    };
    Ok(Some(Pressure {
        io_some: line("PSI_IO_SOME")?,
        io_full: line("PSI_IO_FULL")?,
        memory_some: line("PSI_MEM_SOME")?,
        memory_full: line("PSI_MEM_FULL")?,
        cpu_some: line("PSI_CPU_SOME")?,
    }))
}

/// As `psi_show()` prints it: not rounded.
fn hundredths(fixed: u64) -> u64 {
    (fixed >> AVERAGE_BITS).saturating_mul(100)
        + (((fixed & ((1 << AVERAGE_BITS) - 1)) * 100) >> AVERAGE_BITS)
}

#[cfg(test)]
mod tests {
    use super::hundredths;

    #[test]
    fn averages_are_percents_with_two_places() {
        assert_eq!((hundredths(0), hundredths(2048), hundredths(2047)), (0, 100, 99));
        assert_eq!(hundredths(100 << 11), 10_000);
    }
}
