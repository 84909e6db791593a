//! The symbols that the lens finds are those that the guest's `/proc/kallsyms` names, each with its letter
//! and its address; the modules are those of `/proc/modules`.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use vmward_kernel_lens::arch::{Aarch64Paging, Granule, Paging};
use vmward_kernel_lens::find::{self, ImageRun};
use vmward_kernel_lens::kallsyms::{self, Encoding, Kallsyms};
use vmward_kernel_lens::{AddressSpace, Modules, PhysicalMemory, Recorder};
use vmward_tests::lens::Pictured;

/// A line of `/proc/kallsyms`: `ffffffff8d200000 T _stext`, with `\t[virtio_blk]` behind it in a module.
struct Line<'a> {
    address: u64,
    letter: u8,
    name: &'a str,
    module: Option<&'a str>,
}

fn lines(text: &str) -> Result<Vec<Line<'_>>> {
    let line = |line| parse(line).with_context(|| format!("{line:?} is no line of /proc/kallsyms"));
    text.lines().map(line).collect()
}

fn parse(line: &str) -> Option<Line<'_>> {
    let (symbol, module) = match line.split_once('\t') {
        Some((symbol, module)) => (symbol, Some(module.strip_prefix('[')?.strip_suffix(']')?)),
        None => (line, None),
    };
    let mut words = symbol.split(' ');
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    Some(Line { address, letter: *words.next()?.as_bytes().first()?, name: words.next()?, module })
}

/// The guest lists the image's symbols first, in the table's own order.
fn are_the_images(found: &Kallsyms, truth: &[Line<'_>]) -> Result<()> {
    let truth = truth.iter().take_while(|it| it.module.is_none());
    let mut n_symbols = 0;
    let mut ours = found.symbols.iter();
    for line in truth {
        let symbol = ours.next().with_context(|| format!("{} and what follows is missing", line.name))?;
        let same = (symbol.address, symbol.kind, symbol.name) == (line.address, line.letter, line.name);
        ensure!(same, "{symbol:x?} is {:x} {} in the guest", line.address, line.name);
        let known = found.symbols.all(line.name).any(|it| it == line.address);
        ensure!(known, "{} is not found by its name", line.name);
        n_symbols += 1;
    }
    ensure!(ours.next().is_none(), "more symbols than the guest has");
    ensure!(n_symbols > 50_000, "only {n_symbols} symbols");
    Ok(())
}

/// Without a scan it is the same table.
fn are_found_again(space: &AddressSpace<'_>, image: &ImageRun, found: &Kallsyms) -> Result<()> {
    let recorder = Recorder::new(space.memory().memory());
    let space = AddressSpace::new(&recorder, space.paging());
    let again = kallsyms::at(&space, image, &found.addresses, None)?;
    ensure!(again.addresses == found.addresses && again.encoding == found.encoding);
    ensure!(again.symbols.iter().eq(found.symbols.iter()), "another table");
    Ok(())
}

fn reads_the_symbols(kernel: &str, expected: fn(Encoding) -> bool) -> Result<()> {
    let guest = Pictured::of(kernel)?;
    let text = guest.image().text("kallsyms")?;
    let truth = lines(&text)?;
    let recorder = Recorder::new(guest.memory());
    let found = find::x86_64(&recorder, guest.cpus())?;
    let space = AddressSpace::new(&recorder, Paging::X86_64(found.paging));
    let table = kallsyms::scan(&space, &found.image, found.divide_error)?;
    ensure!(expected(table.encoding), "{:?}", table.encoding);
    are_the_images(&table, &truth)?;
    are_found_again(&space, &found.image, &table)?;

    ensure!(table.symbols.address("_text") == Some(found.image.virt), "the image begins elsewhere");
    ensure!(table.symbols.address("_end").is_some_and(|it| it <= found.image.end()), "the image ends before");
    let handler = found.divide_error.context("no gate 0")?;
    let handler = table.symbols.at(handler).context("gate 0 leads nowhere")?;
    ensure!(handler.name == "asm_exc_divide_error", "gate 0 leads to {handler:?}");

    let root = find::kernel_root(&space, &found.image, &table.symbols).context("no root of its own")?;
    let space = AddressSpace::new(&recorder, root);
    let own = table.symbols.address("init_top_pgt").context("no init_top_pgt")?;
    ensure!(matches!(root, Paging::X86_64(it) if Some(it.root) == space.phys(own).ok()));
    reads_the_modules(&guest, &space, &found.image, &table, &truth)
}

/// What the compiler marks has no meaning: the kernel does not look such names up either.
fn is_marked(name: &str) -> bool {
    name.starts_with(".L") || name.starts_with("L0") || name.starts_with('$')
}

fn reads_the_modules(
    guest: &Pictured,
    space: &AddressSpace<'_>,
    image: &ImageRun,
    table: &Kallsyms,
    truth: &[Line<'_>],
) -> Result<()> {
    let types = vmward_kernel_lens::btf::Types::find(space, &table.symbols, image.virt..image.end())?;
    let modules = Modules::read(space, &table.symbols, &types);
    ensure!(modules.broken().is_none(), "{:?}", modules.broken());
    // `virtio_net 122880 0 - Live 0xffffffffc0622000`: name, bytes, uses, users, state, start of the code.
    let text = guest.image().text("modules")?;
    let mut ours = modules.iter();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let module = ours.next().with_context(|| format!("{line} and what follows is missing"))?;
        let size: u64 = module.parts.iter().map(|it| it.range.end - it.range.start).sum();
        let start = module.parts.first().context("a module without memory")?.range.start;
        ensure!(words.first() == Some(&module.name.as_str()), "{line} is not {}", module.name);
        ensure!(words.get(1) == Some(&size.to_string().as_str()), "{line} has {size} bytes");
        ensure!(words.contains(&format!("{start:#x}").as_str()), "{line} starts at {start:#x}");
    }
    ensure!(ours.next().is_none(), "more modules than the guest has");

    // The guest writes letters of exported symbols large.
    let names: HashSet<&str> = modules.iter().map(|it| it.name.as_str()).collect();
    let theirs = truth.iter().filter(|it| it.module.is_some_and(|it| names.contains(it)));
    let mut theirs: Vec<_> = theirs
        .filter(|it| !is_marked(it.name))
        .map(|it| (it.address, it.letter.to_ascii_lowercase(), it.name, it.module.unwrap_or_default()))
        .collect();
    let mut ours: Vec<_> = modules
        .iter()
        .flat_map(|module| module.symbols(space).iter().map(move |it| (it, module.name.as_str())))
        .map(|(it, module)| (it.address, it.kind.to_ascii_lowercase(), it.name, module))
        .collect();
    theirs.sort_unstable();
    ours.sort_unstable();
    if let Some((ours, theirs)) = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs) {
        anyhow::bail!("{ours:x?} is {theirs:x?} in the guest");
    }
    ensure!(ours.len() == theirs.len() && ours.len() > 500, "{} and {} symbols", ours.len(), theirs.len());
    for (address, letter, name, of) in &ours {
        let Some((module, symbol)) = modules.symbol(space, *address) else {
            // Code that only ran at the start is gone.
            ensure!(*letter != b't', "nothing lies where {name} of {of} lies");
            continue;
        };
        ensure!(module.name == *of && symbol.address == *address, "{symbol:x?} is {name} of {of}");
    }
    Ok(())
}

fn is_per_cpu(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::RelativeOrPerCpu { .. })
}

#[test]
fn the_symbols_of_5_10_are_the_guests_own() -> Result<()> {
    reads_the_symbols("amd64-5.10", is_per_cpu)
}

#[test]
fn the_symbols_of_6_1_are_the_guests_own() -> Result<()> {
    reads_the_symbols("amd64-6.1", is_per_cpu)
}

#[test]
fn the_symbols_of_6_12_are_the_guests_own() -> Result<()> {
    reads_the_symbols("amd64-6.12", is_per_cpu)
}

#[test]
fn the_symbols_of_7_are_the_guests_own() -> Result<()> {
    reads_the_symbols("amd64-7.x", |it| it == Encoding::PlaceRelative)
}

/// Page tables are taken from the guest's truth: this test is of the symbols alone.
#[test]
fn the_symbols_of_6_12_on_arm64_are_the_guests_own() -> Result<()> {
    let guest = Pictured::of("arm64-6.12")?;
    let text = guest.image().text("kallsyms")?;
    let truth = lines(&text)?;
    let known = |name: &str| {
        let line = truth.iter().find(|it| it.name == name);
        line.map(|it| it.address).with_context(|| format!("no {name}"))
    };
    let (start, end) = (known("_text")?, known("_end")?);
    let phys = arm_image(guest.memory()).context("no image of arm64")?;
    let root = phys + (known("swapper_pg_dir")? - start);
    let recorder = Recorder::new(guest.memory());
    let image = ImageRun::new(start, phys, end - start);
    let leads =
        |paging: &Paging| paging.translate(&recorder, start).ok().flatten().is_some_and(|it| it.phys == phys);
    let paging = [48, 52].map(|virt_bits| {
        Paging::Aarch64(Aarch64Paging { root, granule: Granule::K4, virt_bits, phys_52: virt_bits == 52 })
    });
    let paging = paging.into_iter().find(leads).context("the tables lead elsewhere")?;
    let space = AddressSpace::new(&recorder, paging);
    let table = kallsyms::scan(&space, &image, None)?;
    ensure!(matches!(table.encoding, Encoding::Relative { .. }), "{:?}", table.encoding);
    are_the_images(&table, &truth)?;
    are_found_again(&space, &image, &table)?;
    reads_the_modules(&guest, &space, &image, &table, &truth)
}

/// The header of the image (Documentation/arch/arm64/booting.rst) has `ARM\x64` at byte 56.
fn arm_image(memory: &dyn PhysicalMemory) -> Option<u64> {
    let mut starts = memory.ranges().iter().flat_map(|it| (it.start..it.end).step_by(64 << 10));
    starts.find(|start| {
        let mut magic = [0; 4];
        memory.read(start + 56, &mut magic).is_ok() && &magic == b"ARM\x64"
    })
}
