//! Kernels of every page size and number of address bits, made up.

use super::*;
use crate::Aarch64Registers;
use crate::memory::test_memory::TestMemory;

/// Guest-physical address of the image and its bytes.
const IMAGE: u64 = 0x0040_0000;
const LEN: u64 = 0x0060_0000;
/// Tables outside of the image begin here, and RAM ends here.
const TABLES: u64 = 0x0180_0000;
const RAM: u64 = 0x0300_0000;

/// A kernel as its own tables would map it.
struct Made {
    memory: TestMemory,
    paging: Aarch64Paging,
    next: u64,
}

impl Made {
    /// `at` is the page of the image that is the top table.
    fn new(granule: Granule, virt_bits: u32, phys_52: bool) -> Self {
        let paging = Aarch64Paging { root: IMAGE + 0x0030_0000, granule, virt_bits, phys_52 };
        let made = Self { memory: TestMemory::new(RAM as usize), paging, next: TABLES };
        let flags: u64 = 8 | match granule {
            Granule::K4 => 1 << 1,
            Granule::K16 => 2 << 1,
            Granule::K64 => 3 << 1,
        };
        made.memory.write_u64(IMAGE + 16, LEN);
        made.memory.write_u64(IMAGE + 24, flags);
        made.memory.write(IMAGE + 56, b"ARM\x64");
        // Text and data that look like no table.
        for page in (IMAGE + 0x1_0000..IMAGE + LEN).step_by(4096) {
            if page.wrapping_sub(paging.root) >= 1 << granule.shift() {
                made.memory.write_u64(page, 0xd503_201f_d503_201f);
            }
        }
        made
    }

    fn map_page(&mut self, virt: u64, phys: u64) {
        let page = self.paging.granule.shift();
        let levels = (self.paging.virt_bits - page).div_ceil(page - 3);
        let mut table = self.paging.root;
        for above in (0..levels).rev() {
            let shift = page + (page - 3) * above;
            let bits = (page - 3).min(self.paging.virt_bits - shift);
            let at = table + ((virt >> shift) & ((1 << bits) - 1)) * 8;
            if above == 0 {
                let share = if self.paging.phys_52 && page < 16 { 0x400 } else { 0x700 };
                // Not executed by user space; writable by hardware's leave.
                self.memory.write_u64(at, phys | 1 << 54 | 1 << 51 | share | 3);
                break;
            }
            let mut bytes = [0; 8];
            crate::PhysicalMemory::read(&self.memory, at, &mut bytes).unwrap();
            let mut next = u64::from_le_bytes(bytes) & !0xfff;
            if next == 0 {
                next = self.next;
                self.next += 1 << page;
                self.memory.write_u64(at, next | 3);
            }
            table = next;
        }
    }

    fn map(&mut self, virt: u64, phys: u64, len: u64) {
        for at in (0..len).step_by(1 << self.paging.granule.shift()) {
            self.map_page(virt + at, phys + at);
        }
    }

    /// The kernel at `virt`, the linear map at `linear`.
    fn whole(mut self, virt: u64, linear: u64) -> Self {
        // A module before the image, as there always is; the image without its header.
        self.map(virt - 0x0080_0000, RAM - 0x10_0000, 0x1_0000);
        self.map(virt + 0x1_0000, IMAGE + 0x1_0000, LEN - 0x1_0000);
        self.map(linear, 0, RAM);
        self
    }
}

fn cpu(pc: u64, pstate: u64) -> Cpu {
    let registers = Aarch64Registers { pc, pstate, ..Default::default() };
    Cpu { index: 0, registers: Registers::Aarch64(registers) }
}

/// Page size, bits, 52-bit descriptors, where the image and where the linear map lies.
const KERNELS: [(Granule, u32, bool, u64, u64); 9] = [
    (Granule::K4, 39, false, 0xffff_ffc0_1240_0000, 0xffff_ff80_0000_0000),
    (Granule::K4, 48, false, 0xffff_a252_6580_0000, 0xffff_0000_0000_0000),
    (Granule::K4, 52, true, 0xffff_a252_6580_0000, 0xfff0_0000_0000_0000),
    // Up to v5.3 the linear map lay in the upper half.
    (Granule::K4, 48, false, 0xffff_2000_1240_0000, 0xffff_8000_0000_0000),
    (Granule::K16, 47, false, 0xffff_c000_1240_0000, 0xffff_8000_0000_0000),
    (Granule::K16, 48, false, 0xffff_a252_6580_0000, 0xffff_0000_0000_0000),
    (Granule::K16, 52, true, 0xffff_a252_6580_0000, 0xfff0_0000_0000_0000),
    (Granule::K64, 42, true, 0xffff_fe00_1240_0000, 0xffff_fc00_0000_0000),
    (Granule::K64, 48, true, 0xffff_a252_6580_0000, 0xffff_0000_0000_0000),
];

#[test]
fn every_page_size_and_number_of_bits_is_found_by_trial() {
    for (granule, virt_bits, phys_52, virt, linear) in KERNELS {
        let made = Made::new(granule, virt_bits, phys_52).whole(virt, linear);
        let recorder = Recorder::new(&made.memory);
        let found = aarch64(&recorder, &[]).unwrap();
        let context = format!("{granule:?} {virt_bits} {found:x?}");
        assert_eq!(found.paging, made.paging, "{context}");
        assert_eq!((found.image.virt, found.image.phys, found.image.len), (virt, IMAGE, LEN), "{context}");
        assert_eq!((found.linear, found.linear_start()), (Some(linear), linear), "{context}");
        assert_eq!((found.virt_bits, found.phys_start()), (virt_bits, Some(0)), "{context}");
        assert_eq!(found.code_mask(), u64::MAX << virt_bits, "{context}");
        assert_eq!(found.executed, None);
    }
}

#[test]
fn a_52_bit_build_on_a_48_bit_machine_has_48_bits() {
    let made = Made::new(Granule::K64, 52, true).whole(0xffff_a252_6580_0000, 0xffff_0000_0000_0000);
    let found = aarch64(&Recorder::new(&made.memory), &[]).unwrap();
    assert_eq!((found.paging, found.virt_bits), (made.paging, 48));
    assert_eq!(found.code_mask(), 0xffff_0000_0000_0000);
}

#[test]
fn system_registers_are_used_where_they_are_told() {
    for (granule, virt_bits, phys_52, virt, linear) in KERNELS {
        let made = Made::new(granule, virt_bits, phys_52).whole(virt, linear);
        let code = match granule {
            Granule::K16 => 1,
            Granule::K4 => 2,
            Granule::K64 => 3,
        };
        let wide = u64::from(phys_52 && granule != Granule::K64) << 59;
        let system = Aarch64System {
            ttbr1: made.paging.root | 0x1c << 48 | 1,
            tcr: wide | code << 30 | u64::from(64 - virt_bits) << 16,
            vbar: virt + 0x1_0800,
            ..Default::default()
        };
        let registers =
            Aarch64Registers { pc: virt + 0x2_0000, pstate: 5, system: Some(system), ..Default::default() };
        let cpus = [Cpu { index: 0, registers: Registers::Aarch64(registers) }];
        for with_header in [true, false] {
            if !with_header {
                made.memory.write(IMAGE, &[0; 64]);
            }
            let found = aarch64(&Recorder::new(&made.memory), &cpus).unwrap();
            assert_eq!((found.paging, found.image_offset()), (made.paging, virt - IMAGE));
            assert_eq!((found.linear, found.executed), (Some(linear), Some(true)));
        }
    }
}

#[test]
fn a_text_names_the_tables_where_the_header_was_overwritten() {
    for (granule, virt_bits, phys_52, virt, linear) in KERNELS {
        let made = Made::new(granule, virt_bits, phys_52).whole(virt, linear);
        made.memory.write(IMAGE, &[0xff; 64]);
        let recorder = Recorder::new(&made.memory);
        assert!(matches!(aarch64(&recorder, &[]), Err(FindError::NoImage { .. })));
        let text = crate::vmcoreinfo::tests::text(&format!(
            "NUMBER(VA_BITS)={virt_bits}\nNUMBER(kimage_voffset)={:#x}\n",
            virt - IMAGE
        ));
        let text = text
            .replace("PAGESIZE=4096", &format!("PAGESIZE={}", 1 << granule.shift()))
            .replace("ffffffff81000000", &format!("{:x}", virt + 0x1_0000))
            .replace("ffffffff81400000", &format!("{:x}", made.paging.root - IMAGE + virt));
        let info = VmcoreInfo::parse(text.as_bytes()).unwrap();
        let found = aarch64_from(&recorder, &[], &info).unwrap();
        assert_eq!((found.paging, found.image_offset()), (made.paging, virt - IMAGE));
        assert_eq!((found.linear, found.image.virt), (Some(linear), virt + 0x1_0000));
    }
}

#[test]
fn a_kernel_that_no_vcpu_executes_is_marked() {
    let (virt, linear) = (0xffff_a252_6580_0000, 0xffff_0000_0000_0000);
    let made = Made::new(Granule::K4, 48, false).whole(virt, linear);
    let recorder = Recorder::new(&made.memory);
    let executed = |cpus: &[Cpu]| aarch64(&recorder, cpus).unwrap().executed;
    assert_eq!(executed(&[cpu(virt + 0x2_0000, 5)]), Some(true));
    assert_eq!(executed(&[cpu(0xffff_b000_0000_0000, 5)]), Some(false));
    assert_eq!(executed(&[cpu(0xaaaa_0000_0000, 0)]), None);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    #[test]
    fn tables_of_any_content_are_no_trouble(
        bytes: Vec<u8>,
        words in proptest::collection::vec((0u64..512, 0u64..0x300, 0u64..4096), 0..64),
        granule in 0u64..4,
    ) {
        let memory = TestMemory::new(RAM as usize);
        memory.write_u64(IMAGE + 16, LEN);
        memory.write_u64(IMAGE + 24, granule << 1);
        memory.write(IMAGE + 56, b"ARM\x64");
        memory.write(IMAGE + 0x2_0000, &bytes);
        // Tables that lead to each other, and to themselves.
        for (at, to, bits) in words {
            memory.write_u64(IMAGE + 0x4_0000 + at * 0x208, (to * 0x1_0000) | bits);
        }
        let recorder = Recorder::new(&memory);
        let _ = aarch64(&recorder, &[]);
        assert!(recorder.reads() < 100_000);
    }
}
