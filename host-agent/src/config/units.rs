//! Durations and sizes as people write them: `"2s"`, `"500ms"`, `"1MiB"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text that is no duration or no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUnit {
    /// Not a duration.
    #[error("{0:?} is no duration: write a whole number and one of ms, s, m, h, d, such as \"2s\"")]
    Duration(String),
    /// Not a size.
    #[error("{0:?} is no size: write a whole number and one of B, KiB, MiB, GiB, such as \"1MiB\"")]
    Size(String),
}

/// A length of time, written as a whole number with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9]+(ms|s|m|h|d)$"))]
pub struct HumanDuration(Duration);

const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

impl HumanDuration {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The time itself.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for HumanDuration {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        number_with_unit(text, &DURATIONS)
            .map(Self::from_millis)
            .ok_or_else(|| BadUnit::Duration(text.to_owned()))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        match ms {
            0 => f.write_str("0s"),
            _ if ms % 1000 != 0 => write!(f, "{ms}ms"),
            _ if ms % 60_000 != 0 => write!(f, "{}s", ms / 1000),
            _ if ms % 3_600_000 != 0 => write!(f, "{}m", ms / 60_000),
            _ if ms % 86_400_000 != 0 => write!(f, "{}h", ms / 3_600_000),
            _ => write!(f, "{}d", ms / 86_400_000),
        }
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = BadUnit;

    fn try_from(text: String) -> Result<Self, BadUnit> {
        text.parse()
    }
}

impl From<HumanDuration> for String {
    fn from(it: HumanDuration) -> String {
        it.to_string()
    }
}

/// A number of bytes, written as a whole number with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9]+(B|KiB|MiB|GiB)$"))]
pub struct ByteSize(u64);

const SIZES: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many MiB.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        number_with_unit(text, &SIZES).map(Self).ok_or_else(|| BadUnit::Size(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes == 0 || bytes % (1 << 10) != 0 => write!(f, "{bytes}B"),
            bytes if bytes % (1 << 20) != 0 => write!(f, "{}KiB", bytes >> 10),
            bytes if bytes % (1 << 30) != 0 => write!(f, "{}MiB", bytes >> 20),
            bytes => write!(f, "{}GiB", bytes >> 30),
        }
    }
}

impl TryFrom<String> for ByteSize {
    type Error = BadUnit;

    fn try_from(text: String) -> Result<Self, BadUnit> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(it: ByteSize) -> String {
        it.to_string()
    }
}

/// The first unit that ends the text decides, so `ms` stands before `s` and `KiB` before `B`.
fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_mean_what_they_say() {
        assert_eq!("2s".parse(), Ok(HumanDuration::from_secs(2)));
        assert_eq!("500ms".parse(), Ok(HumanDuration::from_millis(500)));
        assert_eq!("1d".parse(), Ok(HumanDuration::from_secs(86_400)));
        assert_eq!("1MiB".parse(), Ok(ByteSize::from_bytes(1_048_576)));
        assert_eq!("3B".parse(), Ok(ByteSize::from_bytes(3)));
    }

    #[test]
    fn what_has_no_unit_a_sign_or_too_many_digits_is_refused() {
        for bad in ["", "2", "s", "-1s", "+1s", "1.5s", "2 s", "2S", "99999999999999999999s"] {
            assert!(bad.parse::<HumanDuration>().is_err(), "{bad:?}");
        }
        for bad in ["", "1", "MiB", "1MB", "1mib", "99999999999GiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0u64..u64::from(u32::MAX), bytes in any::<u64>()) {
            let time = HumanDuration::from_millis(ms);
            prop_assert_eq!(time.to_string().parse::<HumanDuration>(), Ok(time));
            let size = ByteSize::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = text.parse::<HumanDuration>();
            let _ = text.parse::<ByteSize>();
        }
    }
}
