//! The kernel is found without registers, and on arm64 without a stop, where the guest's own `/proc/kallsyms`
//! says that it lies.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use vmward_kernel_lens::arch::Paging;
use vmward_kernel_lens::cache::{Cache, Entry};
use vmward_kernel_lens::find::{self, FoundKernel, ImageRun};
use vmward_kernel_lens::minicore::{self, Contents};
use vmward_kernel_lens::{
    AddressSpace, Options, PAGE_SIZE, PhysRange, PhysicalMemory, ReadError, Recorder, examine, examine_known,
    open_known, source, vmcoreinfo,
};
use vmward_tests::lens::Pictured;

/// Symbols of the image as the guest tells them.
struct Truth(HashMap<String, u64>);

impl Truth {
    fn of(guest: &Pictured) -> Result<Self> {
        let text = guest.image().text("kallsyms")?;
        let symbols = text.lines().filter(|it| !it.contains('[')).filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((words.nth(1)?.to_owned(), address))
        });
        Ok(Self(symbols.collect()))
    }

    fn at(&self, name: &str) -> Result<u64> {
        self.0.get(name).copied().with_context(|| format!("the guest names no {name}"))
    }

    /// The tables lead to what the symbols name.
    fn is_reached(&self, recorder: &Recorder<'_>, paging: Paging) -> Result<()> {
        let space = AddressSpace::new(recorder, paging);
        let banner = space.bytes(self.at("linux_banner")?, 14)?;
        ensure!(banner == b"Linux version ", "at linux_banner lies {banner:?}");
        let task = space.bytes(self.at("init_task")?, 8192)?;
        ensure!(task.windows(10).any(|it| it == b"swapper/0\0"), "init_task is another");
        Ok(())
    }

    /// The tables are the kernel's own, and the image begins where the symbols do.
    fn agrees(&self, recorder: &Recorder<'_>, paging: Paging, image: &ImageRun) -> Result<()> {
        self.is_reached(recorder, paging)?;
        let space = AddressSpace::new(recorder, paging);
        let root = self.at("init_top_pgt").or_else(|_| self.at("swapper_pg_dir"))?;
        let root = space.phys(root)?;
        let found = match paging {
            Paging::X86_64(it) => it.root,
            Paging::Aarch64(it) => it.root,
        };
        ensure!(found == root, "the tables are at {found:#x}, not at {root:#x}");
        ensure!(image.virt == self.at("_text")?, "the image begins at {:#x}", image.virt);
        ensure!(image.end() >= self.at("_end")?, "the image ends at {:#x}", image.end());
        Ok(())
    }
}

/// A guest's memory without some of its pages.
struct Without<'m> {
    memory: &'m dyn PhysicalMemory,
    pages: Vec<u64>,
}

impl PhysicalMemory for Without<'_> {
    fn ranges(&self) -> &[PhysRange] {
        self.memory.ranges()
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.memory.read(phys, buf)?;
        let all = PhysRange { start: phys, end: phys + buf.len() as u64 };
        for page in &self.pages {
            if let Some(hidden) = all.overlap(PhysRange { start: *page, end: page + PAGE_SIZE }) {
                buf[(hidden.start - phys) as usize..(hidden.end - phys) as usize].fill(0);
            }
        }
        Ok(())
    }

    fn populated(&self, from: u64) -> Option<PhysRange> {
        self.memory.populated(from)
    }
}

/// Pages that hold `VMCOREINFO`.
fn texts(memory: &dyn PhysicalMemory) -> Result<Vec<u64>> {
    let copies = vmcoreinfo::find(&Recorder::new(memory))?;
    Ok(copies.iter().flat_map(|it| it.pages.iter().chain(&it.notes)).copied().collect())
}

fn is_found_without_registers(kernel: &str) -> Result<()> {
    let guest = Pictured::of(kernel)?;
    let truth = Truth::of(&guest)?;
    let recorder = Recorder::new(guest.memory());
    let found = find::without_registers(&recorder)?;
    ensure!(found.len() == 1, "{} kernels were found", found.len());
    truth.agrees(&recorder, found[0].paging(), found[0].image())?;

    // With nothing but the page tables, or on arm64 with nothing but the text.
    let mut hidden = Without { memory: guest.memory(), pages: texts(guest.memory())? };
    ensure!(hidden.pages.len() >= 2, "VMCOREINFO has {} pages", hidden.pages.len());
    if let FoundKernel::Aarch64(kernel) = &found[0].kernel {
        hidden.pages = vec![kernel.image.phys];
    }
    let recorder = Recorder::new(&hidden);
    let again = find::without_registers(&recorder)?;
    ensure!(again.len() == 1, "{again:x?}");
    // On x86 a process's tables do as well: what was init code may hold some.
    truth.is_reached(&recorder, again[0].paging())?;
    ensure!(again[0].paging().with_root(0) == found[0].paging().with_root(0), "{again:x?}");
    ensure!(again[0].image().virt - again[0].image().phys == found[0].image().virt - found[0].image().phys);
    Ok(())
}

#[test]
fn the_5_10_kernel_is_found_without_registers() -> Result<()> {
    is_found_without_registers("amd64-5.10")
}

#[test]
fn the_6_1_kernel_is_found_without_registers() -> Result<()> {
    is_found_without_registers("amd64-6.1")
}

#[test]
fn the_6_12_kernel_is_found_without_registers() -> Result<()> {
    is_found_without_registers("amd64-6.12")
}

#[test]
fn the_7_x_kernel_is_found_without_registers() -> Result<()> {
    is_found_without_registers("amd64-7.x")
}

#[test]
fn the_arm64_kernel_is_found_without_registers() -> Result<()> {
    is_found_without_registers("arm64-6.12")
}

#[test]
fn an_arm64_kernel_is_what_its_vcpus_execute() -> Result<()> {
    let guest = Pictured::of("arm64-6.12")?;
    let truth = Truth::of(&guest)?;
    let recorder = Recorder::new(guest.memory());
    let found = find::aarch64(&recorder, guest.cpus())?;
    truth.agrees(&recorder, Paging::Aarch64(found.paging), &found.image)?;
    ensure!(found.executed == Some(true), "{found:x?}");
    // The trials leave little in the record: a header and tables.
    let pages = Recorder::new(guest.memory());
    find::aarch64(&pages, guest.cpus())?;
    ensure!(pages.recorded().len() < 200, "{} pages", pages.recorded().len());

    // What the guest says of itself; QEMU's `-cpu max` has 52 bits.
    let space = AddressSpace::new(&recorder, Paging::Aarch64(found.paging));
    let copies = vmcoreinfo::find(&recorder)?;
    let info = &copies.first().context("no VMCOREINFO")?.info;
    ensure!(info.bits("kimage_voffset") == Some(found.image_offset()));
    ensure!(info.bits("PHYS_OFFSET") == found.phys_start());
    ensure!(info.bits("KERNELPACMASK") == Some(found.code_mask()));
    ensure!(space.u64(truth.at("kimage_voffset")?)? == found.image_offset());
    Ok(())
}

fn says_what_the_guest_says(kernel: &str) -> Result<()> {
    let guest = Pictured::of(kernel)?;
    let truth = Truth::of(&guest)?;
    let recorder = Recorder::new(guest.memory());
    let copies = vmcoreinfo::find(&recorder)?;
    ensure!(copies.len() == 1, "{} texts", copies.len());
    let info = &copies[0].info;
    let release = info.release().context("no release")?;
    ensure!(guest.image().text("version")?.contains(&format!("Linux version {release} ")), "{release}");
    for name in ["_stext", "init_uts_ns", "swapper_pg_dir", "prb"] {
        // On x86 the table has another name there.
        let own = if name == "swapper_pg_dir" && truth.at(name).is_err() { "init_top_pgt" } else { name };
        ensure!(info.symbol(name) == Some(truth.at(own)?), "{name}");
    }
    let found = find::without_registers(&recorder)?;
    let space = AddressSpace::new(&recorder, found[0].paging());
    let agreement = vmcoreinfo::agrees(&space, info)?;
    ensure!(agreement.is_good(), "{agreement:?}");
    // The note of the linker ends in the build id.
    let notes = truth.at("__start_notes")?..truth.at("__stop_notes")?;
    let bytes = space.bytes(notes.start, usize::try_from(notes.end - notes.start)?)?;
    let id = info.build_id().context("no build id")?;
    let id: Vec<u8> = (0..id.len() / 2)
        .map(|it| u8::from_str_radix(&id[2 * it..2 * it + 2], 16))
        .collect::<Result<_, _>>()?;
    ensure!(bytes.windows(id.len()).any(|it| it == id), "the notes have another build id");
    Ok(())
}

#[test]
fn vmcoreinfo_names_what_the_guest_names() -> Result<()> {
    for kernel in ["amd64-5.10", "amd64-6.1", "amd64-6.12", "amd64-7.x", "arm64-6.12"] {
        says_what_the_guest_says(kernel).with_context(|| kernel.to_owned())?;
    }
    Ok(())
}

#[test]
fn an_arm64_guest_and_its_minicore_tell_the_same() -> Result<()> {
    let guest = Pictured::of("arm64-6.12")?;
    let recorder = Recorder::new(guest.memory());
    let mut live = examine(&recorder, guest.cpus(), Options::default())?;
    ensure!(live.kernel.banner == guest.image().text("version")?.trim_end(), "{}", live.kernel.banner);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("arm64.core");
    let contents =
        Contents { arch: guest.arch(), cpus: guest.cpus(), vmcoreinfo: None, windows: &[], extra: &[] };
    minicore::write(&mut std::fs::File::create(&path)?, &recorder, &contents, |_| true)?;
    let opened = source::open(&path)?;
    let mut kept = examine(&Recorder::new(&*opened.memory), &opened.cpus, Options::default())?;
    for it in [&mut live, &mut kept] {
        it.cost = Default::default();
        // Pages of user space are not kept.
        it.tasks.iter_mut().for_each(|it| it.command_line = None);
    }
    ensure!(kept.kernel == live.kernel, "{:?}, not {:?}", kept.kernel, live.kernel);
    ensure!(kept == live, "the minicore tells something else");
    Ok(())
}

/// What a look learned serves the next one; another kernel's places under this one's build id do not harm it.
fn is_known_the_second_time(kernel: &str, other: &str) -> Result<()> {
    let guest = Pictured::of(kernel)?;
    let look = |known: &[Entry]| -> Result<_> {
        let recorder = Recorder::new(guest.memory());
        let (mut found, learned) = examine_known(&recorder, guest.cpus(), Options::default(), known)?;
        let cost = std::mem::take(&mut found.cost);
        Ok((found, learned, cost, recorder.recorded()))
    };
    let (cold, learned, cost, pages) = look(&[])?;
    let learned = learned.context("nothing was learned")?;
    ensure!(learned.names.is_some() && learned.types.is_some());
    let folder = tempfile::tempdir()?;
    let (mut cache, _) = Cache::load(folder.path());
    cache.keep(learned.clone())?;

    let (cache, problems) = Cache::load(folder.path());
    ensure!(problems.is_empty() && cache.entries() == [learned.clone()], "{problems:?}");
    let (warm, again, warm_cost, warm_pages) = look(cache.entries())?;
    ensure!(warm == cold, "the second look tells something else");
    ensure!(again.is_none(), "it was searched again");
    ensure!(warm_cost.reads < cost.reads, "{} reads, not fewer than {}", warm_cost.reads, cost.reads);
    let missing: Vec<_> = pages.iter().filter(|it| warm_pages.binary_search(it).is_err()).collect();
    ensure!(missing.is_empty(), "the second record lacks {missing:x?}");

    let recorder = Recorder::new(guest.memory());
    let symbols = guest.image().text("kallsyms")?;
    let opened = open_known(&recorder, guest.cpus(), cache.entries())?;
    let mut ours = opened.kernel.symbols.iter();
    for line in symbols.lines().take_while(|it| !it.contains('[')) {
        let symbol = ours.next().context("fewer symbols than the guest has")?;
        ensure!(
            line == format!("{:016x} {} {}", symbol.address, char::from(symbol.kind), symbol.name),
            "{line}"
        );
    }

    let stranger = Pictured::of(other)?;
    let recorder = Recorder::new(stranger.memory());
    let foreign = examine_known(&recorder, stranger.cpus(), Options::default(), &[])?.1;
    let foreign = foreign.context("nothing was learned")?;
    // All of it is another's; the places are right, what was derived from the tables is another's.
    let mut lies = [
        Entry { build_id: learned.build_id.clone(), note: learned.note, ..foreign.clone() },
        Entry { names: foreign.names, types: foreign.types, ..learned.clone() },
    ];
    for lie in &mut lies {
        let (lied, corrected, ..) = look(std::slice::from_ref(lie))?;
        ensure!(lied == cold, "a lie changed what is told");
        let corrected = corrected.context("nothing was learned in spite of a lie")?;
        ensure!(corrected.kallsyms == learned.kallsyms && corrected.root == learned.root);
        ensure!(look(&[corrected])?.1.is_none(), "what was corrected does not serve");
    }
    Ok(())
}

#[test]
fn what_a_look_learned_serves_the_next_one() -> Result<()> {
    is_known_the_second_time("amd64-5.10", "amd64-6.1")?;
    is_known_the_second_time("amd64-7.x", "amd64-6.12")?;
    is_known_the_second_time("arm64-6.12", "amd64-7.x")
}
