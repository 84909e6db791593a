//! From the PVH entry (32 bits, no paging) to `rust_main` in long mode.
//!
//! PVH is Xen's direct boot protocol (`docs/misc/pvh.pandoc` there): the loader finds the entry in
//! an ELF note, enters it in flat 32-bit protected mode and leaves the address of a
//! `hvm_start_info` in EBX. The first 4 GiB are mapped one to one in pages of 2 MiB.

use core::arch::global_asm;
use core::ffi::CStr;

global_asm!(
    r#"
.section .note.pvh, "a", @note
.align 4
.long 4, 4, 18                  /* name size, value size, XEN_ELFNOTE_PHYS32_ENTRY */
.asciz "Xen"
.long pvh_start
.section .text.boot, "ax"
.code32
.global pvh_start
pvh_start:
    cli
    mov esp, offset boot_stack_top
    mov [pvh_start_info], ebx
    mov eax, offset pml4
    mov ecx, offset pdpt
    or ecx, 3
    mov [eax], ecx
    mov eax, offset pdpt
    mov ecx, offset pd
    or ecx, 3
    mov edx, 4
1:  mov [eax], ecx
    add eax, 8
    add ecx, 4096
    dec edx
    jnz 1b
    mov eax, offset pd
    mov ecx, 0x83               /* present, writable, 2 MiB */
    mov edx, 2048
2:  mov [eax], ecx
    add eax, 8
    add ecx, 0x200000
    dec edx
    jnz 2b
    mov eax, offset pml4
    mov cr3, eax
    mov eax, cr4
    or eax, 0x620               /* PAE, OSFXSR, OSXMMEXCPT */
    mov cr4, eax
    mov ecx, 0xC0000080         /* EFER */
    rdmsr
    or eax, 0x100               /* LME */
    wrmsr
    mov eax, cr0
    and eax, 0x9fffffff         /* caches on */
    or eax, 0x80000003          /* PG, MP, PE */
    and eax, 0xfffffffb         /* no EM */
    mov cr0, eax
    lgdt [gdt_ptr]
    push 8
    mov eax, offset long_entry
    push eax
    retf
.code64
long_entry:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov rsp, offset boot_stack_top
    call rust_main
3:  hlt
    jmp 3b
.section .data.boot, "aw"
.align 8
gdt: .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdt_ptr: .word 23
.long gdt
.align 8
.global pvh_start_info
pvh_start_info: .quad 0
.section .bss.boot, "aw", @nobits
.align 4096
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 16384
boot_stack: .skip 65536
boot_stack_top:
.text
"#
);

unsafe extern "C" {
    static pvh_start_info: u64;
}

/// `XEN_HVM_START_MAGIC_VALUE`.
const MAGIC: u32 = 0x336e_c578;
/// Where `hvm_start_info` keeps the address of the command line.
const CMDLINE_AT: u64 = 24;

/// The kernel command line; empty when the loader gave none.
pub fn command_line() -> &'static str {
    // SAFETY: the entry code stored EBX there before any Rust ran, and nothing writes it again.
    // The structure and the string lie in the first 4 GiB, which are mapped.
    unsafe {
        let info = pvh_start_info;
        if info == 0 || (info as *const u32).read_unaligned() != MAGIC {
            return "";
        }
        let text = ((info + CMDLINE_AT) as *const u64).read_unaligned();
        if text == 0 {
            return "";
        }
        CStr::from_ptr(text as *const _).to_str().unwrap_or("")
    }
}
