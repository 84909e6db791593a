//! The real pause behind [`Pauser`]: the guardian's two operations.

use std::collections::BTreeMap;

use vmward_model::observed::VcpuRegisters;

use super::{PauseError, Paused, Pauser, Step};
use crate::guardian::{Captured, L2Error, L2Settings, registers_by_dump, registers_by_gdb};
use crate::transport::qmp::{L2Permit, Monitor};
use crate::transport::rsp;

/// Pauses a guest under the guardian, which looks itself whether anything is in flight, right before.
pub struct UnderGuardian {
    /// That the guest's owner opted in.
    pub permit: L2Permit,
    /// The monitor, which is lent to the guardian meanwhile.
    pub monitor: Monitor,
    /// How L2 is done on this host.
    pub settings: L2Settings,
    /// A guest-physical address that is RAM: 0 on x86, 0x4000_0000 on aarch64 `virt`.
    pub ram: u64,
}

impl Pauser for UnderGuardian {
    fn by_dump(&self) -> Step<'_, Result<Paused, PauseError>> {
        Box::pin(async {
            let done = registers_by_dump(&self.monitor, &self.permit, &self.settings, self.ram).await;
            done.map(paused).map_err(refused)
        })
    }

    fn by_gdb(&self) -> Step<'_, Result<Paused, PauseError>> {
        Box::pin(async {
            let done = registers_by_gdb(&self.monitor, &self.permit, &self.settings).await;
            done.map(paused).map_err(refused)
        })
    }
}

fn refused(error: L2Error) -> PauseError {
    match error {
        L2Error::Refused(why) => PauseError::Refused(why),
        other => PauseError::Failed(other.to_string()),
    }
}

fn paused(captured: Captured) -> Paused {
    let cpus: Vec<VcpuRegisters> = captured.vcpus.iter().map(vcpu).collect();
    let missing = cpus.is_empty().then(|| "no registers came".to_owned());
    Paused {
        cpus,
        raw: captured.elf.unwrap_or_default(),
        paused_us: u64::try_from(captured.paused.as_micros()).unwrap_or(u64::MAX),
        missing,
    }
}

/// The registers that fit 64 bits, with what follows from them (see `info_registers` for the bits).
fn vcpu(cpu: &rsp::VcpuRegisters) -> VcpuRegisters {
    let all: BTreeMap<String, u64> =
        cpu.registers.iter().filter_map(|it| Some((it.name.to_lowercase(), it.value()?))).collect();
    let get = |names: [&str; 3]| names.iter().find_map(|name| all.get(*name).copied());
    let (flags, state) = (get(["rflags", "eflags", "efl"]), get(["pstate", "cpsr", "spsr"]));
    let by_flags = flags.map(|it| it & (1 << 9) == 0);
    VcpuRegisters {
        index: u32::try_from(cpu.index).unwrap_or(u32::MAX),
        ip: get(["rip", "pc", "eip"]),
        sp: get(["rsp", "sp", "esp"]),
        interrupts_off: by_flags.or(state.map(|it| it & (1 << 7) != 0)),
        user_mode: match flags {
            Some(_) => all.get("cs").map(|it| it & 3 == 3),
            None => state.map(|it| if it & 0x10 == 0 { it & 0xc == 0 } else { it & 0xf == 0 }),
        },
        halted: None,
        all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::rsp::Register;

    #[test]
    fn what_follows_from_the_registers_is_the_same_as_from_the_monitors_text() {
        // The vCPU in user mode of info_registers/x86_64.txt, as gdb printed it.
        let registers = [("rip", 0x42_ed71), ("rsp", 0x7ffd_c8db_bbb0), ("eflags", 0x206), ("cs", 0x33)];
        let cpu = rsp::VcpuRegisters {
            index: 1,
            registers: registers.iter().map(|(name, value)| Register::of(name, *value)).collect(),
        };
        let read = vcpu(&cpu);
        assert_eq!((read.index, read.ip, read.sp), (1, Some(0x42_ed71), Some(0x7ffd_c8db_bbb0)));
        assert_eq!((read.interrupts_off, read.user_mode, read.halted), (Some(false), Some(true), None));
    }
}
