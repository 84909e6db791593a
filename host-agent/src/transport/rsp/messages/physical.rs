//! `Qqemu.PhyMemMode`: whether `m` reads guest-physical addresses. QEMU keeps it across connections, so
//! whoever sets it must set it back.

/// Sets or clears physical mode.
#[must_use]
pub fn set(on: bool) -> &'static [u8] {
    if on { b"Qqemu.PhyMemMode:1" } else { b"Qqemu.PhyMemMode:0" }
}

/// Asks for the mode.
pub const QUERY: &[u8] = b"qqemu.PhyMemMode";

/// Reads the answer to [`QUERY`].
#[must_use]
pub fn mode(answer: &[u8]) -> Option<bool> {
    match answer {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_one_digit() {
        assert_eq!(mode(b"1"), Some(true));
        assert_eq!(mode(b"0"), Some(false));
        assert_eq!(mode(b""), None);
    }
}
