//! A core that zstd packed (RFC 8878), as minicores are: unpacked into memory, as far as a minicore goes.

use std::io::Read;

use super::{OpenError, ReadAt};

/// The first bytes of a frame.
pub(super) const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Bytes of the packed file at most: three times what a bundle takes.
const MAX_PACKED: u64 = 96 << 20;
/// Bytes of what is in it at most: all pages that a record holds, with headers and notes.
const MAX_UNPACKED: usize = 160 << 20;
/// Window of the frame at most, as every decoder must take.
const MAX_WINDOW: u64 = 8 << 20;
/// Bytes by which the buffer grows, so that a small file takes little.
const STEP: usize = 1 << 20;

fn damaged(what: &'static str) -> OpenError {
    OpenError::Damaged { format: "packed core", what }
}

/// What is packed in a file.
pub(super) fn unpack(file: &dyn ReadAt) -> Result<Vec<u8>, OpenError> {
    if file.size() > MAX_PACKED {
        let what = "packed and larger than any minicore".to_owned();
        return Err(OpenError::Unsupported { what, instead: "unpack it with zstd first" });
    }
    let packed = file.bytes(0, file.size() as usize).map_err(OpenError::io("the packed core"))?;
    let mut reader =
        ruzstd::decoding::StreamingDecoder::new_with_max_window_size(packed.as_slice(), MAX_WINDOW)
            .map_err(|_| damaged("its zstd frame cannot be read"))?;
    let mut out = Vec::new();
    loop {
        let done = out.len();
        if done > MAX_UNPACKED {
            let what = "packed and holds more than any minicore".to_owned();
            return Err(OpenError::Unsupported { what, instead: "unpack it with zstd first" });
        }
        out.reserve_exact(STEP);
        let read = (&mut reader).take(STEP as u64).read_to_end(&mut out);
        read.map_err(|_| damaged("its zstd frame is broken"))?;
        // Something else need not be unpacked to its end to be told.
        if out.len() == done || !out.starts_with(b"\x7fELF") {
            return Ok(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::open_bytes;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    #[test]
    fn what_was_packed_comes_out_and_damage_is_an_error() {
        let plain: Vec<u8> =
            b"\x7fELF".iter().copied().chain((0..9000u32).map(|it| (it / 100) as u8)).collect();
        let file = packed(&plain);
        assert!(unpack(&file).unwrap() == plain);
        assert!(unpack(&file[..file.len() / 2].to_vec()).is_err());
        for at in 4..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x55;
            let _ = unpack(&changed);
        }
    }

    #[test]
    fn something_else_that_is_packed_is_named_by_its_own_first_bytes() {
        let Err(error) = open_bytes(Box::new(packed(b"a text of no interest"))) else { panic!("opened") };
        assert!(matches!(error, OpenError::Unknown { start } if start == b"a text o"));
    }

    #[test]
    fn a_file_that_unpacks_to_more_than_any_minicore_is_refused() {
        let mut large = vec![0; MAX_UNPACKED + STEP + 1];
        large[..4].copy_from_slice(b"\x7fELF");
        let file = packed(&large);
        assert!(file.len() < 100_000);
        assert!(matches!(unpack(&file), Err(OpenError::Unsupported { .. })));
    }
}
