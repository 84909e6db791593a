//! Where things lie in the log's structures: from the kernel's types, or from its VMCOREINFO.

/// Sizes and offsets of structures, whoever knows them.
pub(crate) trait Layouts {
    /// Bytes of a structure.
    fn size(&self, of: &str) -> Option<u64>;
    /// Bytes from its start to a member.
    fn offset(&self, of: &str, member: &str) -> Option<u64>;
}

/// What a kernel tells crash tools about itself: lines `SIZE(printk_info)=88`,
/// `OFFSET(printk_info.seq)=0` (`kernel/printk/printk.c`, `log_buf_vmcoreinfo_setup()`).
pub(crate) struct Vmcoreinfo<'a>(pub(crate) &'a str);

impl Vmcoreinfo<'_> {
    fn number(&self, key: &str) -> Option<u64> {
        let value = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
        self.0.lines().find_map(value)?.trim().parse().ok()
    }
}

impl Layouts for Vmcoreinfo<'_> {
    fn size(&self, of: &str) -> Option<u64> {
        self.number(&format!("SIZE({of})"))
    }

    fn offset(&self, of: &str, member: &str) -> Option<u64> {
        self.number(&format!("OFFSET({of}.{member})"))
    }
}

/// Where things lie in the structures of the ring since v5.10 (commit 896fbe20b4e2). All are members of
/// one `printk_ringbuffer` but where another is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RingLayout {
    /// Bits of the number of descriptors.
    pub(super) count_bits: u64,
    pub(super) descs: u64,
    pub(super) infos: u64,
    pub(super) head_id: u64,
    pub(super) tail_id: u64,
    /// Bits of the size of the data.
    pub(super) size_bits: u64,
    pub(super) data: u64,
    /// `prb_desc`: its size, its state, its block.
    pub(super) desc_size: u64,
    pub(super) state_var: u64,
    pub(super) begin: u64,
    pub(super) next: u64,
    pub(super) info: InfoLayout,
}

/// Where things lie in a `printk_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InfoLayout {
    pub(super) size: u64,
    pub(super) seq: u64,
    pub(super) ts_nsec: u64,
    pub(super) text_len: u64,
    /// Behind it lies a byte of five bits of flags and three of the level.
    pub(super) facility: u64,
    pub(super) caller_id: u64,
    /// With `CONFIG_PRINTK_EXECUTION_CTX` only.
    pub(super) comm: Option<u64>,
    pub(super) subsystem: Option<u64>,
    pub(super) device: Option<u64>,
}

impl RingLayout {
    pub(super) fn new(from: &dyn Layouts) -> Option<Self> {
        let at = |of, member| from.offset(of, member);
        let descs = at("printk_ringbuffer", "desc_ring")?;
        let data = at("printk_ringbuffer", "text_data_ring")?;
        let block = at("prb_desc", "text_blk_lpos")?;
        Some(Self {
            count_bits: descs.checked_add(at("prb_desc_ring", "count_bits")?)?,
            descs: descs.checked_add(at("prb_desc_ring", "descs")?)?,
            infos: descs.checked_add(at("prb_desc_ring", "infos")?)?,
            head_id: descs.checked_add(at("prb_desc_ring", "head_id")?)?,
            tail_id: descs.checked_add(at("prb_desc_ring", "tail_id")?)?,
            size_bits: data.checked_add(at("prb_data_ring", "size_bits")?)?,
            data: data.checked_add(at("prb_data_ring", "data")?)?,
            desc_size: from.size("prb_desc")?,
            state_var: at("prb_desc", "state_var")?,
            begin: block.checked_add(at("prb_data_blk_lpos", "begin")?)?,
            next: block.checked_add(at("prb_data_blk_lpos", "next")?)?,
            info: InfoLayout::new(from)?,
        })
    }
}

impl InfoLayout {
    fn new(from: &dyn Layouts) -> Option<Self> {
        let at = |member| from.offset("printk_info", member);
        let text_len = at("text_len")?;
        let device = at("dev_info");
        let in_device = |member| device?.checked_add(from.offset("dev_printk_info", member)?);
        Some(Self {
            size: from.size("printk_info")?,
            seq: at("seq")?,
            ts_nsec: at("ts_nsec")?,
            text_len,
            // VMCOREINFO does not tell; it has always followed the length.
            facility: at("facility").or_else(|| text_len.checked_add(2))?,
            caller_id: at("caller_id")?,
            comm: at("comm"),
            subsystem: in_device("subsystem"),
            device: in_device("device"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a Debian kernel 6.1 says of itself.
    const VMCOREINFO: &str = "OSRELEASE=6.1.0-50-cloud-amd64\nSIZE(printk_ringbuffer)=88\n\
        OFFSET(printk_ringbuffer.desc_ring)=0\nOFFSET(printk_ringbuffer.text_data_ring)=48\n\
        OFFSET(prb_desc_ring.count_bits)=0\nOFFSET(prb_desc_ring.descs)=8\nOFFSET(prb_desc_ring.infos)=16\n\
        OFFSET(prb_desc_ring.head_id)=24\nOFFSET(prb_desc_ring.tail_id)=32\nSIZE(prb_desc)=24\n\
        OFFSET(prb_desc.state_var)=0\nOFFSET(prb_desc.text_blk_lpos)=8\nOFFSET(prb_data_blk_lpos.begin)=0\n\
        OFFSET(prb_data_blk_lpos.next)=8\nSIZE(printk_info)=88\nOFFSET(printk_info.seq)=0\n\
        OFFSET(printk_info.ts_nsec)=8\nOFFSET(printk_info.text_len)=16\nOFFSET(printk_info.caller_id)=20\n\
        OFFSET(printk_info.dev_info)=24\nOFFSET(dev_printk_info.subsystem)=0\n\
        OFFSET(dev_printk_info.device)=16\nOFFSET(prb_data_ring.size_bits)=0\nOFFSET(prb_data_ring.data)=8\n";

    #[test]
    fn vmcoreinfo_tells_the_layout() {
        let layout = RingLayout::new(&Vmcoreinfo(VMCOREINFO)).unwrap();
        assert_eq!((layout.size_bits, layout.data, layout.next), (48, 56, 16));
        assert_eq!((layout.info.size, layout.info.facility, layout.info.device), (88, 18, Some(40)));
        assert_eq!(layout.info.comm, None);
    }

    #[test]
    fn a_kernel_that_does_not_tell_all_has_no_layout() {
        assert_eq!(RingLayout::new(&Vmcoreinfo("SIZE(printk_info)=88")), None);
        let wild = VMCOREINFO.replace("text_data_ring)=48", "text_data_ring)=18446744073709551615");
        assert_eq!(RingLayout::new(&Vmcoreinfo(&wild)), None);
    }
}
