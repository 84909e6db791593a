//! BTF of the modules that a guest has loaded.
//!
//! `module.btf_data` is no way to it: the section is not kept, and the pointer is cleared once the module is
//! up (v5.11, commit 607c543f939d "bpf: Sanitize BTF data pointer after module is loaded"). The copy that
//! stays is that of the list `btf_modules` (`kernel/bpf/btf.c`): `struct btf_module { list; module; btf; ..}`
//! with `struct btf { data; .. data_size; .. start_id; .. name; }`. A base of the module's own
//! (`.BTF.base`, v6.11) is already exchanged for vmlinux there.

use super::find::read_blob;
use super::{BtfError, Types};
use crate::{AddressSpace, ReadError, Symbols};

/// Modules of a guest at most.
const MAX_MODULES: usize = 4096;
/// Bytes of the BTF of one module at most; the largest drivers have 1 MB.
const MAX_BLOB: u64 = 8 << 20;
/// Bytes of the BTF of all modules together at most.
const MAX_ALL: u64 = 32 << 20;
/// Modules whose types the readers ask for: rings, ports of a console, SCSI commands.
const DRIVERS: [&str; 4] = ["virtio_ring", "virtio_console", "scsi_mod", "virtio_scsi"];
/// `MODULE_NAME_LEN`.
const MAX_NAME: usize = 64;

/// The BTF of one loaded module, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleBtf {
    /// The module.
    pub module: String,
    /// Guest-virtual address of the blob.
    pub address: u64,
    /// Its bytes.
    pub len: u64,
    /// The id of its first type.
    pub first_id: Option<u32>,
}

impl Types {
    /// The BTF of every loaded module, newest first. Empty where modules have none: before v5.11, without
    /// `CONFIG_DEBUG_INFO_BTF_MODULES`, or without the symbol `btf_modules`.
    ///
    /// # Errors
    /// [`ReadError`] if the list cannot be read to its end, or has none.
    pub fn guest_modules(
        &self,
        space: &AddressSpace<'_>,
        symbols: &Symbols,
    ) -> Result<Vec<ModuleBtf>, ReadError> {
        let mut all = Vec::new();
        let (Some(head), Some(link), Some(btf), Some(data), Some(size), Some(name)) = (
            symbols.address("btf_modules"),
            self.offset("btf_module", "list"),
            self.offset("btf_module", "btf"),
            self.offset("btf", "data"),
            self.offset("btf", "data_size"),
            self.offset("btf", "name"),
        ) else {
            return Ok(all);
        };
        let start_id = self.offset("btf", "start_id");
        let mut node = space.u64(head)?;
        while node != head {
            if all.len() >= MAX_MODULES {
                return Err(ReadError::Inconsistent { what: "the list of modules' BTF", virt: node });
            }
            let btf = space.u64(node.wrapping_sub(link).wrapping_add(btf))?;
            all.push(ModuleBtf {
                module: space.text(btf.wrapping_add(name), MAX_NAME)?,
                address: space.u64(btf.wrapping_add(data))?,
                len: u64::from(space.u32(btf.wrapping_add(size))?),
                first_id: match start_id {
                    Some(offset) => Some(space.u32(btf.wrapping_add(offset))?),
                    None => None,
                },
            });
            node = space.u64(node)?;
        }
        Ok(all)
    }

    /// Adds the types of those drivers that the lens looks into, where they are modules. What cannot be read
    /// is missed by whoever asks for it.
    pub(crate) fn add_guest_drivers(&mut self, space: &AddressSpace<'_>, symbols: &Symbols) {
        let modules = self.guest_modules(space, symbols).unwrap_or_default();
        for module in modules.iter().filter(|it| DRIVERS.contains(&it.module.as_str())) {
            let _missed = self.add_guest_module(space, module);
        }
    }

    /// Reads the BTF of one loaded module and adds it.
    ///
    /// # Errors
    /// As [`Types::add_module`]; [`BtfError::OtherBase`] if it does not go on where vmlinux ends.
    pub fn add_guest_module(&mut self, space: &AddressSpace<'_>, module: &ModuleBtf) -> Result<(), BtfError> {
        if self.modules().any(|it| it == module.module) {
            return Ok(());
        }
        let next_id = self.units.first().map_or(1, super::unit::Unit::next_id);
        if let Some(first_id) = module.first_id.filter(|it| *it != next_id) {
            return Err(BtfError::OtherBase { module: module.module.clone(), first_id, next_id });
        }
        let so_far: u64 = self.units.iter().skip(1).map(|it| it.memory() as u64).sum();
        if module.len > MAX_BLOB || so_far.saturating_add(module.len) > MAX_ALL {
            return Err(BtfError::TooLarge { what: "bytes of modules", limit: MAX_ALL as usize });
        }
        let range = module.address..module.address.saturating_add(module.len);
        self.add(&module.module, read_blob(space, range)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_blob::Blob;
    use super::*;
    use crate::Recorder;
    use crate::arch::{Paging, X86Paging};
    use crate::memory::test_memory::TestMemory;

    fn kernel() -> Blob {
        let mut blob = Blob::small_kernel_blob();
        let pointer = blob.pointer(0);
        let name = blob.array(1, 56);
        blob.structure(
            "btf_module",
            48,
            false,
            &[("list", 2, 0), ("module", pointer, 128), ("btf", pointer, 192)],
        );
        blob.structure(
            "btf",
            96,
            false,
            &[("data", pointer, 0), ("data_size", 1, 64), ("start_id", 1, 96), ("name", name, 128)],
        );
        blob
    }

    /// A list of one module at 0x5000, in memory that is mapped one to one up to 0x10000.
    fn memory(first_id: u32, blob: &[u8], next: u64) -> TestMemory {
        let memory = TestMemory::new(0x10000);
        for (table, value) in [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x4003)] {
            memory.write_u64(table, value);
        }
        for page in 5..0x10 {
            memory.write_u64(0x4000 + page * 8, page * 0x1000 + 3);
        }
        memory.write_u64(0x5000, 0x6000);
        memory.write_u64(0x6000, next);
        memory.write_u64(0x6018, 0x7000);
        memory.write_u64(0x7000, 0x8000);
        memory.write_u64(0x7008, blob.len() as u64 | u64::from(first_id) << 32);
        memory.write(0x7010, b"virtio_blk\0");
        memory.write(0x8000, blob);
        memory
    }

    fn module(kernel: &Blob, types: &Types) -> Vec<u8> {
        let mut module = Blob::module(types.len() as u32, kernel.strings_len());
        module.structure("virtblk_req", 16, false, &[("status", 1, 64)]);
        module.bytes()
    }

    fn with_space<T>(memory: &TestMemory, look: impl FnOnce(&AddressSpace<'_>) -> T) -> T {
        let recorder = Recorder::new(memory);
        let paging = Paging::X86_64(X86Paging { root: 0x1000, five_levels: false });
        look(&AddressSpace::new(&recorder, paging))
    }

    #[test]
    fn loaded_modules_bring_their_types() {
        let kernel = kernel();
        let mut types = Types::new(kernel.bytes()).unwrap();
        let symbols = Symbols::new([(0x5000, b'd', "btf_modules")]);
        let memory = memory(types.len() as u32 + 1, &module(&kernel, &types), 0x5000);
        with_space(&memory, |space| {
            let all = types.guest_modules(space, &symbols).unwrap();
            assert_eq!(all.iter().map(|it| it.module.as_str()).collect::<Vec<_>>(), ["virtio_blk"]);
            types.add_guest_module(space, &all[0]).unwrap();
            types.add_guest_module(space, &all[0]).unwrap();
        });
        assert_eq!(types.offset("virtblk_req", "status"), Some(8));
        assert_eq!(types.modules().count(), 1);
    }

    #[test]
    fn a_module_of_another_kernel_is_told_and_a_list_without_end_has_an_end() {
        let kernel = kernel();
        let mut types = Types::new(kernel.bytes()).unwrap();
        let symbols = Symbols::new([(0x5000, b'd', "btf_modules")]);
        let blob = module(&kernel, &types);
        let other = with_space(&memory(7, &blob, 0x5000), |space| {
            let all = types.guest_modules(space, &symbols).unwrap();
            types.add_guest_module(space, &all[0])
        });
        assert!(matches!(other, Err(BtfError::OtherBase { first_id: 7, .. })), "{other:?}");
        let endless = with_space(&memory(7, &blob, 0x6000), |space| types.guest_modules(space, &symbols));
        assert!(matches!(endless, Err(ReadError::Inconsistent { virt: 0x6000, .. })), "{endless:?}");
    }
}
