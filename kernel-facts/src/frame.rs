//! One entry of a kernel stack.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of a kernel stack, innermost first in any list of them.
///
/// What the reader did not know is `None`; it is never guessed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// Symbol as the kernel names it, with compiler suffixes (`__mutex_lock.constprop.0`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Bytes from the start of the symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Size of the symbol in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Module that holds the symbol; `None` for the kernel image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Guest-virtual address, where it was printed or read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
    /// `false` for what the kernel marks with `?`: an address that was found on the stack but that
    /// its unwinder did not reach. Kept, since some kernels mark every frame so (v5.7-rc5, ORC).
    pub sure: bool,
}

impl Frame {
    /// A reliable frame of which only the symbol is known.
    pub fn named(symbol: impl Into<String>) -> Self {
        Self {
            symbol: Some(symbol.into()),
            offset: None,
            size: None,
            module: None,
            address: None,
            sure: true,
        }
    }

    /// The symbol, or the empty string.
    pub fn name(&self) -> &str {
        self.symbol.as_deref().unwrap_or_default()
    }
}

/// As the kernel prints it: `? symbol+0x1f/0x90 [module]`.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.sure {
            f.write_str("? ")?;
        }
        match (&self.symbol, self.address) {
            (Some(symbol), _) => f.write_str(symbol)?,
            (None, Some(address)) => return write!(f, "{address:#x}"),
            (None, None) => return f.write_str("(unknown)"),
        }
        if let Some(offset) = self.offset {
            write!(f, "+{offset:#x}")?;
        }
        if let Some(size) = self.size {
            write!(f, "/{size:#x}")?;
        }
        match &self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_prints_as_the_kernel_prints_it() {
        let mut frame = Frame::named("ext4_file_write_iter");
        frame.offset = Some(0x6b);
        frame.size = Some(0x940);
        frame.module = Some("ext4".into());
        frame.sure = false;
        assert_eq!(frame.to_string(), "? ext4_file_write_iter+0x6b/0x940 [ext4]");
        let bare = Frame { symbol: None, address: Some(0x40182c), ..Frame::named("") };
        assert_eq!(bare.to_string(), "0x40182c");
    }
}
