//! Checks in the kernel that failed.
//!
//! * all: `kernel BUG at mm/slub.c:305!`; a cut line `------------[ cut here ]------------` comes before
//! * all: `BUG: scheduling while atomic: swapper/0/0/0x00000100`, `BUG: Bad page state in process x  pfn:12345`,
//!   `BUG: sleeping function called from invalid context at mm/slab.h:393`, `BUG: memory leak`
//! * `VFS: Close: file count is 0`, `VFS: Busy inodes after unmount of vda. Self-destruct in 5 seconds. ...`
//! * SLUB: `BUG kmalloc-64 (Not tainted): Poison overwritten`

use super::{Found, Rule, Severity, TroubleKind};

pub(super) const RULE: Rule = Rule { needles: &["BUG", "VFS: "], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    if let Some(place) = text.strip_prefix("kernel BUG at ").or_else(|| text.strip_prefix("Kernel BUG at ")) {
        return Some(Found::block(TroubleKind::Bug, Severity::Critical, place));
    }
    if let Some(reason) = text.strip_prefix("BUG: ") {
        let weak = !KNOWN.iter().any(|it| reason.starts_with(it));
        return Some(Found { weak, ..Found::block(TroubleKind::Bug, Severity::Error, reason) });
    }
    if text.starts_with("VFS: Close: file count is 0")
        || text.starts_with("VFS: Busy inodes after unmount of ")
    {
        return Some(Found::block(TroubleKind::Bug, Severity::Error, text));
    }
    // SLUB names the cache, then the taint in brackets.
    let reason = text.strip_prefix("BUG ")?;
    let is_slab = reason.contains(" (Not tainted): ") || reason.contains(" (Tainted: ");
    is_slab.then(|| Found::block(TroubleKind::Bug, Severity::Error, reason))
}

/// How kernels go on after `BUG: `. Programs print that word too: without a kernel's stamp only these count.
const KNOWN: &[&str] = &[
    "Bad page ",
    "Bad rss-counter state ",
    "Dentry ",
    "MAX_",
    "atomic ",
    "bad usercopy",
    "corrupted list",
    "looking up invalid subclass",
    "memory leak",
    "non-zero pgtables_bytes ",
    "recent printk recursion",
    "scheduling while atomic",
    "sleeping function called from invalid context",
    "using __this_cpu_",
    "using smp_processor_id() in preemptible",
];

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check};

    #[test]
    fn bugs_are_found_and_talk_of_bugs_is_not() {
        check(&[
            ("kernel BUG at mm/slub.c:305!", Some(Bug)),
            ("BUG: scheduling while atomic: swapper/0/0/0x00000100", Some(Bug)),
            ("BUG kmalloc-64 (Not tainted): Poison overwritten", Some(Bug)),
            ("VFS: Close: file count is 0", Some(Bug)),
            ("BUG reports go to the list", None),
            ("Spectre V2 BUG: mitigated", None),
        ]);
    }
}
