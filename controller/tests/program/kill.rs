//! Killed at any moment, again and again: whatever was acknowledged is there afterwards, whole, and
//! nothing is there half.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vmward_model::{Class, Digest};

use crate::client::{get, json, piece};
use crate::sample::{case, digest, host, incident_id, note, report};
use crate::serve::{Controller, PATIENCE};

const KILLS: u64 = 20;
/// Bytes of a piece, and of an artifact.
const PIECE: usize = 20_000;
const SIZE: usize = 90_000;
/// Events in one call.
const BATCH: u64 = 7;

/// What the controller has said that it has.
#[derive(Default)]
struct Acknowledged {
    /// Bytes of each artifact.
    artifacts: BTreeMap<u128, usize>,
    /// Batches of events.
    batches: Vec<u64>,
    /// Reports.
    reports: Vec<u128>,
}

/// Content that is different for each number.
fn content(n: u128) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()[5]
    })
    .take(SIZE)
    .collect()
}

fn batch(n: u64) -> Value {
    let events: Vec<_> = (n * BATCH..(n + 1) * BATCH).map(note).collect();
    json!({ "host": host(1), "host_name": "alpha", "events": events })
}

/// Sends until the controller is gone. Each sender has numbers of its own.
fn send(
    address: SocketAddr,
    numbers: &AtomicU64,
    said: &Mutex<Acknowledged>,
    acks: &AtomicU64,
) -> std::io::Result<()> {
    loop {
        let n = numbers.fetch_add(1, Ordering::Relaxed);
        let (id, content) = (u128::from(n), content(n.into()));
        let name = digest(&content);
        for offset in (0..SIZE).step_by(PIECE) {
            let bytes = &content[offset..(offset + PIECE).min(SIZE)];
            let answer = piece(address, &name, offset, SIZE, bytes)?;
            assert_eq!(answer.status, 200, "{answer:?}");
            let there = usize::try_from(answer.json()["offset"].as_u64().unwrap()).unwrap();
            said.lock().unwrap().artifacts.insert(id, there);
            acks.fetch_add(1, Ordering::Relaxed);
        }
        let answer = json(address, "POST", "/api/v1/events", &batch(n))?;
        assert_eq!(answer.json(), json!({ "stored": BATCH, "duplicates": 0 }));
        said.lock().unwrap().batches.push(n);
        acks.fetch_add(1, Ordering::Relaxed);
        let body = serde_json::to_value(report(incident_id(id), Class::DiskStall, &[&content])).unwrap();
        let answer = json(address, "PUT", &format!("/api/v1/reports/{}", incident_id(id)), &body)?;
        assert_eq!(answer.json()["outcome"], "stored", "{answer:?}");
        said.lock().unwrap().reports.push(id);
        acks.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn whatever_was_acknowledged_outlives_any_kill_and_nothing_is_left_half() {
    let dir = tempfile::tempdir().unwrap();
    let (said, numbers) = (Arc::new(Mutex::new(Acknowledged::default())), Arc::new(AtomicU64::new(0)));
    for kill in 0..KILLS {
        let controller = Controller::start(dir.path());
        let address = controller.address;
        assert_eq!(piece(address, &digest(&case()), 0, case().len(), &case()).unwrap().status, 200);
        let acks = Arc::new(AtomicU64::new(0));
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let (said, numbers, acks) = (said.clone(), numbers.clone(), acks.clone());
                std::thread::spawn(move || send(address, &numbers, &said, &acks))
            })
            .collect();
        // Not at the same place each time: after so many answers, and then a little.
        let (wanted, end) = (3 + (kill * 7) % 31, Instant::now() + PATIENCE);
        while acks.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < end, "nothing was acknowledged");
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(kill * 733 % 5000));
        controller.kill();
        for it in senders {
            assert!(it.join().unwrap().is_err(), "a sender ends with the controller");
        }
        check(dir.path(), &said.lock().unwrap(), numbers.load(Ordering::Relaxed));
    }
    let said = said.lock().unwrap();
    eprintln!(
        "{} artifacts, {} batches, {} reports",
        said.artifacts.len(),
        said.batches.len(),
        said.reports.len()
    );
}

fn check(data: &Path, said: &Acknowledged, numbers: u64) {
    let controller = Controller::start(data);
    let address = controller.address;
    for (n, there) in &said.artifacts {
        let (content, name) = (content(*n), digest(&content(*n)));
        let state = get(address, &format!("/api/v1/uploads/{name}")).unwrap().json();
        let offset = usize::try_from(state["offset"].as_u64().unwrap()).unwrap();
        assert!(offset >= *there, "{offset} of {there} bytes of artifact {n} that were acknowledged");
        if *there == SIZE {
            assert_eq!(get(address, &format!("/api/v1/artifacts/{name}")).unwrap().body, content);
        }
    }
    // Batches are there whole or not at all; those that were acknowledged are there.
    let mut of_batch: BTreeMap<u64, u64> = BTreeMap::new();
    let mut before = String::new();
    let mut events = 0;
    loop {
        let page = get(address, &format!("/api/v1/events?limit=500{before}")).unwrap().json();
        for row in page["rows"].as_array().unwrap() {
            *of_batch.entry(row["event"]["seq"].as_u64().unwrap() / BATCH).or_default() += 1;
            events += 1;
        }
        let Some(next) = page["next"].as_str() else { break };
        before = format!("&before={next}");
    }
    assert!(of_batch.values().all(|it| *it == BATCH), "{of_batch:?}");
    assert!(said.batches.iter().all(|it| of_batch.contains_key(it)));
    // Reports, and what they are made of.
    let mut reports = 0;
    for n in 0..numbers {
        let id = incident_id(n.into());
        let answer = get(address, &format!("/api/v1/incidents/{id}/manifest")).unwrap();
        assert!(answer.status == 200 || !said.reports.contains(&n.into()), "report {n} was acknowledged");
        reports += u64::from(answer.status == 200);
    }
    // What is counted is what is there.
    let hosts = get(address, "/api/v1/hosts").unwrap().json();
    let counted = hosts["hosts"].as_array().unwrap().iter().map(|it| it["stored_entries"].as_u64().unwrap());
    assert_eq!(counted.sum::<u64>(), events + reports);
    for it in std::fs::read_dir(data.join("incoming")).unwrap() {
        let name = it.unwrap().file_name().into_string().unwrap();
        assert!(name.parse::<Digest>().is_ok(), "{name} is left over");
    }
    controller.kill();
}
