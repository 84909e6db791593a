//! From memory and registers to a kernel whose symbols and types are known.

use crate::arch::Paging;
use crate::btf::Types;
use crate::cache::{BuildId, Entry, build_id};
use crate::examine::ExamineError;
use crate::find::{FindError, ImageRun, aarch64_known, kernel_root, without_registers, x86_64};
use crate::kallsyms::{self, Kallsyms, KallsymsAddresses, KnownNames};
use crate::vmcoreinfo::VmcoreInfo;
use crate::{AddressSpace, Arch, Cpu, Kernel, ReadError, Recorder, Registers, Symbols};

/// A kernel, and how it was found.
pub struct Opened<'m> {
    /// The kernel.
    pub kernel: Kernel<'m>,
    /// Where its image lies.
    pub image: ImageRun,
    /// It was found by a scan of memory and not by registers.
    pub by_scan: bool,
    /// Its build id.
    pub build_id: Option<BuildId>,
    /// What is missing of it.
    pub problems: Vec<String>,
    kallsyms: KallsymsAddresses,
    layout: kallsyms::Layout,
    known: Known,
}

/// What of an entry an earlier look left was used.
#[derive(Default)]
struct Known {
    /// The symbols lay where it said.
    entry: Option<Entry>,
    /// The names were the same.
    names: bool,
    /// The types were the same.
    types: bool,
}

impl Opened<'_> {
    /// What was learned of the kernel, for the next look; `None` if all of it was known, or if the kernel has
    /// no build id. To be asked when all is read: what was asked of symbols and types is part of it.
    pub fn learned(&self) -> Option<Entry> {
        let Kernel { space, symbols, types, .. } = &self.kernel;
        let Known { entry, names, types: same_types } = &self.known;
        let known = entry.clone().or_else(|| Entry::of(&self.kernel, &self.image, &self.kallsyms))?;
        let names = match known.names.as_ref().filter(|_| *names) {
            Some(known) => known.with_asked(symbols),
            None => KnownNames::of(space, symbols, &self.layout, self.kallsyms.token_table),
        };
        let types = match known.types.as_ref().filter(|_| *same_types) {
            Some(known) => types.with_asked(known),
            None => types.known(),
        };
        let learned = Entry { names, types, ..known };
        (Some(&learned) != entry.as_ref()).then_some(learned)
    }
}

/// Finds the kernel: by the registers where they lead to one, else by a scan.
///
/// # Errors
/// [`ExamineError`] if there is none, or none whose symbols can be read.
pub fn open<'m>(memory: &'m Recorder<'m>, cpus: &[Cpu]) -> Result<Opened<'m>, ExamineError> {
    open_known(memory, cpus, &[])
}

/// The same, with what earlier looks learned of kernels ([`crate::cache`]): what fits is not searched for.
///
/// # Errors
/// As [`open`].
pub fn open_known<'m>(
    memory: &'m Recorder<'m>,
    cpus: &[Cpu],
    known: &[Entry],
) -> Result<Opened<'m>, ExamineError> {
    let mut problems = Vec::new();
    let Place { paging, image, by_scan, table, mut known } = find(memory, cpus, known)?;
    let Kallsyms { symbols, addresses: kallsyms, layout, .. } = table;
    // On arm64 no table maps the header that the image was found by, so that nobody else reads it.
    if let Err(error @ ReadError::Exhausted { .. }) = memory.read(image.phys, &mut [0]) {
        return Err(FindError::Read(error).into());
    }
    let space = AddressSpace::new(memory, paging);
    // Every address space maps the kernel, but only its own maps all of it.
    let paging = kernel_root(&space, &image, &symbols).unwrap_or(paging);
    let space = AddressSpace::new(memory, paging);
    let types = known_types(&space, &symbols, &known).map(Ok);
    known.types = types.is_some();
    let types = types.unwrap_or_else(|| Types::find(&space, &symbols, image.virt..image.end()));
    let types = types.unwrap_or_else(|error| {
        problems.push(format!("the kernel's types could not be read, so that its tasks cannot: {error}"));
        Types::none()
    });
    let arch = match paging {
        Paging::X86_64(_) => Arch::X86_64,
        Paging::Aarch64(_) => Arch::Aarch64,
    };
    let kernel = Kernel::new(space, symbols, types, arch);
    let build_id = build_id(&kernel);
    Ok(Opened { kernel, image, by_scan, build_id, problems, kallsyms, layout, known })
}

/// The types, if they are those of an earlier look.
fn known_types(space: &AddressSpace<'_>, symbols: &Symbols, known: &Known) -> Option<Types> {
    let known = known.entry.as_ref()?.types.as_ref()?;
    let range = symbols.address("__start_BTF")?..symbols.address("__stop_BTF")?;
    Types::read_known(space, range, known).ok()?
}

/// A kernel with its symbols.
struct Place {
    paging: Paging,
    image: ImageRun,
    by_scan: bool,
    table: Kallsyms,
    known: Known,
}

fn find(memory: &Recorder<'_>, cpus: &[Cpu], known: &[Entry]) -> Result<Place, ExamineError> {
    let arm = cpus.iter().any(|it| matches!(it.registers, Registers::Aarch64(_)));
    let of = |image: u64| known.iter().filter(move |it| it.is_sane() && it.is_of(memory, image));
    let tables = |image: u64| of(image).find_map(|it| Some(it.root?.paging(image)));
    let by_registers = if arm {
        aarch64_known(memory, cpus, &tables).map(|it| (Paging::Aarch64(it.paging), it.image, None))
    } else {
        x86_64(memory, cpus).map(|it| (Paging::X86_64(it.paging), it.image, it.divide_error))
    };
    let read = |paging, image: ImageRun, divide_error, by_scan, told: Option<KallsymsAddresses>| {
        let space = AddressSpace::new(memory, paging);
        let place = |table, known| Place { paging, image: image.clone(), by_scan, table, known };
        for entry in of(image.phys) {
            let places = entry.kallsyms_at(image.virt);
            let same = entry
                .names
                .as_ref()
                .and_then(|it| kallsyms::at_known(&space, &image, &places, it, divide_error).ok().flatten());
            let names = same.is_some();
            let table = same.or_else(|| kallsyms::at(&space, &image, &places, divide_error).ok());
            if let Some(table) = table {
                return Ok(place(table, Known { entry: Some(entry.clone()), names, types: false }));
            }
        }
        let told = told.and_then(|it| kallsyms::at(&space, &image, &it, divide_error).ok());
        let table = match told {
            Some(table) => table,
            None => kallsyms::scan(&space, &image, divide_error)?,
        };
        Ok(place(table, Known::default()))
    };
    let error = match by_registers {
        Ok((paging, image, divide_error)) => return read(paging, image, divide_error, arm, None),
        Err(error) => error,
    };
    // Registers of firmware or of a half-written dump lead nowhere; memory may still hold a kernel.
    let mut failed = None;
    for found in without_registers(memory).map_err(|_| error)? {
        let told = found.info.as_ref().and_then(VmcoreInfo::kallsyms);
        match read(found.paging(), found.image().clone(), None, true, told) {
            Ok(place) => return Ok(place),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| FindError::NoImage { tried: 0 }.into()))
}
