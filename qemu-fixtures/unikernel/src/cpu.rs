//! Ports, interrupts and the clock: just the old PIC and PIT, which every q35 has.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

/// Clock interrupts a second.
pub const HERTZ: u64 = 100;
/// The PIT's input clock, in Hz.
const PIT_CLOCK: u64 = 1_193_182;

/// Clock interrupts so far; the assembly below counts.
#[unsafe(no_mangle)]
static TICKS: AtomicU64 = AtomicU64::new(0);

global_asm!(
    r#"
clock_interrupt:
    lock inc qword ptr [TICKS]
other_interrupt:
    push rax
    mov al, 0x20                /* end of interrupt */
    out 0x20, al
    pop rax
    iretq
"#
);

unsafe extern "C" {
    fn clock_interrupt();
    fn other_interrupt();
}

/// Seconds since [`start_clock`].
pub fn seconds() -> u64 {
    TICKS.load(Ordering::Relaxed) / HERTZ
}

/// Writes a byte to an I/O port.
pub fn outb(port: u16, value: u8) {
    // SAFETY: a port of a device that this guest owns alone; no memory is touched.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) }
}

/// Reads a byte from an I/O port.
pub fn inb(port: u16) -> u8 {
    let value: u8;
    // SAFETY: as for `outb`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) }
    value
}

#[repr(C, align(16))]
struct Idt([[u64; 2]; 256]);

static mut IDT: Idt = Idt([[0; 2]; 256]);

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

fn gate(handler: unsafe extern "C" fn()) -> [u64; 2] {
    let address = handler as usize as u64;
    let low = address & 0xffff | 8 << 16 | 0x8e00 << 32 | (address >> 16 & 0xffff) << 48;
    [low, address >> 32]
}

/// Starts the clock and lets clock and serial interrupts in.
pub fn start_clock() {
    // Both PICs: vectors from 32, cascade on line 2, 8086 mode; only clock (0) and COM1 (4) open.
    for (port, value) in [
        (0x20, 0x11),
        (0xa0, 0x11),
        (0x21, 32),
        (0xa1, 40),
        (0x21, 4),
        (0xa1, 2),
        (0x21, 1),
        (0xa1, 1),
        (0x21, !(1 << 0 | 1 << 4)),
        (0xa1, 0xff),
    ] {
        outb(port, value);
    }
    let divisor = (PIT_CLOCK / HERTZ) as u16;
    let [low, high] = divisor.to_le_bytes();
    outb(0x43, 0x34);
    outb(0x40, low);
    outb(0x40, high);
    // SAFETY: one vCPU, interrupts still off: nobody else uses the table while it is filled.
    unsafe {
        let idt = &raw mut IDT;
        for vector in 32..40 {
            (*idt).0[vector] = gate(other_interrupt);
        }
        (*idt).0[32] = gate(clock_interrupt);
        let pointer = TablePointer { limit: (size_of::<Idt>() - 1) as u16, base: idt as u64 };
        asm!("lidt [{}]", "sti", in(reg) &pointer);
    }
}

/// Sleeps until the next interrupt.
pub fn halt() {
    // SAFETY: interrupts are on and their handlers keep every register.
    unsafe { asm!("hlt", options(nomem, nostack)) }
}

/// Spins for ever with interrupts off.
pub fn spin() -> ! {
    // SAFETY: nothing comes after it.
    unsafe { asm!("cli", "2:", "jmp 2b", options(noreturn)) }
}

/// Takes a fault that no table can answer: the machine resets.
pub fn triple_fault() -> ! {
    let nothing = TablePointer { limit: 0, base: 0 };
    // SAFETY: nothing comes after it.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &nothing, options(noreturn)) }
}
