//! Interrupts and soft interrupts, counted.
//!
//! Lines are in a radix tree until v6.4 and in a maple tree since (commit 721255b9826b). Each counts by CPU:
//! numbers of 32 bits, since v6.10 the first member of a `struct irqstat` (commit 86d2a2f51fba).

use vmward_kernel_facts::machine::{Interrupt, Interrupts, SoftIrq};

use super::object::{Object, symbol};
use super::tree::{maple, xarray};
use crate::{Kernel, ReadError};

/// Handlers of a line at most.
const MAX_HANDLERS: usize = 64;
/// Kinds of soft interrupts (`NR_SOFTIRQS`), unchanged since v3.7.
const SOFT_IRQS: u64 = 10;
const MAX_NAME: usize = 32;

/// Reads them.
///
/// # Errors
/// What a read of the tree or of a line said.
pub fn read(kernel: &Kernel<'_>) -> Result<Interrupts, ReadError> {
    let descriptors = match kernel.symbol("sparse_irqs") {
        Some(tree) => maple(kernel, tree)?,
        None => xarray(kernel, symbol(kernel, "irq_desc_tree")?)?,
    };
    let mut lines = Vec::new();
    for at in descriptors {
        lines.extend(read_line(Object::new(kernel, "irq_desc", at))?);
    }
    Ok(Interrupts { cpus: kernel.cpus().to_vec(), lines, soft: soft(kernel)? })
}

/// A line; `None` if nobody handles it.
fn read_line(line: Object<'_, '_>) -> Result<Option<Interrupt>, ReadError> {
    let kernel = line.kernel;
    let mut handlers = Vec::new();
    let mut action = line.follow("action", "irqaction")?;
    while let Some(at) = action.filter(|_| handlers.len() < MAX_HANDLERS) {
        handlers.push(at.text_behind("name")?.unwrap_or_default());
        action = at.follow("next", "irqaction")?;
    }
    if handlers.is_empty() {
        return Ok(None);
    }
    let chip = line.follow("irq_data.chip", "irq_chip")?;
    let counts = line.number("kstat_irqs")?;
    let count = |cpu: &u32| {
        let offset = kernel.per_cpu_offset(*cpu).unwrap_or(0);
        kernel.space.u32(counts.wrapping_add(offset)).map(u64::from)
    };
    Ok(Some(Interrupt {
        irq: line.small("irq_data.irq")?,
        chip: chip.map(|it| it.text_behind("name")).transpose()?.flatten().unwrap_or_default(),
        handlers,
        counts: kernel.cpus().iter().map(count).collect::<Result<_, _>>()?,
        // A line that each CPU enables for itself stays at depth 1.
        disabled: line.number("depth")? != 0 && line.number("percpu_enabled").unwrap_or(0) == 0,
        unhandled: line.small("irqs_unhandled")?,
    }))
}

fn soft(kernel: &Kernel<'_>) -> Result<Vec<SoftIrq>, ReadError> {
    let names = symbol(kernel, "softirq_to_name")?;
    let mut pending = Vec::new();
    for cpu in kernel.cpus() {
        pending.push((*cpu, pending_of(kernel, *cpu)));
    }
    let one = |index: u64| {
        let name = kernel.space.text(kernel.space.u64(names.wrapping_add(index * 8))?, MAX_NAME)?;
        let count = |cpu: &u32| {
            let stat = Object::per_cpu(kernel, "kernel_stat", "kstat", *cpu)?;
            kernel.space.u32(stat.address("softirqs")?.wrapping_add(index * 4)).map(u64::from)
        };
        let raised = pending.iter().filter(|(_, bits)| bits & (1 << index) != 0);
        Ok(SoftIrq {
            name,
            counts: kernel.cpus().iter().map(count).collect::<Result<_, ReadError>>()?,
            pending: raised.map(|(cpu, _)| *cpu).collect(),
        })
    };
    (0..SOFT_IRQS).map(one).collect()
}

/// Soft interrupts that are raised on a CPU. On x86 a member of `irq_stat`, from v6.2 of `pcpu_hot`, in v7.2
/// a variable of its own; 0 if it is in none of them.
fn pending_of(kernel: &Kernel<'_>, cpu: u32) -> u32 {
    let own = kernel.per_cpu("__softirq_pending", cpu).and_then(|it| kernel.space.u16(it).ok());
    let member = |of, name, member: &str| Object::per_cpu(kernel, of, name, cpu)?.small(member);
    own.map(u32::from)
        .or_else(|| member("pcpu_hot", "pcpu_hot", "softirq_pending").ok())
        .or_else(|| member("irq_cpustat_t", "irq_stat", "__softirq_pending").ok())
        .unwrap_or(0)
}
