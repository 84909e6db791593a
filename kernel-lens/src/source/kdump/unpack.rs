//! Pages as a dump packs them (makedumpfile diskdump_mod.h, `DUMP_DH_COMPRESSED_*`).
//!
//! Snappy is read by `snap`. No kept crate under a free enough licence reads LZO1X, so such pages are an
//! error that says so.

use std::io::Read;

const ZLIB: u32 = 0x1;
const LZO: u32 = 0x2;
const SNAPPY: u32 = 0x4;
const ZSTD: u32 = 0x20;
/// Window of a zstd frame at most: a page needs no more than itself.
const MAX_WINDOW: u64 = 1 << 20;

/// The page of `size` bytes that was packed.
pub(super) fn unpack(packed: Vec<u8>, flags: u32, size: usize) -> Result<Vec<u8>, &'static str> {
    let mut page = vec![0; size];
    match flags & (ZLIB | LZO | SNAPPY | ZSTD) {
        0 if packed.len() == size => return Ok(packed),
        0 => return Err("a page that is not packed has another size"),
        ZLIB => {
            let mut reader = flate2::read::ZlibDecoder::new(packed.as_slice());
            reader.read_exact(&mut page).map_err(|_| "a page that zlib packed cannot be unpacked")?;
            if reader.read(&mut [0]).unwrap_or(1) != 0 {
                return Err("a page that zlib packed is too large");
            }
        }
        SNAPPY => {
            if snap::raw::decompress_len(&packed).ok() != Some(size) {
                return Err("a page that snappy packed has another size");
            }
            let unpacked = snap::raw::Decoder::new().decompress(&packed, &mut page);
            unpacked.map_err(|_| "a page that snappy packed cannot be unpacked")?;
        }
        ZSTD => {
            let mut decoder = ruzstd::decoding::FrameDecoder::new();
            decoder.set_max_window_size(MAX_WINDOW);
            match decoder.decode_all(&packed, &mut page) {
                Ok(len) if len == size => {}
                Ok(_) => return Err("a page that zstd packed has another size"),
                Err(_) => return Err("a page that zstd packed cannot be unpacked"),
            }
        }
        LZO => return Err("pages that LZO packed are not read: dump with zlib or snappy instead"),
        _ => return Err("a page is packed in two ways"),
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn page() -> Vec<u8> {
        (0..4096u32).map(|it| (it / 7) as u8).collect()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn each_way_gives_the_page_back() {
        let zstd =
            ruzstd::encoding::compress_to_vec(page().as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
        let snappy = snap::raw::Encoder::new().compress_vec(&page()).unwrap();
        for (packed, flags) in [(page(), 0), (zlib(&page()), ZLIB), (zstd, ZSTD), (snappy, SNAPPY)] {
            assert_eq!(unpack(packed, flags, 4096).as_ref(), Ok(&page()), "{flags}");
        }
        assert!(unpack(page(), LZO, 4096).unwrap_err().contains("LZO"));
    }

    #[test]
    fn a_page_of_another_size_is_an_error() {
        assert!(unpack(zlib(&[0; 5000]), ZLIB, 4096).is_err());
        assert!(unpack(zlib(&[0; 4000]), ZLIB, 4096).is_err());
        // A gigabyte of zeros.
        assert!(unpack(snap::raw::Encoder::new().compress_vec(&[0; 9000]).unwrap(), SNAPPY, 4096).is_err());
        assert!(unpack(vec![0; 4095], 0, 4096).is_err());
        assert!(unpack(page(), ZLIB | ZSTD, 4096).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(packed in prop::collection::vec(any::<u8>(), 0..400), flags in 0..64u32) {
            let _ = unpack(packed, flags, 4096);
        }

        #[test]
        fn changed_bytes_are_no_panic(at in 0..200usize, byte: u8) {
            let zstd = ruzstd::encoding::compress_to_vec(page().as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
            let snappy = snap::raw::Encoder::new().compress_vec(&page()).unwrap();
            for (mut packed, flags) in [(zlib(&page()), ZLIB), (zstd, ZSTD), (snappy, SNAPPY)] {
                if let Some(it) = packed.get_mut(at) {
                    *it = byte;
                }
                let _ = unpack(packed, flags, 4096);
            }
        }
    }
}
