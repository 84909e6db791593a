//! A minicore is written and opened again.

use super::*;
use crate::memory::test_memory::TestMemory;
use crate::source::{Format, open_bytes};
use crate::{Aarch64Registers, PhysicalMemory, ReadError, Registers, X86Registers};

fn guest() -> TestMemory {
    let memory = TestMemory::new(0x10000);
    for page in 0..16u64 {
        memory.write(page * PAGE_SIZE, &[page as u8 + 1; 16]);
    }
    memory
}

fn cpus() -> Vec<Cpu> {
    let x86 = X86Registers {
        general: std::array::from_fn(|it| 0x100 + it as u64),
        rip: 0xffff_ffff_8100_0000,
        cs: 0x10,
        cr3: 0x5000,
        gs_base: 0xff00,
        halted: Some(false),
        ..X86Registers::default()
    };
    let second = X86Registers { kernel_gs_base: Some(9), ..x86.clone() };
    vec![
        Cpu { index: 0, registers: Registers::X86_64(x86) },
        Cpu { index: 1, registers: Registers::X86_64(second) },
    ]
}

fn contents<'a>(cpus: &'a [Cpu], extra: &'a [PhysRange]) -> Contents<'a> {
    Contents { arch: Arch::X86_64, cpus, vmcoreinfo: Some(b"OSRELEASE=6.1\n"), windows: &[], extra }
}

#[test]
fn what_was_read_is_kept_and_the_rest_says_so() {
    let memory = guest();
    let recorder = Recorder::new(&memory);
    recorder.read(0x1ff8, &mut [0; 16]).unwrap();
    recorder.read(0x8000, &mut [0; 1]).unwrap();
    // The guest goes on; the core holds what was seen.
    memory.write(0x8000, &[0xee; 16]);
    let cpus = cpus();
    let extra = [PhysRange { start: 0x3000, end: 0x3001 }, PhysRange { start: 0x10000, end: 0x11000 }];
    let mut file = Vec::new();
    let counts = write(&mut file, &recorder, &contents(&cpus, &extra), |page| page != 0x2000).unwrap();
    assert_eq!(counts, Counts { kept: 3, left_out: 1, unreadable: 1 });

    let opened = open_bytes(Box::new(file.clone())).unwrap();
    assert_eq!(opened.format, Format::Minicore);
    assert_eq!(opened.cpus, cpus);
    assert_eq!(opened.vmcoreinfo.as_deref(), Some(&b"OSRELEASE=6.1\n"[..]));
    assert_eq!(opened.memory.ranges(), memory.ranges());
    let byte = |phys| {
        let mut byte = [0];
        opened.memory.read(phys, &mut byte).map(|()| byte[0])
    };
    assert_eq!((byte(0x1000).unwrap(), byte(0x8000).unwrap(), byte(0x3000).unwrap()), (2, 9, 4));
    assert!(matches!(byte(0x2000), Err(ReadError::NotKept { phys: 0x2000 })));
    assert!(matches!(byte(0x10000), Err(ReadError::NotRam { .. })));

    let mut again = Vec::new();
    write(&mut again, &recorder, &contents(&cpus, &extra), |page| page != 0x2000).unwrap();
    assert!(again == file, "the same record gave other bytes");
}

#[test]
fn a_core_of_an_arm_guest_without_anything_else_is_one() {
    let memory = guest();
    let recorder = Recorder::new(&memory);
    recorder.read(0x1000, &mut [0; 1]).unwrap();
    let registers = Registers::Aarch64(Aarch64Registers { pc: 0x1234, ..Aarch64Registers::default() });
    let cpus = [Cpu { index: 0, registers }];
    let contents = Contents { arch: Arch::Aarch64, cpus: &cpus, vmcoreinfo: None, windows: &[], extra: &[] };
    let mut file = Vec::new();
    write(&mut file, &recorder, &contents, |_| true).unwrap();
    let opened = open_bytes(Box::new(file)).unwrap();
    assert_eq!((opened.arch, opened.cpus), (Some(Arch::Aarch64), cpus.to_vec()));
}

#[test]
fn a_great_many_loads_are_counted_in_section_header_0() {
    let memory = guest();
    let recorder = Recorder::new(&memory);
    recorder.read(0x1000, &mut [0; 1]).unwrap();
    let windows: Vec<Window> =
        (0..70_000).map(|it| Window { virt: (1 << 40) + it * 0x2000, phys: 0x1000, len: 0x1000 }).collect();
    let contents = Contents { windows: &windows, ..contents(&[], &[]) };
    let mut file = Vec::new();
    write(&mut file, &recorder, &contents, |_| true).unwrap();
    let mut byte = [0];
    open_bytes(Box::new(file)).unwrap().memory.read(0x1000, &mut byte).unwrap();
    assert_eq!(byte, [2]);
}

#[test]
fn a_cut_or_changed_minicore_is_no_panic() {
    let memory = guest();
    let recorder = Recorder::new(&memory);
    recorder.read(0x1000, &mut [0; 1]).unwrap();
    let mut file = Vec::new();
    write(&mut file, &recorder, &contents(&cpus(), &[]), |_| true).unwrap();
    for at in 0..file.len().min(3000) {
        let mut changed = file.clone();
        changed[at] ^= 0xff;
        for bytes in [changed, file[..at].to_vec()] {
            if let Ok(opened) = open_bytes(Box::new(bytes)) {
                let _ = opened.memory.read(0x1000, &mut [0; 64]);
            }
        }
    }
}
