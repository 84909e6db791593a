//! Interrupts and soft interrupts, counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One interrupt line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interrupt {
    /// Its number.
    pub irq: u32,
    /// Its controller (`IO-APIC`, `PCI-MSIX-0000:00:03.0`).
    pub chip: String,
    /// Who handles it.
    pub handlers: Vec<String>,
    /// Times that it came, by CPU online.
    pub counts: Vec<u64>,
    /// It is disabled.
    pub disabled: bool,
    /// Times that nobody wanted it, lately.
    pub unhandled: u32,
}

/// One kind of soft interrupt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SoftIrq {
    /// Its name (`NET_RX`).
    pub name: String,
    /// Times that it ran, by CPU online.
    pub counts: Vec<u64>,
    /// CPUs on which it is raised and has not run yet.
    pub pending: Vec<u32>,
}

/// Interrupts and soft interrupts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interrupts {
    /// CPUs that the counts are of.
    pub cpus: Vec<u32>,
    /// Lines that somebody handles.
    pub lines: Vec<Interrupt>,
    /// Soft interrupts.
    pub soft: Vec<SoftIrq>,
}
