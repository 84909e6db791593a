//! Disks and file systems that give errors; one line each.
//!
//! * up to v5.17 `blk_update_request: I/O error, dev vda, sector 8 op 0x1:(WRITE) flags 0x800 ...`, then
//!   `I/O error, dev vda, sector 8 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 0`; v4.20
//!   `print_req_error: I/O error, dev vda, sector 8`
//! * `Buffer I/O error on dev vda, logical block 0, lost async page write`
//! * `EXT4-fs error (device vda): ...`, `EXT4-fs (vda): Remounting filesystem read-only`, `Aborting journal on
//!   device vda-8.`, `XFS (vda): metadata I/O error in "..." at daddr 0x0 len 8 error 5`, `BTRFS error (device
//!   vda): ...`
//! * `nvme nvme0: I/O 5 QID 1 timeout, aborting`

use super::{Found, Rule, Severity, TroubleKind};

pub(super) const RULE: Rule = Rule {
    needles: &[
        "I/O error",
        "fs error (device",
        "Remounting filesystem read-only",
        "Aborting journal",
        "BTRFS error",
        "nvme nvme",
    ],
    recognise,
};

fn recognise(text: &str) -> Option<Found<'_>> {
    const HEADS: &[&str] = &[
        "blk_update_request: I/O error, dev ",
        "blk_update_request: critical ",
        "print_req_error: I/O error, dev ",
        "end_request: I/O error, dev ",
        "I/O error, dev ",
        "Buffer I/O error on dev",
        "EXT4-fs error (device ",
        "EXT3-fs error (device ",
        "EXT2-fs error (device ",
        "Aborting journal on device ",
        "BTRFS error (device ",
    ];
    let is_xfs = text.starts_with("XFS (") && text.contains(" I/O error");
    let is_readonly = text.starts_with("EXT4-fs (") && text.ends_with("Remounting filesystem read-only");
    let is_nvme = text.starts_with("nvme nvme") && text.contains(" QID ") && text.contains(" timeout");
    (is_xfs || is_readonly || is_nvme || HEADS.iter().any(|it| text.starts_with(it)))
        .then(|| Found::line(TroubleKind::IoError, Severity::Error, text))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check};

    #[test]
    fn errors_of_disks_are_found_and_talk_of_them_is_not() {
        check(&[
            ("blk_update_request: I/O error, dev vda, sector 8 op 0x1:(WRITE)", Some(IoError)),
            ("I/O error, dev vda, sector 8 op 0x1:(WRITE)", Some(IoError)),
            ("Buffer I/O error on dev nvme0n1, logical block 0, async page read", Some(IoError)),
            (
                "EXT4-fs error (device vda): ext4_find_entry:1455: inode #2: comm ls: reading directory",
                Some(IoError),
            ),
            (
                "XFS (vda): metadata I/O error in \"xfs_trans_read_buf_map\" at daddr 0x0 len 8 error 5",
                Some(IoError),
            ),
            ("nvme nvme0: I/O 5 QID 1 timeout, aborting", Some(IoError)),
            ("nvme nvme0: 2/0/0 default/read/poll queues", None),
            ("app: I/O error, dev null", None),
        ]);
    }
}
