//! Controllers of earlier releases, on record in `tests/exchanges`: today's agent gets rid of everything
//! with the answers that they gave then.

use sha2::{Digest as _, Sha256};
use vmward_model::Digest;
use vmward_model::exchange::{EventBatch, ReportCommit};

use super::*;
use crate::report::{self, Content, Origin};
use crate::upload::fake::Record;
use crate::upload::recorded::{self, Recorded};

fn record(exchanges: &[Recorded]) -> Record {
    let mut record = Record::default();
    for it in exchanges {
        assert!(it.body.is_empty() || !it.kind.is_empty(), "{}: a body of no kind", it.name);
        let answer = (it.status, String::from_utf8(it.answer.clone()).unwrap());
        record.answers.entry(format!("{} {}", it.method, it.target)).or_default().push_back(answer);
    }
    record
}

/// Writes the report that is on record anew: the same incident with the same artifacts. Gives what was said
/// of it then.
fn report(host: &Host, exchanges: &[Recorded]) -> ReportCommit {
    let sent = exchanges.iter().find(|it| it.target.starts_with("/api/v1/reports/")).unwrap();
    let sent: ReportCommit = serde_json::from_slice(&sent.body).unwrap();
    let bytes = |digest: &Digest| {
        let start = format!("/api/v1/uploads/{digest}?");
        exchanges.iter().find(|it| it.target.starts_with(&start)).map(|it| it.body.clone())
    };
    let content = |it: &vmward_model::Artifact| Content {
        kind: it.kind.clone(),
        media_type: it.media_type.clone(),
        sensitivity: it.sensitivity,
        provenance: it.provenance.clone(),
        truncated: it.truncated,
        // What stayed then is not on record, and stays now.
        bytes: bytes(&it.sha256).unwrap_or_else(|| b"stays".to_vec()),
    };
    let manifest = &sent.manifest;
    let contents: Vec<Content> = manifest.artifacts.iter().map(content).collect();
    let origin = Origin { writer: "test".into(), host: manifest.host.clone(), written: manifest.written };
    report::write(&host.dir.path().join("reports"), &manifest.incident, &contents, &origin).unwrap();
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_of_an_earlier_release_gets_everything() {
    for (release, exchanges) in recorded::all("older-controller") {
        let fake = Fake::start().await;
        fake.with(|it| it.record = Some(record(&exchanges)));
        let mut host = Host::new(endpoints(&[fake.url()], ""));
        for n in 0..5 {
            host.note(if n % 2 == 0 { Severity::Info } else { Severity::Error }, "n");
        }
        let then = report(&host, &exchanges);
        host.send();
        let counters = host.all_sent(6).await;
        assert_eq!((counters.made, counters.stored, counters.refused), (6, 6, 0), "{release}");
        let record = fake.with(|it| it.record.take().unwrap());
        assert!(record.unknown.is_empty(), "{release} was never asked {:?}", record.unknown);

        let of = |start: &str| -> Vec<(String, Vec<u8>)> {
            record.asked.iter().filter(|(call, _)| call.starts_with(start)).cloned().collect()
        };
        let batches = of("POST /api/v1/events");
        let events = batches.iter().map(|(_, it)| serde_json::from_slice::<EventBatch>(it).unwrap().events);
        let mut have: Vec<u64> = events.flatten().map(|it| it.seq).collect();
        have.sort_unstable();
        assert_eq!(have, [1, 2, 3, 4, 5], "{release}: each event once");
        let mut leaves: Vec<Digest> = then.manifest.artifacts.iter().map(|it| it.sha256.clone()).collect();
        leaves.retain(|it| !then.withheld.contains(it));
        let pieces = of("PUT /api/v1/uploads/");
        assert!(!leaves.is_empty() && pieces.len() == leaves.len(), "{release}: each artifact once, whole");
        for (call, bytes) in pieces {
            let digest = Digest::from_bytes(&Sha256::digest(&bytes).into());
            assert!(leaves.contains(&digest) && call.contains(digest.as_str()), "{release}: {call}");
        }
        let commits = of("PUT /api/v1/reports/");
        let now: ReportCommit = serde_json::from_slice(&commits[0].1).unwrap();
        assert_eq!((commits.len(), now.manifest.incident.id), (1, then.manifest.incident.id), "{release}");
    }
}
