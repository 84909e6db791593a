//! What the guest is asked about itself, as commands of its shell.
//!
//! A question that names many files is answered in the form of `grep -H`: each line with the file's path in
//! front, so that one process reads them all and none is lost in the other's text ([`super::Files`]).

use std::time::Duration;

/// When a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Before a fault is made: it does not change.
    Early,
    /// Just before the guest is held still.
    Late,
    /// As [`When::Late`], and once more afterwards: what is the same in both answers was so in the image.
    Twice,
}

/// One command, and the name under which its answer is kept.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: &'static str,
    pub(super) command: &'static str,
    pub(super) when: When,
}

impl Question {
    /// How long the answer may take on an emulated guest.
    pub(super) fn wait(&self) -> Duration {
        // Only the symbols are megabytes of text.
        Duration::from_secs(if self.name == "kallsyms" { 60 } else { 15 })
    }
}

/// The kernel's log lines stay away from the console. They would slow the guest down, and a person who looks
/// at the console's log would find them in the middle of a command.
pub(super) const QUIET: &str = "echo 1 > /proc/sys/kernel/printk";

/// All questions in the order in which they are asked: what changes quickly comes last.
pub(super) const ALL: &[Question] = &[
    early("version", "cat /proc/version"),
    early("cmdline", "cat /proc/cmdline"),
    early("kallsyms", "cat /proc/kallsyms"),
    early("modules", "cat /proc/modules"),
    early("mounts", "cat /proc/mounts"),
    early("iomem", "cat /proc/iomem"),
    early("cpuinfo", "cat /proc/cpuinfo"),
    // Of vmlinux and each module: whoever found the types in memory found exactly these bytes.
    early("btf-sha256", "sha256sum /sys/kernel/btf/*"),
    early("notes", "base64 /sys/kernel/notes"),
    early(
        "module-files",
        "grep -H '' /sys/module/*/sections/.[a-z]* /sys/module/*/coresize /sys/module/*/initstate \
         /sys/module/*/refcnt /sys/module/*/taint /sys/module/*/srcversion",
    ),
    early(
        "settings",
        "grep -H '' /sys/kernel/vmcoreinfo /proc/sys/kernel/[a-z]* /proc/sys/kernel/random/boot_id \
         /sys/devices/system/cpu/online /sys/devices/system/clocksource/*/current_clocksource",
    ),
    late("sysrq_t", "echo t > /proc/sysrq-trigger; dmesg -r | sed -n '/sysrq: Show State/,$p'"),
    late("dmesg", "dmesg -r"),
    // A read at the end of the log blocks, so the end is marked; `sed` reads one line ahead.
    late(
        "kmsg",
        "for it in 1 2; do echo the end of the log > /dev/kmsg; done; sed '/the end of the log/q' < /dev/kmsg",
    ),
    late("ps", "ps -T -o pid,ppid,stat,comm || ps"),
    // The folder of each process on a line, and on the next one its command line.
    late(
        "cmdlines",
        "head -v -c 4096 /proc/[0-9]*/cmdline | tr '\\0' ' ' | sed 's,^==> \\(.*\\)/cmdline <==$,\\1,'",
    ),
    late("maps", "cat /proc/1/maps"),
    late("all-maps", "grep -H '' /proc/[0-9]*/maps"),
    late("fds", "ls -l /proc/[0-9]*/fd"),
    late("fdinfo", "grep -H '' /proc/[0-9]*/fdinfo/*"),
    late("cgroup", "cat /proc/[0-9]*/cgroup"),
    late("slabinfo", "cat /proc/slabinfo"),
    twice("meminfo", "cat /proc/meminfo"),
    twice("interrupts", "cat /proc/interrupts"),
    twice(
        "machine",
        "grep -H '' /proc/loadavg /proc/stat /proc/softirqs /proc/vmstat /proc/zoneinfo /proc/buddyinfo \
         /proc/schedstat /proc/diskstats /proc/locks /proc/swaps /proc/partitions /proc/timer_list \
         /proc/pressure/* /proc/net/dev /proc/net/unix /proc/net/tcp /proc/net/udp /proc/sched_debug \
         /sys/kernel/debug/sched/debug /sys/block/*/inflight /sys/block/*/stat /sys/block/*/size \
         /sys/block/*/ro /sys/class/net/*/operstate /sys/class/net/*/mtu /sys/class/net/*/flags \
         /sys/kernel/debug/block/*/state /sys/kernel/debug/block/*/hctx*/state \
         /sys/kernel/debug/block/*/hctx*/busy /sys/kernel/debug/block/*/hctx*/tags \
         /proc/sys/kernel/tainted /proc/sys/fs/file-nr",
    ),
    twice("uptime", "cat /proc/uptime"),
    twice(
        "tasks",
        "cd /proc; grep -H '' [0-9]*/cgroup [0-9]*/task/[0-9]*/stat [0-9]*/task/[0-9]*/status \
         [0-9]*/task/[0-9]*/syscall [0-9]*/task/[0-9]*/wchan [0-9]*/task/[0-9]*/stack \
         [0-9]*/task/[0-9]*/schedstat \
         | sed 's,^,/proc/,'; cd /",
    ),
];

const fn early(name: &'static str, command: &'static str) -> Question {
    Question { name, command, when: When::Early }
}

const fn late(name: &'static str, command: &'static str) -> Question {
    Question { name, command, when: When::Late }
}

const fn twice(name: &'static str, command: &'static str) -> Question {
    Question { name, command, when: When::Twice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_a_name_of_its_own() {
        let mut names: Vec<_> = ALL.iter().map(|it| it.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        assert!(names.iter().all(|it| !it.ends_with("-after") && !it.contains('/')));
    }

    #[test]
    fn a_command_is_one_line() {
        assert!(ALL.iter().all(|it| !it.command.contains('\n') && it.command.is_ascii()));
    }
}
