//! A tiny bare-metal guest: it starts in under a second, says its line, and does one thing.
//!
//! Command line: `mode=idle|heartbeat|spin|triple-fault|flood`. The serial line has a prompt
//! (`unikernel> `) and answers `uptime`.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod cpu;
mod modes;
mod serial;
mod virtio;

use core::alloc::{GlobalAlloc, Layout};
use core::fmt::Write;
use core::sync::atomic::{AtomicUsize, Ordering};

/// All the heap there is: the virtio queues and short texts.
const HEAP: usize = 512 << 10;

#[repr(align(4096))]
struct Arena(core::cell::UnsafeCell<[u8; HEAP]>);
// SAFETY: handed out in pieces by `Bump`, each once.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(core::cell::UnsafeCell::new([0; HEAP]));

/// Gives memory from one end. Only the newest piece can be given back, which suits short texts.
struct Bump {
    used: AtomicUsize,
}

// SAFETY: every piece lies within the arena and overlaps no other.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let align = layout.align();
        let start = (self.used.load(Ordering::Relaxed) + align - 1) & !(align - 1);
        let end = start + layout.size();
        if end > HEAP || align > 4096 {
            return core::ptr::null_mut();
        }
        self.used.store(end, Ordering::Relaxed);
        // SAFETY: `start` is within the arena.
        unsafe { ARENA.0.get().cast::<u8>().add(start) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let start = piece as usize - ARENA.0.get() as usize;
        let newest = start + layout.size();
        let _ = self.used.compare_exchange(newest, start, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[global_allocator]
static ALLOCATOR: Bump = Bump { used: AtomicUsize::new(0) };

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    let _ = writeln!(serial::Com1, "UNIKERNEL PANIC {info}");
    cpu::spin()
}

#[unsafe(no_mangle)]
extern "C" fn rust_main() -> ! {
    serial::Com1::start();
    cpu::start_clock();
    modes::run(boot::command_line())
}

/// What a hosted target expects of its C library. Used when the bare target is not installed.
#[cfg(target_os = "linux")]
mod hosted {
    core::arch::global_asm!(
        ".globl rust_eh_personality, _Unwind_Resume, memcpy, memmove, memset, memcmp, bcmp, strlen",
        "rust_eh_personality: _Unwind_Resume: ud2",
        "memcpy: mov rax, rdi",
        "mov rcx, rdx",
        "rep movsb",
        "ret",
        "memmove: mov rax, rdi",
        "mov rcx, rdx",
        "cmp rdi, rsi",
        "jbe 1f",
        "lea rdi, [rdi+rcx-1]",
        "lea rsi, [rsi+rcx-1]",
        "std",
        "rep movsb",
        "cld",
        "ret",
        "1: rep movsb",
        "ret",
        "memset: mov r8, rdi",
        "mov eax, esi",
        "mov rcx, rdx",
        "rep stosb",
        "mov rax, r8",
        "ret",
        "memcmp: bcmp: xor eax, eax",
        "mov rcx, rdx",
        "test rcx, rcx",
        "jz 2f",
        "repe cmpsb",
        "je 2f",
        "movzx eax, byte ptr [rdi-1]",
        "movzx ecx, byte ptr [rsi-1]",
        "sub eax, ecx",
        "2: ret",
        "strlen: xor eax, eax",
        "3: cmp byte ptr [rdi+rax], 0",
        "je 4f",
        "inc rax",
        "jmp 3b",
        "4: ret",
    );
}
