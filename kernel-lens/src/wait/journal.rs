//! Tasks that wait for a jbd2 journal (ext4): for its commit, or for those who hold a commit up.
//!
//! `struct journal_s` and `struct transaction_s` are in `include/linux/jbd2.h`. The journal's thread
//! (`j_task`) commits; before that it waits until every handle of the transaction is closed (`t_updates`).
//! A task with an open handle has it in `task_struct.journal_info`.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof, WaitTarget};

use super::Look;
use super::list::ring;
use super::sleeper::Sleeper;
use crate::machine::object::Object;

/// The queues of a journal, and whether its thread is who has to go on.
const QUEUES: [(&str, bool); 4] = [
    ("j_wait_done_commit", true),
    ("j_wait_transaction_locked", true),
    ("j_wait_updates", false),
    ("j_wait_reserved", false),
];

/// States of a transaction before v7.0 and since, in order: an enum without a name.
const STATES: [&str; 10] = [
    "T_RUNNING",
    "T_LOCKED",
    "T_SWITCH",
    "T_FLUSH",
    "T_COMMIT",
    "T_COMMIT_DFLUSH",
    "T_COMMIT_JFLUSH",
    "T_COMMIT_CALLBACK",
    "T_FINISHED",
    "",
];

/// The journal whose queue holds the waiter's entry; its address is on the waiter's stack.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    if !sleeper.is_in(&[
        "jbd2_*",
        "wait_transaction_locked",
        "start_this_handle",
        "add_transaction_credits",
        "stop_this_handle",
        "wait_transaction_switching",
    ]) {
        return None;
    }
    let kernel = look.kernel;
    let entry = kernel.offset("wait_queue_entry", "entry")?;
    let wake = "autoremove_wake_function";
    for at in sleeper.entries(look, "wait_queue_entry", ["func", "private"], wake) {
        let Ok(Some(nodes)) = ring(&kernel.space, at.wrapping_add(entry)) else { continue };
        for (queue, by_thread) in QUEUES {
            let Some(head) = kernel.offset("journal_s", &format!("{queue}.head")) else { continue };
            let journal = sleeper.pointers().find(|it| nodes.contains(&it.wrapping_add(head)));
            let Some(journal) = journal else { continue };
            return edge(look, sleeper, Object::new(kernel, "journal_s", journal), by_thread);
        }
    }
    None
}

fn edge(
    look: &Look<'_, '_>,
    sleeper: &Sleeper<'_>,
    journal: Object<'_, '_>,
    by_thread: bool,
) -> Option<WaitEdge> {
    let transaction = transaction(journal);
    let (owners, proof) = if by_thread {
        // The thread may wait for its own queue: then nobody is told.
        let thread = journal.number("j_task").ok().filter(|it| *it != sleeper.task.address);
        (thread.and_then(|it| look.owner(it)).into_iter().collect(), WaitProof::Queued)
    } else {
        match transaction.map(|it| holders(look, it.at)) {
            Some(holders) if !holders.is_empty() => (holders, WaitProof::Handle),
            _ => (Vec::new(), WaitProof::Queued),
        }
    };
    let mut edge = look.edge(sleeper, WaitKind::Journal, journal.at, owners, proof)?;
    edge.what = target(journal, transaction);
    Some(edge)
}

/// The transaction that is being committed; while its handles are still open it is the running one, locked.
fn transaction<'k, 'm>(journal: Object<'k, 'm>) -> Option<Object<'k, 'm>> {
    let of = |member| journal.follow(member, "transaction_s").ok().flatten();
    of("j_committing_transaction").or_else(|| of("j_running_transaction"))
}

fn target(journal: Object<'_, '_>, transaction: Option<Object<'_, '_>>) -> Option<WaitTarget> {
    let state = transaction.and_then(|it| it.number("t_state").ok());
    let state = state.and_then(|it| {
        let named = |name: &&str| journal.kernel.types.enumerator(name) == i64::try_from(it).ok();
        STATES.iter().copied().filter(|it| !it.is_empty()).find(named)
    });
    Some(WaitTarget::Journal {
        device: journal.text("j_devname").ok()?,
        transaction: transaction.and_then(|it| it.small("t_tid").ok()),
        state: state.map(str::to_owned),
        open_handles: transaction.and_then(|it| it.small("t_updates").ok()).unwrap_or(0),
    })
}

/// Tasks with an open handle of a transaction.
fn holders(look: &Look<'_, '_>, transaction: u64) -> Vec<u32> {
    let holds = |task: u64| {
        let handle = Object::new(look.kernel, "task_struct", task).number("journal_info").ok()?;
        let of = Object::new(look.kernel, "jbd2_journal_handle", handle).number("h_transaction").ok();
        (handle != 0 && of == Some(transaction)).then_some(())
    };
    let all = look.tasks.iter().filter(|it| it.task.pid != Some(0) && holds(it.address).is_some());
    all.filter_map(|it| it.task.pid).collect()
}

/// Who writes a buffer as part of a commit: `do_get_write_access()` waits for its bit until the journal's
/// thread has done so. `struct journal_head` is the buffer's `b_private`.
pub(super) fn of_buffer(look: &Look<'_, '_>, sleeper: &Sleeper<'_>, edge: &mut WaitEdge) {
    if !sleeper.is_in(&["do_get_write_access", "jbd2_journal_get_write_access"]) || !edge.owners.is_empty() {
        return;
    }
    let found = || {
        let buffer = edge.object?;
        let head =
            Object::new(look.kernel, "buffer_head", buffer).follow("b_private", "journal_head").ok()??;
        if head.number("b_bh").ok()? != buffer {
            return None;
        }
        let transaction = head.follow("b_transaction", "transaction_s").ok()??;
        let journal = transaction.follow("t_journal", "journal_s").ok()??;
        let is_committed = journal.number("j_committing_transaction").ok() == Some(transaction.at);
        let thread = look.owner(journal.number("j_task").ok()?).filter(|_| is_committed)?;
        Some((thread, target(journal, Some(transaction))))
    };
    if let Some((thread, what)) = found() {
        edge.kind = WaitKind::Journal;
        edge.owners = vec![thread];
        edge.what = what;
    }
}
