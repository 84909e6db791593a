//! Tasks that wait for any of several files: poll, select, epoll.

use std::collections::HashSet;

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::Look;
use super::files::target;
use super::list::ring;
use super::sleeper::Sleeper;
use crate::machine::object::Object;

/// Pages of further entries of a poll that are looked at.
const MAX_PAGES: usize = 16;
/// Entries of a page at most.
const MAX_ENTRIES: u64 = 512;
/// Files of an epoll at most.
const MAX_FILES: usize = 1 << 12;

/// `struct poll_wqueues` lies on the waiter's stack, with the first of its `struct poll_table_entry`s, each
/// of which names a file and wakes by `pollwake` (`include/linux/poll.h`, `fs/select.c`); further ones are in
/// pages of their own.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let kernel = look.kernel;
    let wake = kernel.symbol("pollwake")?;
    let func = kernel.offset("poll_table_entry", "wait.func")?;
    let entry = |at: u64| Object::new(kernel, "poll_table_entry", at);
    let mut queues = None;
    let mut files = Vec::new();
    for place in sleeper.places_of(wake) {
        let Some(at) = place.checked_sub(func) else { continue };
        let Ok(of) = entry(at).number("wait.private") else { continue };
        let waits = Object::new(kernel, "poll_wqueues", of).number("polling_task").ok();
        if waits == Some(sleeper.task.address) && queues.is_none_or(|it| it == of) {
            queues = Some(of);
            files.extend(entry(at).number("filp").ok());
        }
    }
    let queues = queues?;
    let mut page = Object::new(kernel, "poll_wqueues", queues).number("table").unwrap_or(0);
    let size = kernel.types.size("poll_table_entry").filter(|it| *it > 0)?;
    for _ in 0..MAX_PAGES {
        if page == 0 {
            break;
        }
        let table = Object::new(kernel, "poll_table_page", page);
        let (Ok(first), Ok(end)) = (table.address("entries"), table.number("entry")) else { break };
        let count = end.saturating_sub(first) / size;
        let all = (0..count.min(MAX_ENTRIES)).map(|it| entry(first.wrapping_add(it * size)));
        let own = all.filter(|it| it.number("wait.private").ok() == Some(queues));
        files.extend(own.filter_map(|it| it.number("filp").ok()));
        page = table.number("next").unwrap_or(0);
    }
    // A file may be waited for by more than one of its queues.
    let mut seen = HashSet::new();
    files.retain(|it| seen.insert(*it));
    let mut edge = look.edge(sleeper, WaitKind::Input, queues, Vec::new(), WaitProof::Queued)?;
    edge.what = Some(target(look, sleeper.task, &files));
    Some(edge)
}

/// `struct eventpoll` (`fs/eventpoll.c`) has a queue of those who wait for it, and a tree of `struct epitem`s
/// that name its files. Its waiters wake by a function of their own since v6.1 or so, by the usual one before.
pub(super) fn read_epoll(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    if !sleeper.is_in(&["ep_poll", "do_epoll_wait", "do_epoll_pwait*"]) {
        return None;
    }
    let kernel = look.kernel;
    let node = kernel.offset("wait_queue_entry", "entry")?;
    let head = kernel.offset("eventpoll", "wq.head")?;
    for wake in ["ep_autoremove_wake_function", "autoremove_wake_function"] {
        for at in sleeper.entries(look, "wait_queue_entry", ["func", "private"], wake) {
            let Ok(Some(nodes)) = ring(&kernel.space, at.wrapping_add(node)) else { continue };
            let poll = sleeper.pointers().find(|it| nodes.contains(&it.wrapping_add(head)));
            let Some(poll) = poll else { continue };
            let files = watched(Object::new(kernel, "eventpoll", poll));
            let mut edge = look.edge(sleeper, WaitKind::Input, poll, Vec::new(), WaitProof::Queued)?;
            edge.what = Some(target(look, sleeper.task, &files));
            return Some(edge);
        }
    }
    None
}

/// Files of an epoll, in the order of its tree.
fn watched(poll: Object<'_, '_>) -> Vec<u64> {
    let kernel = poll.kernel;
    let (mut found, mut path, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    let mut at = poll.number("rbr.rb_root.rb_node").unwrap_or(0);
    loop {
        while at != 0 && seen.len() < MAX_FILES && seen.insert(at) {
            path.push(at);
            at = Object::new(kernel, "rb_node", at).number("rb_left").unwrap_or(0);
        }
        let Some(node) = path.pop() else { return found };
        let item = Object::around(kernel, "epitem", "rbn", node);
        // An item that leads back to another epoll is none of this one's.
        let item = item.ok().filter(|it| it.number("ep").ok() == Some(poll.at));
        found.extend(item.and_then(|it| it.number("ffd.file").ok()));
        at = Object::new(kernel, "rb_node", node).number("rb_right").unwrap_or(0);
    }
}
