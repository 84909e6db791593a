//! The build id in `VMCOREINFO`, which some releases fill with garbage.

use super::VmcoreInfo;

/// Stable releases (major, minor, first and last patch) whose `BUILD-ID` is not the build id of the kernel:
/// the backport of a change to the reading of notes left it unset. No type or symbol tells them apart,
/// hence the versions; drgn ignores the same ones.
const BROKEN: [(u32, u32, u32, u32); 5] =
    [(5, 15, 168, u32::MAX), (6, 1, 113, 118), (6, 6, 55, 62), (6, 10, 14, u32::MAX), (6, 11, 3, 9)];

impl VmcoreInfo {
    /// The build id in lower-case hexadecimal (v5.9, commit 0935288c6e00); `None` also where the release is
    /// known to print garbage. The notes of the image have it for certain.
    pub fn build_id(&self) -> Option<&str> {
        let id = self.get("BUILD-ID")?;
        let sane = (16..=128).contains(&id.len()) && id.len().is_multiple_of(2);
        let hex = id.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        let set = id.bytes().any(|it| it != b'0');
        (sane && hex && set && !broken(self.release()?)).then_some(id)
    }
}

fn broken(release: &str) -> bool {
    let mut numbers = release.split(|it: char| !it.is_ascii_digit()).map(|it| it.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (major, minor, patch) = (next(), next(), next());
    BROKEN.iter().any(|it| (it.0, it.1) == (major, minor) && (it.2..=it.3).contains(&patch))
}

#[cfg(test)]
mod tests {
    use super::super::tests::text;
    use super::*;

    #[test]
    fn the_build_id_of_a_release_that_prints_garbage_is_ignored() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        let of = |release: &str, id: &str| {
            let text = text(&format!("BUILD-ID={id}\n")).replace("6.12.1-test", release);
            VmcoreInfo::parse(text.as_bytes()).unwrap().build_id().map(str::to_owned)
        };
        assert_eq!(of("6.1.112-1-amd64", id).as_deref(), Some(id));
        assert_eq!(of("6.1.113", id), None);
        assert_eq!(of("6.1.119", id).as_deref(), Some(id));
        assert_eq!(of("5.15.0-168-generic", id).as_deref(), Some(id));
        assert_eq!(of("6.12.1", "0123"), None);
        assert_eq!(of("6.12.1", &"0".repeat(40)), None);
        assert_eq!(of("6.12.1", &"xy".repeat(20)), None);
    }
}
