//! Symbols that say what a sleeping task waits for, as data.
//!
//! A name is the same across kernels until somebody renames it: the old name stays in the table
//! beside the new one, and which kernels have it is said for people, not used to choose.

use crate::WaitKind;
use crate::WaitKind::*;

/// One symbol that says what a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitSymbol {
    /// The symbol, without compiler suffixes.
    pub name: &'static str,
    /// Any symbol that starts with `name` counts.
    pub prefix: bool,
    /// What a task waits for that has it on its stack.
    pub kind: WaitKind,
    /// Which kernels have it, for the reader of this table.
    pub kernels: &'static str,
}

impl WaitSymbol {
    /// Whether a symbol without its suffixes is meant.
    pub fn matches(&self, stem: &str) -> bool {
        if self.prefix { stem.starts_with(self.name) } else { stem == self.name }
    }
}

const fn is(name: &'static str, kind: WaitKind, kernels: &'static str) -> WaitSymbol {
    WaitSymbol { name, prefix: false, kind, kernels }
}

const fn starts(name: &'static str, kind: WaitKind, kernels: &'static str) -> WaitSymbol {
    WaitSymbol { name, prefix: true, kind, kernels }
}

/// The table; the first entry that matches counts.
pub const WAIT_SYMBOLS: &[WaitSymbol] = &[
    // Sleeping locks: slow paths, and the functions that hold them inlined.
    starts("__mutex_lock", Mutex, "all"),
    is("mutex_lock", Mutex, "all"),
    starts("mutex_lock_", Mutex, "all"),
    is("__ww_mutex_lock", Mutex, "all"),
    starts("__ww_mutex_lock_", Mutex, "all"),
    starts("rwsem_down_", Rwsem, "all"),
    starts("__down_read", Rwsem, "5.3 and later"),
    starts("__down_write", Rwsem, "5.3 and later"),
    starts("down_read", Rwsem, "all"),
    starts("down_write", Rwsem, "all"),
    starts("call_rwsem_down_", Rwsem, "up to 5.2"),
    is("percpu_rwsem_wait", PercpuRwsem, "5.6 and later (7f26482a872c)"),
    starts("__percpu_down_read", PercpuRwsem, "all"),
    is("percpu_down_write", PercpuRwsem, "all"),
    starts("rt_mutex_slowlock", RtMutex, "all"),
    starts("__rt_mutex_slowlock", RtMutex, "all"),
    starts("rt_mutex_slowlock_block", RtMutex, "5.15 and later"),
    is("rt_mutex_wait_proxy_lock", RtMutex, "all: a futex that inherits priority"),
    starts("rtlock_slowlock", RtMutex, "5.15 and later, PREEMPT_RT"),
    starts("__rwbase_", Rwsem, "5.15 and later, PREEMPT_RT"),
    starts("rwbase_", Rwsem, "5.15 and later, PREEMPT_RT"),
    starts("__down_common", Semaphore, "all"),
    is("___down_common", Semaphore, "5.19 and later"),
    is("__down", Semaphore, "all"),
    starts("__down_", Semaphore, "all"),
    is("down", Semaphore, "all"),
    is("down_interruptible", Semaphore, "all"),
    is("down_timeout", Semaphore, "all"),
    starts("futex_wait", Futex, "all"),
    is("__futex_wait", Futex, "6.8 and later"),
    is("futex_lock_pi", Futex, "all"),
    is("futex_do_wait", Futex, "6.14 and later"),
    // A frozen file system, where sb_start_write() is not inlined.
    is("__sb_start_write", FsFreeze, "up to 5.10"),
    is("sb_start_write", FsFreeze, "all"),
    is("thaw_super", FsFreeze, "all"),
    // FUSE and network file systems, before what they wait in.
    is("request_wait_answer", Fuse, "all"),
    is("fuse_wait_aborted", Fuse, "all"),
    starts("__fuse_simple_request", Fuse, "6.9 and later"),
    is("fuse_simple_request", Fuse, "all"),
    is("__fuse_request_send", Fuse, "all"),
    starts("rpc_wait_bit", Network, "all"),
    is("__rpc_execute", Network, "all"),
    is("cifs_wait_mtu_credits", Network, "all"),
    is("wait_for_response", Network, "all"),
    is("p9_client_rpc", Network, "all"),
    // Journals.
    is("jbd2_log_wait_commit", Journal, "all"),
    is("jbd2_journal_commit_transaction", Journal, "all"),
    is("jbd2_complete_transaction", Journal, "all"),
    is("jbd2_journal_wait_updates", Journal, "5.19 and later"),
    is("jbd2_journal_lock_updates", Journal, "all"),
    is("stop_this_handle", Journal, "4.13 and later"),
    is("wait_transaction_locked", Journal, "all"),
    is("start_this_handle", Journal, "all"),
    is("add_transaction_credits", Journal, "all"),
    is("do_get_write_access", Journal, "all"),
    starts("xlog_wait", Journal, "all"),
    is("xfs_log_force", Journal, "all"),
    is("xfs_log_force_seq", Journal, "5.14 and later"),
    starts("btrfs_wait_for_commit", Journal, "all"),
    is("wait_current_trans", Journal, "all"),
    // Pages and buffers.
    is("folio_wait_bit_common", PageIo, "5.16 and later"),
    starts("folio_wait_", PageIo, "5.16 and later"),
    is("__folio_lock", PageIo, "5.16 and later"),
    starts("__folio_lock_", PageIo, "5.16 and later"),
    is("wait_on_page_bit", PageIo, "up to 5.15"),
    is("wait_on_page_bit_common", PageIo, "up to 5.15"),
    is("wait_on_page_writeback", PageIo, "up to 5.17"),
    starts("__lock_page", PageIo, "up to 5.15"),
    is("__wait_on_buffer", PageIo, "all"),
    is("__lock_buffer", PageIo, "all"),
    is("bit_wait_io", BlockIo, "all"),
    // The block layer.
    is("io_schedule", BlockIo, "all"),
    is("io_schedule_timeout", BlockIo, "all"),
    is("blk_mq_get_tag", BlockIo, "all"),
    starts("__blk_mq_alloc_request", BlockIo, "5.16 and later"),
    is("blk_io_schedule", BlockIo, "5.8 and later"),
    is("blk_mq_freeze_queue_wait", BlockIo, "all"),
    is("blk_queue_enter", BlockIo, "all"),
    is("__bio_queue_enter", BlockIo, "5.16 and later"),
    is("blk_execute_rq", BlockIo, "all"),
    is("blk_wait_io", BlockIo, "6.8 and later"),
    is("submit_bio_wait", BlockIo, "all"),
    is("wait_for_completion_io", BlockIo, "all"),
    is("wait_for_completion_io_timeout", BlockIo, "all"),
    is("rq_qos_wait", BlockIo, "5.0 and later"),
    is("wbt_wait", BlockIo, "all"),
    is("blkdev_issue_flush", BlockIo, "all"),
    is("do_blockdev_direct_IO", BlockIo, "all"),
    is("iomap_dio_rw", BlockIo, "4.8 and later"),
    is("__iomap_dio_rw", BlockIo, "5.11 and later"),
    // Memory.
    is("throttle_direct_reclaim", Reclaim, "all"),
    is("reclaim_throttle", Reclaim, "5.16 and later"),
    is("congestion_wait", Reclaim, "up to 5.15"),
    is("wait_iff_congested", Reclaim, "up to 5.15"),
    is("shrink_node", Reclaim, "all"),
    is("try_to_free_pages", Reclaim, "all"),
    is("mem_cgroup_handle_over_high", Reclaim, "all"),
    is("balance_dirty_pages", Reclaim, "all"),
    is("mem_cgroup_oom_synchronize", Reclaim, "all"),
    // Freezers.
    is("__refrigerator", Freezer, "all"),
    is("do_freezer_trap", Freezer, "5.2 and later (cgroup v2)"),
    is("cgroup_enter_frozen", Freezer, "5.2 and later"),
    // Others.
    starts("synchronize_rcu", Rcu, "all"),
    is("__synchronize_srcu", Rcu, "all"),
    is("__wait_rcu_gp", Rcu, "all"),
    is("rcu_barrier", Rcu, "all"),
    is("do_wait", Child, "all"),
    is("kernel_wait4", Child, "all"),
    is("wait_for_vfork_done", Child, "all"),
    starts("__flush_work", Completion, "all"),
    is("__flush_workqueue", Completion, "6.1 and later"),
    is("flush_workqueue", Completion, "up to 6.0"),
    is("kthread_stop", Completion, "all"),
    is("wait_for_completion_state", Completion, "6.1 and later"),
    starts("kernel_clone", Child, "5.10 and later: vfork"),
    is("_do_fork", Child, "up to 5.9: vfork"),
    is("__wait_for_common", Completion, "5.15 and later"),
    starts("wait_for_completion", Completion, "all"),
    is("do_sys_poll", Input, "all"),
    is("poll_schedule_timeout", Input, "all"),
    is("do_select", Input, "all"),
    is("ep_poll", Input, "all"),
    is("do_epoll_wait", Input, "all"),
    is("pipe_wait", Input, "up to 5.4"),
    is("pipe_read", Input, "all"),
    is("anon_pipe_read", Input, "6.14 and later"),
    is("pipe_write", Input, "all: room in a pipe"),
    is("anon_pipe_write", Input, "6.14 and later"),
    is("wait_for_partner", Input, "all: a FIFO is opened whose other end nobody has"),
    is("core_sys_select", Input, "all"),
    is("wait_woken", Input, "all"),
    is("n_tty_read", Input, "all"),
    is("unix_stream_read_generic", Input, "all"),
    is("__skb_wait_for_more_packets", Input, "all"),
    is("inet_csk_accept", Input, "all"),
    is("sigsuspend", Input, "all"),
    is("do_sigtimedwait", Input, "all"),
    is("sys_pause", Input, "all"),
    is("__x64_sys_pause", Input, "4.17 and later, x86"),
    is("do_nanosleep", Timer, "all"),
    is("hrtimer_nanosleep", Timer, "all"),
    is("msleep", Timer, "all"),
    is("usleep_range_state", Timer, "5.16 and later"),
    is("schedule_hrtimeout_range", Timer, "all"),
    is("schedule_hrtimeout_range_clock", Timer, "all"),
    is("schedule_timeout_uninterruptible", Timer, "all"),
    is("do_signal_stop", Stopped, "all"),
    is("ptrace_stop", Stopped, "all"),
    is("worker_thread", Work, "all"),
    is("rescuer_thread", Work, "all"),
    is("smpboot_thread_fn", Work, "all"),
    is("kthread_worker_fn", Work, "all"),
    is("kthreadd", Work, "all"),
    is("rcu_gp_kthread", Work, "all"),
    is("rcu_gp_fqs_loop", Work, "all"),
    is("kswapd", Work, "all"),
    is("kcompactd", Work, "all"),
    is("kjournald2", Work, "all"),
];

/// Who takes a super block's write count (`sb_start_write()` and its kin are inlined into these): a
/// task that waits for a per-CPU rwsem right inside one of them waits for a frozen file system to be
/// thawed. Other per-CPU rwsems (cgroup, CPU hotplug) are taken elsewhere.
pub const FREEZE_CALLERS: &[WaitSymbol] = &[
    is("mnt_want_write", FsFreeze, "all"),
    is("mnt_want_write_file", FsFreeze, "all"),
    is("__mnt_want_write", FsFreeze, "all"),
    is("ext4_page_mkwrite", FsFreeze, "all"),
    is("vfs_write", FsFreeze, "all"),
    is("vfs_writev", FsFreeze, "5.10 and later"),
    is("do_iter_write", FsFreeze, "up to 6.7"),
    is("vfs_iter_write", FsFreeze, "all"),
    is("vfs_fallocate", FsFreeze, "all"),
    is("aio_write", FsFreeze, "all"),
    is("io_write", FsFreeze, "all"),
    is("xfs_trans_alloc", FsFreeze, "all"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_symbol_is_hidden_by_another_before_it_that_says_otherwise() {
        for (idx, entry) in WAIT_SYMBOLS.iter().enumerate() {
            let winner = WAIT_SYMBOLS.iter().position(|it| it.matches(entry.name)).unwrap();
            assert!(
                winner == idx || WAIT_SYMBOLS[winner].kind == entry.kind,
                "{} never counts: {} comes first",
                entry.name,
                WAIT_SYMBOLS[winner].name
            );
        }
    }

    #[test]
    fn no_symbol_carries_a_compiler_suffix() {
        for entry in WAIT_SYMBOLS {
            assert!(!entry.name.contains('.'), "{}", entry.name);
        }
    }
}
