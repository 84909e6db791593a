//! Who owes whom on one queue.
//!
//! Each verdict rests on numbers that stood still: QEMU's between two looks a second apart; the guest's, read
//! once, by the time of that look or by the age of a request. What may be moving is not called stuck.

use vmward_kernel_facts::Debtor;
use vmward_model::observed::VcpuRegisters;

use super::queue::Seen;
use super::threads;

/// From when on what lies there untaken is not just being worked on, in milliseconds.
const LONG_MS: u64 = 500;
/// virtio device numbers whose requests end in the host's storage: disk, SCSI, file system.
const STORAGE: [u32; 3] = [2, 8, 26];

/// What became of a queue.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) who_owes: Debtor,
    pub(super) since_ms: Option<u64>,
    pub(super) evidence: Vec<String>,
}

impl Verdict {
    fn new(who_owes: Debtor, since_ms: Option<u64>, evidence: impl IntoIterator<Item = String>) -> Self {
        Self { who_owes, since_ms, evidence: evidence.into_iter().collect() }
    }

    fn unknown(reason: impl Into<String>, evidence: impl IntoIterator<Item = String>) -> Self {
        Self::new(Debtor::Unknown { reason: reason.into() }, None, evidence)
    }
}

/// Device ids of the virtio specification (1.2, section 5).
const BLOCK: u32 = 2;
const SCSI: u32 = 8;

/// Judges a queue.
pub(super) fn judge(seen: &Seen<'_>) -> Verdict {
    let queue = seen.queue;
    if queue.broken || seen.device.failed {
        return Verdict::new(Debtor::Guest, None, ["the guest's driver gave it up".to_owned()]);
    }
    let mut verdict = judge_what_moves(seen);
    if !matches!(verdict.who_owes, Debtor::Nobody) {
        verdict.evidence.extend(numbers(seen));
    }
    verdict
}

fn judge_what_moves(seen: &Seen<'_>) -> Verdict {
    let queue = seen.queue;
    let supply = queue.is_supply();
    let guest_waits = !supply && queue.outstanding > 0;
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
        let untaken = queue.untaken().unwrap_or(0) > 0 && !seen.device.is_lazy(queue);
        return match guest_waits || untaken {
            true => Verdict::unknown("QEMU's side of this queue is not known", []),
            false => Verdict::default(),
        };
    };
    if seen.answers() {
        return Verdict::new(Debtor::Moving, None, ["QEMU gave answers while it was watched".to_owned()]);
    }
    let host_has = !supply && last.inuse > 0;
    let untaken = if seen.device.is_lazy(queue) { 0 } else { seen.untaken() };
    let pending = if supply { 0 } else { seen.untaken_by_qemu() };
    if !host_has && untaken == 0 && pending == 0 {
        return match guest_waits && queue.used_idx != last.used_idx {
            true => Verdict::new(
                Debtor::Moving,
                None,
                ["it was answered between the look at memory and the one at QEMU".to_owned()],
            ),
            false => Verdict::default(),
        };
    }
    if let Some(verdict) = stopped_guest(seen) {
        return verdict;
    }
    let Some(watched_ms) = seen.watched_ms() else {
        return Verdict::unknown("one look at QEMU's side cannot tell what stands still from what moves", []);
    };
    // The host comes first: what it holds is held back whatever the guest does.
    if host_has && first.inuse > 0 {
        return host(seen, watched_ms);
    }
    if pending > 0 {
        return kick(seen, pending);
    }
    if untaken > 0 {
        return interrupt(seen, untaken);
    }
    Verdict::unknown("QEMU took requests while it was watched, and none had time to be answered", [])
}

/// A guest that does not run takes no answers, and QEMU serves none of its requests either.
fn stopped_guest(seen: &Seen<'_>) -> Option<Verdict> {
    let run_state = seen.observed.run_state.as_ref()?;
    let status = run_state.status.as_deref()?;
    if status == "io-error" && STORAGE.contains(&seen.device.device_id) {
        let why = "QEMU stopped the guest for an error of its storage (run state io-error)".to_owned();
        return Some(Verdict::new(Debtor::HostStorage, seen.oldest_ms(), [why]));
    }
    (status != "running")
        .then(|| Verdict::unknown(format!("the guest does not run (run state {status})"), []))
}

/// QEMU has taken requests and answered none of them all the while.
fn host(seen: &Seen<'_>, watched_ms: u64) -> Verdict {
    let since = Some(seen.oldest_ms().unwrap_or(0).max(watched_ms));
    let joined = seen.joined;
    if let Some(trouble) = threads::trouble(&joined.threads) {
        return Verdict::new(Debtor::Qemu, since, [trouble]);
    }
    if joined.threads.is_empty() {
        return Verdict::unknown("QEMU holds requests, and what its threads do was not seen", []);
    }
    let asleep = threads::sleep(&joined.threads);
    if !STORAGE.contains(&seen.device.device_id) {
        let why = "QEMU took it and nobody behind it takes it from there (a reader of the port, a network)";
        return Verdict::new(Debtor::Qemu, since, std::iter::once(why.to_owned()).chain(asleep));
    }
    if joined.backend.iter().any(|it| it.contains("throttling.")) {
        return Verdict::unknown(
            "QEMU limits this disk by itself, and may be holding the requests back",
            asleep,
        );
    }
    Verdict::new(Debtor::HostStorage, since, asleep)
}

/// The driver has offered chains that QEMU, which holds none, has not taken.
fn kick(seen: &Seen<'_>, pending: u32) -> Verdict {
    let Some(lain_ms) = seen.offered_for_ms().filter(|it| *it >= LONG_MS) else {
        return Verdict::unknown("what was offered may have come just before it was seen", []);
    };
    let since = Some(lain_ms);
    let taken = format!("QEMU has not taken {pending} chains that were offered");
    if seen.queue.num_added > 0 {
        let why = format!(
            "the driver offered {} chains and has not thought of notifying yet",
            seen.queue.num_added
        );
        return Verdict::new(Debtor::Guest, since, [taken, why]);
    }
    if let Some(trouble) = threads::trouble(&seen.joined.threads) {
        return Verdict::new(Debtor::Qemu, since, [taken, trouble]);
    }
    if !seen.wants_notification() {
        let why = "QEMU has not asked to be notified of them: it should be looking by itself".to_owned();
        return Verdict::new(Debtor::Qemu, since, [taken, why]);
    }
    let why = "QEMU asked to be notified of them, and sleeps".to_owned();
    Verdict::new(Debtor::LostKick, since, [taken, why])
}

/// QEMU has given answers that the driver has not taken.
fn interrupt(seen: &Seen<'_>, untaken: u32) -> Verdict {
    let Some(lain_ms) = seen.answered_for_ms().filter(|it| *it >= LONG_MS) else {
        return Verdict::unknown("the answers may have come just before they were seen", []);
    };
    let since = Some(lain_ms);
    let there = format!("{untaken} answers lie in the ring and the guest's driver has not taken them");
    if !seen.wants_interrupt() {
        let why = "the driver has not asked for an interrupt: it means to look by itself";
        // Drivers that only send (a console, a network card's tx queue) take answers with the next thing that
        // they send, which may be never; one of a disk waits for each.
        return match seen.device.device_id {
            BLOCK | SCSI => Verdict::new(Debtor::Guest, since, [there, why.to_owned()]),
            _ => Verdict::unknown(format!("{why}, perhaps with its next request"), [there]),
        };
    }
    let used = seen.last().and_then(|it| it.used_idx);
    if let Some(signalled) = seen.last().and_then(|it| it.signalled_used)
        && Some(signalled) != used
    {
        let why = format!("QEMU has not come to decide on an interrupt for them (it did up to {signalled})");
        return Verdict::new(Debtor::Qemu, since, [there, why]);
    }
    match ears(seen) {
        Ears::Open => {}
        Ears::Deaf(cpu) => {
            let why = format!("vCPU {cpu} had interrupts off whenever it was looked at");
            return Verdict::new(Debtor::Guest, since, [there, why]);
        }
        Ears::Unknown => {
            return Verdict::unknown("whether every vCPU takes interrupts is not known", [there]);
        }
    }
    if seen.queue.event_idx && seen.last().and_then(|it| it.signalled_used).is_none() {
        return Verdict::unknown("QEMU does not say whether it raised the interrupt", [there]);
    }
    let why = "the driver asked for an interrupt, QEMU raised it, and every vCPU takes interrupts".to_owned();
    Verdict::new(Debtor::LostInterrupt, since, [there, why])
}

/// Whether vCPUs take interrupts.
enum Ears {
    Open,
    /// This one does not.
    Deaf(u32),
    Unknown,
}

/// Which of them the interrupt is for is not known, so that one deaf vCPU is enough.
fn ears(seen: &Seen<'_>) -> Ears {
    let samples = seen.observed.vcpus.as_ref().map(|it| it.samples.as_slice()).unwrap_or_default();
    let Some((first, more)) = samples.split_first().filter(|(_, more)| !more.is_empty()) else {
        return Ears::Unknown;
    };
    let off = |it: &VcpuRegisters| it.interrupts_off == Some(true) && it.halted != Some(true);
    let deaf = first.cpus.iter().filter(|it| off(it)).find(|cpu| {
        let same = more.iter().flat_map(|it| &it.cpus).filter(|it| it.index == cpu.index);
        same.into_iter().all(off)
    });
    match deaf {
        // An idle arm64 vCPU sleeps with interrupts masked and wakes up all the same.
        Some(_) if seen.observed.run_state.as_ref().is_none_or(|it| it.arch.as_deref() != Some("x86_64")) => {
            Ears::Unknown
        }
        Some(cpu) => Ears::Deaf(cpu.index),
        None => Ears::Open,
    }
}

/// The numbers of both sides.
fn numbers(seen: &Seen<'_>) -> Vec<String> {
    let queue = seen.queue;
    let used = queue.used_idx.map(|it| format!(", the ring's used index {it}")).unwrap_or_default();
    let mut all = vec![format!(
        "the guest: offered up to {}, took answers up to {}{used}; {} out",
        queue.avail_idx, queue.last_used_idx, queue.outstanding
    )];
    let word = |it: Option<u32>| it.map_or_else(|| "?".to_owned(), |it| it.to_string());
    for it in &seen.qemu {
        all.push(format!(
            "QEMU at {} ms: took up to {}, answered up to {}, {} in use",
            it.at_ms,
            word(it.last_avail_idx),
            word(it.used_idx),
            it.inuse
        ));
    }
    if let (Some(oldest), Some(age)) = (seen.requests.first(), seen.oldest_ms()) {
        all.push(format!(
            "the oldest request: {} of {} bytes at sector {} of {}, {age} ms old",
            oldest.operation, oldest.bytes, oldest.sector, oldest.disk
        ));
    }
    all
}
