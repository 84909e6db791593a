//! Kernels of all times: their symbols are found, by a scan and where they are known to lie, and no lie in
//! the tables does harm.

use proptest::prelude::*;

use super::test_image::{COUNT, Kind, TestImage, kinds};
use super::*;
use crate::find::ImageRun;
use crate::{PhysRange, PhysicalMemory, Recorder};

fn all(found: &Kallsyms) -> Vec<(u64, u8, String)> {
    found.symbols.iter().map(|it| (it.address, it.kind, it.name.to_owned())).collect()
}

#[test]
fn the_symbols_of_every_kind_of_kernel_are_found() {
    for kind in kinds() {
        let image = TestImage::new(kind);
        let recorder = Recorder::new(&image.memory);
        let found =
            scan(&image.space(&recorder), &image.run, None).unwrap_or_else(|it| panic!("{kind:?}: {it}"));
        assert_eq!((found.encoding, found.addresses), (kind.encoding, image.addresses), "{kind:?}");
        assert_eq!(all(&found), image.symbols, "{kind:?}");
        assert_eq!(found.symbols.address("linux_banner"), Some(0x3_0000));
    }
}

#[test]
fn known_places_need_no_scan_and_move_with_the_image() {
    for kind in kinds() {
        let image = TestImage::new(kind);
        let recorder = Recorder::new(&image.memory);
        let space = image.space(&recorder);
        let elsewhere = image.addresses.moved(0, 0x1000_0000);
        assert!(at(&space, &image.run, &elsewhere, None).is_err());
        let back = elsewhere.moved(0x1000_0000, 0);
        let found = at(&space, &image.run, &back, None).unwrap();
        assert_eq!((all(&found), found.encoding), (image.symbols, kind.encoding));
    }
}

/// Only the pages of a record.
struct Kept<'a>(&'a TestImage, Vec<u64>);

impl PhysicalMemory for Kept<'_> {
    fn ranges(&self) -> &[PhysRange] {
        self.0.memory.ranges()
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let end = phys + buf.len() as u64;
        let kept = (phys & !0xfff..end).step_by(4096).all(|it| self.1.contains(&it));
        if kept { self.0.memory.read(phys, buf) } else { Err(ReadError::NotKept { phys }) }
    }
}

#[test]
fn the_record_of_a_scan_is_enough_for_another_one() {
    for kind in kinds() {
        let image = TestImage::new(kind);
        let recorder = Recorder::new(&image.memory);
        scan(&image.space(&recorder), &image.run, None).unwrap();
        let kept = Kept(&image, recorder.recorded());
        let recorder = Recorder::new(&kept);
        let again =
            scan(&image.space(&recorder), &image.run, None).unwrap_or_else(|it| panic!("{kind:?}: {it}"));
        assert_eq!(all(&again), image.symbols);
    }
}

#[test]
fn an_image_says_how_far_the_search_came() {
    let newest = kinds().pop().unwrap();
    let search = |change: &dyn Fn(&TestImage)| {
        let image = TestImage::new(newest);
        change(&image);
        let recorder = Recorder::new(&image.memory);
        scan(&image.space(&recorder), &image.run, None).unwrap_err()
    };
    let tokens = search(&|it| it.memory.write(it.addresses.token_index + 100, &[0xff; 2]));
    assert!(matches!(tokens, KallsymsError::NoTokens));
    let names = search(&|it| it.memory.write(it.addresses.names, &[0]));
    assert!(matches!(names, KallsymsError::NoNames));
    let banner = search(&|it| it.memory.write(0x3_0000, b"Plan 9"));
    assert!(matches!(banner, KallsymsError::NoAddresses { count: COUNT }));
}

#[test]
fn one_anchor_is_not_enough() {
    let image = TestImage::new(kinds()[0]);
    let mut names = vec![0; 0x4000];
    image.memory.read(image.addresses.names, &mut names).unwrap();
    let place = memchr::memmem::find(&names, b"linux_proc_banner").unwrap() as u64;
    image.memory.write(image.addresses.names + place, b"other");
    let recorder = Recorder::new(&image.memory);
    let space = image.space(&recorder);
    assert!(matches!(scan(&space, &image.run, None), Err(KallsymsError::NoAddresses { .. })));
    assert!(scan(&space, &image.run, Some(0x2_0120)).is_err());
    assert!(scan(&space, &image.run, Some(0x2_0140)).is_ok());
}

fn kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(kinds())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changed_tables_do_no_harm(kind in kind(), changes in proptest::collection::vec((0.0..1.0f64, any::<u32>()), 1..8)) {
        let image = TestImage::new(kind);
        let len = (image.tables.end - image.tables.start) as f64;
        for (place, value) in changes {
            image.memory.write(image.tables.start + (place * len) as u64, &value.to_le_bytes());
        }
        let recorder = Recorder::new(&image.memory);
        let space = image.space(&recorder);
        for found in [scan(&space, &image.run, Some(0x2_0040)), at(&space, &image.run, &image.addresses, None)] {
            let Ok(found) = found else { continue };
            prop_assert_eq!(found.symbols.iter().count(), found.symbols.len());
            let _ = (found.symbols.at(0x2_0055), found.symbols.address("sym_5"));
        }
    }

    #[test]
    fn wild_places_do_no_harm(
        kind in kind(),
        which in 0..7usize,
        to in prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), 0x8_0000..0x9_0000u64],
    ) {
        let image = TestImage::new(kind);
        let mut places = image.addresses;
        match which {
            0 => places.num_syms = to,
            1 => places.names = to,
            2 => places.token_table = to,
            3 => places.token_index = to,
            4 => places.offsets = Some(to),
            5 => places.relative_base = Some(to),
            _ => places.addresses = Some(to),
        }
        let recorder = Recorder::new(&image.memory);
        let _ = at(&image.space(&recorder), &image.run, &places, None);
        let run = ImageRun::new(to, image.run.phys, image.run.len);
        let _ = scan(&image.space(&recorder), &run, None);
        let run = ImageRun { constants: to..u64::MAX, ..image.run.clone() };
        prop_assert!(scan(&image.space(&recorder), &run, None).is_ok());
    }
}
