//! What faults share: asking the patient, watching beats and registers, spoiling a system call.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Proof;
use crate::gdb;
use crate::qemu::{Arch, Error, Guest};

/// How long the patient may take to make a fault, since it waits for its own proof, or to search all
/// symbols, which takes an emulated arm64 on a busy host its time.
const FAULT_WAIT: Duration = Duration::from_secs(120);
/// How long a small question may take.
pub(super) const ASK_WAIT: Duration = Duration::from_secs(15);
/// Beats come every 0.2 s. On a loaded host an emulated guest can miss some; not this many.
const SILENCE: Duration = Duration::from_secs(3);

/// Has the patient make the fault `name`, which it shows before it answers.
pub(super) fn shown_by_patient(guest: &mut Guest, name: &str, text: &str) -> Result<Proof> {
    let answer = asked(guest, &format!("fault {name}"), FAULT_WAIT)?;
    guest.check_not_void()?;
    ensure!(answer.get("proof").is_some(), "the patient made {name} and showed nothing: {answer}");
    Ok(Proof::new(text, answer))
}

/// Has the patient make the fault `name`, after which it cannot answer any more.
pub(super) fn armed_by_patient(guest: &mut Guest, name: &str) -> Result<Value> {
    let answer = asked(guest, &format!("fault {name}"), FAULT_WAIT)?;
    ensure!(answer.get("armed").is_some(), "the patient did not arm {name}: {answer}");
    Ok(answer)
}

/// Has the patient undo the fault `name`.
pub(super) fn healed_by_patient(guest: &mut Guest, name: &str) -> Result<()> {
    asked(guest, &format!("heal {name}"), FAULT_WAIT).map(drop)
}

/// Asks the patient.
pub(super) fn asked(guest: &mut Guest, request: &str, wait: Duration) -> Result<Value> {
    guest.control(request, wait).with_context(|| format!("while the patient was asked `{request}`"))
}

/// Waits until the beats have stopped, at most `wait`.
pub(super) fn beats_stop(guest: &mut Guest, wait: Duration) -> Result<Value> {
    let deadline = Instant::now() + wait;
    let mut last = None;
    loop {
        match guest.next_beat(SILENCE) {
            Ok(beat) => last = Some(beat),
            Err(Error::Timeout { .. }) => {
                return Ok(json!({ "last_beat": last, "silent_s": SILENCE.as_secs() }));
            }
            Err(err) => return Err(err.into()),
        }
        ensure!(Instant::now() < deadline, "the guest still beats ({last:?})");
    }
}

/// One thread of the guest, as its `/proc` shows it.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub(super) state: String,
    raw: Value,
}

/// All threads of the guest.
pub(super) fn threads(guest: &mut Guest) -> Result<Vec<Thread>> {
    let answer = asked(guest, "tasks", ASK_WAIT)?;
    let list = answer["tasks"].as_array().context("`tasks` answered without a list")?;
    let state = |it: &Value| it["state"].as_str().unwrap_or_default().to_owned();
    Ok(list.iter().map(|it| Thread { state: state(it), raw: it.clone() }).collect())
}

/// Waits until at least `n` threads of the application are in uninterruptible sleep, twice in a
/// row: a disk that answers also makes one for a moment.
pub(super) fn blocked(guest: &mut Guest, n: usize, wait: Duration) -> Result<Value> {
    let deadline = Instant::now() + wait;
    let mut in_a_row = 0;
    loop {
        let blocked: Vec<Value> =
            threads(guest)?.into_iter().filter(|it| it.state == "D").map(|it| it.raw).collect();
        in_a_row = if blocked.len() >= n { in_a_row + 1 } else { 0 };
        if in_a_row == 3 {
            return Ok(json!({ "blocked": blocked }));
        }
        ensure!(Instant::now() < deadline, "{} tasks in D, not {n}: {blocked:?}", blocked.len());
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// A vCPU's place, from HMP `info registers -a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vcpu {
    pub(super) pc: u64,
    pub(super) interrupts_off: bool,
}

/// Where all vCPUs are.
pub(super) fn vcpus(guest: &mut Guest) -> Result<Vec<Vcpu>> {
    let text = guest.qmp()?.human("info registers -a")?;
    let arch = guest.builder().arch();
    let vcpus = parse_registers(&text, arch);
    let n_vcpus = guest.builder().n_vcpus() as usize;
    ensure!(vcpus.len() == n_vcpus, "registers of {} vCPUs in {text:?}", vcpus.len());
    Ok(vcpus)
}

fn parse_registers(text: &str, arch: Arch) -> Vec<Vcpu> {
    let (pc, flags) = match arch {
        Arch::X86_64 => ("RIP=", "RFL="),
        Arch::Aarch64 => (" PC=", "PSTATE="),
    };
    let hex = |part: &str, key: &str| {
        let digits = part.split(key).nth(1)?.trim_start();
        let digits = digits.split(|c: char| !c.is_ascii_hexdigit()).next()?;
        u64::from_str_radix(digits, 16).ok()
    };
    text.split("CPU#")
        .skip(1)
        .filter_map(|part| {
            let flags = hex(part, flags)?;
            let interrupts_off = match arch {
                // RFLAGS.IF; PSTATE.I.
                Arch::X86_64 => flags & 0x200 == 0,
                Arch::Aarch64 => flags & 0x80 != 0,
            };
            Some(Vcpu { pc: hex(part, pc)?, interrupts_off })
        })
        .collect()
}

/// What is written over the entry of a system call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spoil {
    /// An undefined instruction.
    Undefined,
    /// Interrupts off, and a jump to itself.
    Spin,
}

impl Spoil {
    fn code(self, arch: Arch) -> &'static [u8] {
        match (self, arch) {
            // ud2
            (Spoil::Undefined, Arch::X86_64) => &[0x0f, 0x0b],
            // cli; jmp .
            (Spoil::Spin, Arch::X86_64) => &[0xfa, 0xeb, 0xfe],
            // udf #0
            (Spoil::Undefined, Arch::Aarch64) => &[0, 0, 0, 0],
            // msr daifset, #0xf; b .
            (Spoil::Spin, Arch::Aarch64) => &[0xdf, 0x4f, 0x03, 0xd5, 0x00, 0x00, 0x00, 0x14],
        }
    }
}

/// Writes over the entry of acct(2), which nothing else in the patient calls, has it called on each
/// CPU or on one, and gives its address. The symbol's prefix is that of the syscall wrappers (x86
/// since v4.17, arm64 since v4.19).
pub(super) fn spoil_and_call(guest: &mut Guest, spoil: Spoil, which: &str) -> Result<u64> {
    let arch = guest.builder().arch();
    let (symbol, number) = match arch {
        Arch::X86_64 => ("__x64_sys_acct", 163),
        Arch::Aarch64 => ("__arm64_sys_acct", 89),
    };
    let answer = asked(guest, &format!("symbol {symbol}"), FAULT_WAIT)?;
    let digits = answer["address"].as_str().unwrap_or_default().trim_start_matches("0x");
    let address = u64::from_str_radix(digits, 16).with_context(|| format!("no address in {answer}"))?;
    ensure!(address != 0, "the patient may not see kernel addresses");
    gdb::overwrite(guest, address, spoil.code(arch))?;
    armed_by_patient(guest, &format!("call-syscall {number} {which}"))?;
    Ok(address)
}

/// Waits until `n` vCPUs spin with interrupts off near `address`.
pub(super) fn spinning(guest: &mut Guest, address: u64, n: usize, wait: Duration) -> Result<Value> {
    let deadline = Instant::now() + wait;
    loop {
        let vcpus = vcpus(guest)?;
        let there = |it: &&Vcpu| it.interrupts_off && (address..address + 16).contains(&it.pc);
        let n_spinning = vcpus.iter().filter(there).count();
        if n_spinning == n {
            let places: Vec<String> = vcpus.iter().map(|it| format!("{:#x}", it.pc)).collect();
            return Ok(json!({ "pc": places, "entry": format!("{address:#x}"), "spinning": n }));
        }
        guest.check_not_void()?;
        if Instant::now() > deadline {
            bail!("{n_spinning} vCPUs spin at {address:#x}, not {n}: {vcpus:x?}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_as_qemu_prints_them() {
        // The shape of QEMU 7.2's target/i386/cpu-dump.c and target/arm/cpu.c.
        let x86 = "\nCPU#0\nRAX=0 RBX=0\nRIP=ffffffff81000001 RFL=00000046 [---Z-P-] CPL=0 II=0\n\n\
                   CPU#1\nRIP=0000000000401000 RFL=00000202 [-------] CPL=3\n";
        let expected = [(0xffff_ffff_8100_0001, true), (0x40_1000, false)]
            .map(|(pc, interrupts_off)| Vcpu { pc, interrupts_off });
        assert_eq!(parse_registers(x86, Arch::X86_64), expected);
        let arm = "\nCPU#0\n PC=ffff800008000010 X00=0\nPSTATE=600003c5 -ZC- EL1h\n";
        let expected = [Vcpu { pc: 0xffff_8000_0800_0010, interrupts_off: true }];
        assert_eq!(parse_registers(arm, Arch::Aarch64), expected);
    }
}
