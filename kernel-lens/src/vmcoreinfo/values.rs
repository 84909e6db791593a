//! The values of `VMCOREINFO` by their types.

use super::VmcoreInfo;
use crate::kallsyms::KallsymsAddresses;

impl VmcoreInfo {
    /// The release, as `uname -r` prints it.
    pub fn release(&self) -> Option<&str> {
        // __NEW_UTS_LEN is 64.
        self.get("OSRELEASE").filter(|it| !it.is_empty() && it.len() <= 64)
    }

    /// Bytes of a page: 4, 16 or 64 KiB.
    pub fn page_size(&self) -> Option<u64> {
        decimal(self.get("PAGESIZE")?).filter(|it| [4 << 10, 16 << 10, 64 << 10].contains(it))
    }

    /// Guest-virtual address of a symbol; the table names a few dozen.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        hex(self.of("SYMBOL", name)?).filter(|it| it >> 63 == 1)
    }

    /// Bytes of a type.
    pub fn size(&self, of: &str) -> Option<u64> {
        decimal(self.of("SIZE", of)?)
    }

    /// Bytes from the start of a type to a member: `page.lru`.
    pub fn offset(&self, member: &str) -> Option<u64> {
        decimal(self.of("OFFSET", member)?)
    }

    /// Elements of an array.
    pub fn length(&self, of: &str) -> Option<u64> {
        decimal(self.of("LENGTH", of)?)
    }

    /// A number. x86 prints them with a sign (`phys_base` may be negative), arm64 many in hexadecimal with
    /// `0x`; those above `i64::MAX` come out as their bits.
    pub fn number(&self, name: &str) -> Option<i64> {
        let value = self.of("NUMBER", name)?;
        match value.strip_prefix("0x") {
            Some(digits) => hex(digits).map(u64::cast_signed),
            None => value.parse().ok(),
        }
    }

    /// A number that is an address or a mask.
    pub fn bits(&self, name: &str) -> Option<u64> {
        self.number(name).map(i64::cast_unsigned)
    }

    /// How far address-space randomization moved the image: `KERNELOFFSET`, hexadecimal without `0x`.
    pub fn kernel_offset(&self) -> Option<u64> {
        hex(self.get("KERNELOFFSET")?)
    }

    /// Where the tables of symbols lie (v6.0, commits 5fd8fea935a1 and f09bddbd8661).
    pub fn kallsyms(&self) -> Option<KallsymsAddresses> {
        Some(KallsymsAddresses {
            num_syms: self.symbol("kallsyms_num_syms")?,
            names: self.symbol("kallsyms_names")?,
            token_table: self.symbol("kallsyms_token_table")?,
            token_index: self.symbol("kallsyms_token_index")?,
            offsets: self.symbol("kallsyms_offsets"),
            relative_base: self.symbol("kallsyms_relative_base"),
            addresses: self.symbol("kallsyms_addresses"),
        })
    }

    fn of(&self, kind: &str, name: &str) -> Option<&str> {
        self.text().lines().find_map(|line| {
            let rest = line.strip_prefix(kind)?.strip_prefix('(')?.strip_prefix(name)?;
            rest.strip_prefix(")=")
        })
    }
}

fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|it| it.is_ascii_digit()).then(|| text.parse().ok())?
}

fn hex(text: &str) -> Option<u64> {
    text.bytes().all(|it| it.is_ascii_hexdigit()).then(|| u64::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::super::tests::text;
    use super::*;

    #[test]
    fn each_kind_of_value_has_its_own_form() {
        let own = "NUMBER(phys_base)=-33554432\nNUMBER(kimage_voffset)=0xffffa25225600000\n\
                   KERNELOFFSET=2252657f0000\nSIZE(page)=64\nOFFSET(page.lru)=8\nLENGTH(zone.free_area)=11\n\
                   SYMBOL(low)=1234\nNUMBER(wild)=99999999999999999999\n";
        let info = VmcoreInfo::parse(text(own).as_bytes()).unwrap();
        assert_eq!(info.release(), Some("6.12.1-test"));
        assert_eq!(info.number("phys_base"), Some(-0x0200_0000));
        assert_eq!(info.bits("kimage_voffset"), Some(0xffff_a252_2560_0000));
        assert_eq!(info.kernel_offset(), Some(0x2252_657f_0000));
        assert_eq!(info.size("page"), Some(64));
        assert_eq!(info.offset("page.lru"), Some(8));
        assert_eq!(info.length("zone.free_area"), Some(11));
        assert_eq!(info.symbol("_stext"), Some(0xffff_ffff_8100_0000));
        // An address of no kernel, a number of no width, names that only begin alike.
        assert_eq!(info.symbol("low"), None);
        assert_eq!(info.number("wild"), None);
        assert_eq!(info.symbol("_s"), None);
        assert_eq!(info.size("page.lru"), None);
    }
}
