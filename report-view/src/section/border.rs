//! Who owes whom: the way of a request from the guest's driver through QEMU to the host's storage, with
//! whoever has to act marked.

use vmward_kernel_facts::{BorderDevice, BorderQueue, BorderThread, Debtor};

use super::{age, section as make};
use crate::chart::Chart;
use crate::document::{Block, Section, Station};
use crate::escape::Text;
use crate::value::{Tone, Value};

/// Ways drawn.
const MAX_WAYS: usize = 8;
/// Queues in the table.
const MAX_QUEUES: usize = 200;
/// Lines of one station, and of other lists.
const MAX_LINES: usize = 6;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let Some(border) = chart.border else { return make("border", "Who owes whom", Vec::new()) };
    let mut blocks = Vec::new();
    let stuck = border.stuck();
    if stuck.is_empty() {
        blocks.push(Block::Para("Nobody owes an answer that does not come.".into()));
    }
    for (device, queue) in stuck.iter().take(MAX_WAYS) {
        let since = queue.since_ms.map_or_else(String::new, |ms| format!(" for {}", age(ms)));
        let title = format!("{}: {} owes{since}", name(device), debtor(&queue.who_owes));
        let mut inner = vec![Block::Way(way(device, queue))];
        if !queue.evidence.is_empty() {
            inner.push(Block::Items(queue.evidence.iter().take(MAX_LINES).map(Text::new).collect()));
        }
        blocks.push(Block::Headed { title: title.into(), important: false, blocks: inner });
    }
    if stuck.len() > MAX_WAYS {
        blocks.push(Block::Para(Text::new(format!("{} more queues stand still.", stuck.len() - MAX_WAYS))));
    }
    let all = border.devices.iter().flat_map(|device| device.queues.iter().map(move |it| (device, it)));
    let rows: Vec<_> = all.take(MAX_QUEUES).map(|(device, queue)| row(device, queue)).collect();
    if !rows.is_empty() {
        let summary = Text::new(format!("all {} queues", rows.len()));
        let head = vec!["device", "queue", "under way", "in QEMU", "since", "who owes"];
        blocks.push(Block::Fold { summary, open: false, blocks: vec![Block::Table { head, rows }] });
    }
    if !border.missing.is_empty() {
        let items = Block::Items(border.missing.iter().take(50).map(Text::new).collect());
        blocks.push(Block::Fold {
            summary: "what could not be seen".into(),
            open: false,
            blocks: vec![items],
        });
    }
    make("border", "Who owes whom", blocks)
}

/// `virtio2 (vdb)`.
fn name(device: &BorderDevice) -> String {
    match device.serves.is_empty() {
        true => device.name.clone(),
        false => format!(
            "{} ({})",
            device.name,
            device.serves.iter().take(8).cloned().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Who it is that owes, as the subject of a sentence.
fn debtor(it: &Debtor) -> &'static str {
    match it {
        Debtor::Nobody => "nobody",
        Debtor::Moving => "nobody (it moves)",
        Debtor::Guest => "the guest's driver",
        Debtor::LostKick => "a lost kick",
        Debtor::Qemu => "QEMU",
        Debtor::HostStorage => "the host's storage",
        Debtor::LostInterrupt => "a lost interrupt",
        Debtor::Unknown { .. } => "not known",
    }
}

fn way(device: &BorderDevice, queue: &BorderQueue) -> Vec<Station> {
    let owes = &queue.who_owes;
    let mark = |it: bool, words: &str| it.then(|| Text::new(words));
    let mut stations = vec![Station {
        title: "guest's driver".into(),
        lines: driver(device, queue),
        owes: mark(*owes == Debtor::Guest, "owes: does not take its answers"),
    }];
    if *owes == Debtor::LostKick {
        stations.push(Station {
            title: "kick".into(),
            lines: vec!["QEMU has not heard of the requests".into()],
            owes: mark(true, "lost"),
        });
    }
    if *owes == Debtor::LostInterrupt {
        stations.push(Station {
            title: "interrupt".into(),
            lines: vec!["the guest has not heard of the answers".into()],
            owes: mark(true, "lost"),
        });
    }
    stations.push(Station {
        title: "QEMU's queue".into(),
        lines: qemu(device, queue),
        owes: mark(*owes == Debtor::Qemu && device.threads.is_empty(), "owes"),
    });
    if !device.threads.is_empty() {
        stations.push(Station {
            title: if device.threads.len() == 1 { "QEMU's thread".into() } else { "QEMU's threads".into() },
            lines: device.threads.iter().take(MAX_LINES).map(thread).collect(),
            owes: mark(*owes == Debtor::Qemu, "owes: does not serve the queue"),
        });
    }
    let backend: Vec<Text> = device.backend.iter().take(MAX_LINES).map(Text::new).collect();
    if !backend.is_empty() || *owes == Debtor::HostStorage {
        stations.push(Station {
            title: "on the host".into(),
            lines: backend,
            owes: mark(*owes == Debtor::HostStorage, "owes the answer"),
        });
    }
    stations
}

fn driver(device: &BorderDevice, queue: &BorderQueue) -> Vec<Text> {
    let mut lines = vec![
        format!("{}, queue {} {}", device.name, queue.index, queue.name),
        format!("{} under way", queue.outstanding),
        format!("offered {}, took answers up to {}", queue.avail_idx, queue.last_used_idx),
    ];
    if let Some(it) = queue.requests.first() {
        let since = it.age_ms.map_or_else(String::new, |ms| format!(" for {}", age(ms)));
        lines.push(format!("oldest: {} of {} bytes at sector {}{since}", it.operation, it.bytes, it.sector));
        if let Some((filesystem, inode)) = &it.inode {
            lines.push(format!("for inode {inode} of {filesystem}"));
        }
        if !it.waiters.is_empty() {
            let pids = it.waiters.iter().take(8).map(u32::to_string).collect::<Vec<_>>().join(", ");
            lines.push(format!("waited for by pid {pids}"));
        }
    }
    lines.iter().map(Text::new).collect()
}

fn qemu(device: &BorderDevice, queue: &BorderQueue) -> Vec<Text> {
    let mut lines: Vec<Text> = device.qemu_path.iter().map(Text::new).collect();
    let known = |it: Option<u32>| it.map_or_else(|| "?".to_owned(), |it| it.to_string());
    if let Some(last) = queue.qemu.last() {
        lines.push(Text::new(format!("{} taken and not answered", last.inuse)));
        lines.push(Text::new(format!(
            "next to take {}, next to answer {}",
            known(last.last_avail_idx),
            known(last.used_idx)
        )));
    } else {
        lines.push("QEMU was not asked, or did not say".into());
    }
    if let [first, .., last] = &queue.qemu[..] {
        let moved = match (first.used_idx, last.used_idx) {
            (Some(before), Some(after)) => (after as u16).wrapping_sub(before as u16).to_string(),
            _ => "? ".to_owned(),
        };
        let span = last.at_ms.saturating_sub(first.at_ms);
        lines.push(Text::new(format!("{moved} answered in {}", age(span))));
    }
    lines
}

fn thread(it: &BorderThread) -> Text {
    let place = it.wchan.as_ref().map_or_else(String::new, |at| format!(" in {at}"));
    Text::new(format!("{} {}: {}{place}, {} % CPU", it.tid, it.comm, it.state, it.cpu_percent))
}

fn row(device: &BorderDevice, queue: &BorderQueue) -> Vec<Value> {
    let who = match &queue.who_owes {
        Debtor::Unknown { reason } => Value::from(format!("not known: {reason}")),
        it => {
            let tone = match it {
                it if it.is_stuck() => Tone::Alarm,
                Debtor::Moving => Tone::Good,
                _ => Tone::Quiet,
            };
            Value::badge(debtor(it), tone)
        }
    };
    vec![
        Value::from(name(device)),
        Value::from(format!("{} {}", queue.index, queue.name)),
        Value::number(queue.outstanding.to_string()),
        Value::number(queue.qemu.last().map_or_else(|| "?".to_owned(), |it| it.inuse.to_string())),
        Value::number(queue.since_ms.map_or_else(String::new, age)),
        who,
    ]
}
