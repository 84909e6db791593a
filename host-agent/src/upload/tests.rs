//! The upload against a controller that misbehaves: whatever it does, everything ends up stored once.

mod exchanges;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;
use vmward_model::exchange::{GUEST_STATUS, HostId, SpoolCounters, StatusPush};
use vmward_model::{Class, Event, EventKind, IncidentId, Sensitivity, Severity};

use super::allowed::Allowed;
use super::fake::{Fake, Mishap};
use super::peer::Speaker;
use super::worker::{Tools, Worker};
use crate::agent::clock;
use crate::agent::events::{Events, read};
use crate::config::Config;
use crate::spool::{self, Bound, Handle, test_report};

/// Long enough for a busy machine; nothing waits for it that works.
const LONG: Duration = Duration::from_secs(60);

/// An agent's state folder with all that sends.
struct Host {
    dir: TempDir,
    config: Config,
    events: Events,
    spool: Handle,
    status: tokio::sync::watch::Sender<Option<Arc<StatusPush>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

/// The endpoints in their order, with pauses that a test can wait for.
fn endpoints(urls: &[String], more: &str) -> Config {
    let mut text = String::new();
    for url in urls {
        text.push_str(&format!(
            "[[controller]]\nurl = {url:?}\ntimeout = '2s'\nconnect-timeout = '2s'\n{more}\n"
        ));
    }
    let mut config = config(&text);
    config.upload.longest_pause = "50ms".parse().unwrap();
    config
}

impl Host {
    fn new(config: Config) -> Host {
        Host::with_bound(config, Bound { entries: 10_000, bytes: 64 << 20 })
    }

    fn with_bound(config: Config, bound: Bound) -> Host {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("reports")).unwrap();
        let events = Events::open(&dir.path().join("events")).unwrap();
        let place = spool::Place {
            folder: dir.path().join("spool"),
            events: dir.path().join("events"),
            reports: dir.path().join("reports"),
            reports_cap: 64 << 20,
            bound,
        };
        let spool = spool::start(place, events.clone()).unwrap();
        let (status, _) = tokio::sync::watch::channel(None);
        let follow = tokio::spawn(spool.clone().follow(events.follow()));
        Host { dir, config, events, spool, status, tasks: vec![follow] }
    }

    fn send(&mut self) {
        let speaker = Speaker { host: HostId(Uuid::from_u128(7)), host_name: "h".into() };
        let tools = Tools {
            spool: self.spool.clone(),
            events: self.events.clone(),
            reports: self.dir.path().join("reports"),
            allowed: Allowed::new(&self.config),
            status: self.status.subscribe(),
            batch: usize::try_from(self.config.upload.batch).unwrap(),
            status_every: self.config.upload.status_every.get(),
            absence: Duration::from_millis(300),
        };
        let links = super::links(&self.config, speaker);
        self.tasks.push(tokio::spawn(Worker::new(tools, links).run()));
    }

    fn note(&self, severity: Severity, text: &str) -> Event {
        self.events.emit(severity, None, EventKind::Note { text: text.into() })
    }

    /// Writes a report, the artifacts of which are so long, all of them of sensitivity `of`.
    fn report(&self, lengths: &[usize], of: Sensitivity) -> IncidentId {
        test_report::write(&self.dir.path().join("reports"), Class::Suspect, of, lengths).0
    }

    async fn until(&self, what: &str, wanted: impl Fn(&SpoolCounters) -> bool) -> SpoolCounters {
        let mut standing = self.spool.standing();
        let wait = standing.wait_for(|it| wanted(&it.counters));
        let done = tokio::time::timeout(LONG, wait).await;
        match done {
            Ok(Ok(it)) => it.counters,
            other => panic!("no {what}: {other:?}"),
        }
    }

    /// Everything that was emitted and written is an entry, and none waits.
    async fn all_sent(&self, made: u64) -> SpoolCounters {
        self.spool.wake();
        self.until("end of the sending", |it| it.made >= made && it.waiting == 0).await
    }
}

/// The agent's own events are sent too, so numbers are compared with what the store holds.
fn each_event_once(host: &Host, fake: &Fake) {
    let seqs: Vec<u64> =
        read::all(&host.dir.path().join("events")).unwrap().into_iter().map(|it| it.seq).collect();
    let have: Vec<u64> = fake.with(|it| it.events.keys().copied().collect());
    assert_eq!(have, seqs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_and_reports_arrive_once_and_are_counted() {
    let fake = Fake::start().await;
    let mut host = Host::new(endpoints(&[fake.url()], ""));
    for n in 0..300 {
        host.note(Severity::Info, &format!("{n}"));
    }
    let id = host.report(&[200_000, 10, 0, 64 << 10], Sensitivity::Text);
    host.send();
    let counters = host.all_sent(301).await;
    assert_eq!((counters.stored, counters.made), (301, 301));
    each_event_once(&host, &fake);
    fake.with(|it| {
        assert!(it.reports.contains_key(&id.to_string()));
        assert_eq!(it.artifacts.values().map(Vec::len).sum::<usize>(), 200_010 + (64 << 10));
        assert_eq!(it.artifact_bytes, 200_010 + (64 << 10), "no byte twice");
        assert!(it.requests.iter().any(|it| it == "POST /api/v2/entries"));
    });
    let left = std::fs::read_dir(host.dir.path().join("spool")).unwrap().count();
    assert_eq!(left, 1, "the ledger alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_controller_gets_protocol_1_and_artifacts_in_one_piece() {
    let fake = Fake::start().await;
    fake.with(|it| (it.protocols, it.capabilities) = (vec![1], vec!["of-the-future".into()]));
    let mut host = Host::new(endpoints(&[fake.url()], ""));
    host.note(Severity::Crit, "x");
    host.report(&[3 << 20], Sensitivity::Text);
    host.send();
    let counters = host.all_sent(2).await;
    assert_eq!(counters.stored, 2);
    fake.with(|it| {
        assert!(it.requests.iter().any(|it| it == "POST /api/v1/events"));
        assert!(it.requests.iter().any(|it| it.starts_with("PUT /api/v1/reports/")));
        assert!(!it.requests.iter().any(|it| it.contains("/v2/") || it.contains("/hosts/")));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_in_the_middle_goes_on_where_the_controller_says() {
    for (resumes, again, bytes) in
        [(true, "offset=30000&size=60000", 60_000), (false, "offset=0&size=60000", 90_000)]
    {
        let fake = Fake::start().await;
        fake.with(|it| {
            it.cut_pieces = 1;
            it.capabilities.retain(|it| resumes || it == GUEST_STATUS);
        });
        let mut host = Host::new(endpoints(&[fake.url()], ""));
        host.report(&[60_000], Sensitivity::Text);
        host.send();
        host.all_sent(1).await;
        fake.with(|it| {
            let pieces: Vec<&String> = it.requests.iter().filter(|it| it.starts_with("PUT")).collect();
            assert!(pieces.len() == 2 && pieces[1].ends_with(again), "{pieces:?}");
            assert_eq!((it.artifact_bytes, it.artifacts.len()), (bytes, 1));
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_entry_is_counted_told_of_and_never_sent_again() {
    let fake = Fake::start().await;
    fake.with(|it| it.dislikes = Some("ugly".into()));
    let mut host = Host::new(endpoints(&[fake.url()], ""));
    let ugly = host.note(Severity::Crit, "an ugly one");
    let good = host.note(Severity::Info, "a good one");
    host.send();
    // The third is the event that tells of the refusal.
    let counters = host.all_sent(3).await;
    assert_eq!((counters.refused, counters.stored), (1, 2));
    fake.with(|it| assert!(!it.events.contains_key(&ugly.seq) && it.events.contains_key(&good.seq)));
    let told = read::all(&host.dir.path().join("events")).unwrap();
    let warned = |it: &Event| {
        it.severity == Severity::Warn
            && matches!(&it.kind, EventKind::Note { text } if text.contains("refused 1 entries"))
    };
    assert!(told.iter().any(warned), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_event_does_not_hold_up_the_others_of_an_older_controller() {
    let fake = Fake::start().await;
    fake.with(|it| {
        it.protocols = vec![1];
        it.dislikes = Some("ugly".into());
    });
    let mut host = Host::new(endpoints(&[fake.url()], ""));
    for n in 0..20 {
        host.note(Severity::Info, if n == 7 { "ugly" } else { "good" });
    }
    host.send();
    let counters = host.until("all but one", |it| it.stored == 19).await;
    assert_eq!((counters.waiting, counters.refused), (1, 0));
    let view = spool::view::read(&host.dir.path().join("spool")).unwrap().unwrap();
    assert!(view.waiting.first().is_some_and(|it| it.source == spool::Source::Event(8)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_matters_most_goes_first_and_no_report_waits_behind_events() {
    let fake = Fake::start().await;
    let mut config = endpoints(&[fake.url()], "");
    config.upload.batch = 10;
    let mut host = Host::new(config);
    let debug: Vec<u64> = (0..100).map(|_| host.note(Severity::Debug, "d").seq).collect();
    let error: Vec<u64> = (0..100).map(|_| host.note(Severity::Error, "e").seq).collect();
    let report = host.report(&[1000], Sensitivity::Text);
    let crit = host.note(Severity::Crit, "c").seq;
    host.spool.wake();
    host.until("all", |it| it.waiting == 202).await;
    host.send();
    host.all_sent(202).await;
    let order = fake.with(|it| it.order.clone());
    let at = |what: String| order.iter().position(|it| *it == what).unwrap();
    assert_eq!(at(format!("event {crit}")), 0, "{order:?}");
    // Of its own severity (ERROR) a report takes turns with events.
    assert!(at(format!("report {report}")) < at(format!("event {}", error[60])), "{order:?}");
    assert!(error.iter().all(|it| at(format!("event {it}")) < at(format!("event {}", debug[0]))));
    let sent: Vec<u64> = fake.with(|it| it.event_order.clone());
    assert!(sent[1..101].windows(2).all(|it| it[0] < it[1]), "oldest first within one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_configuration_lets_go_leaves() {
    for (upload, guest, leaves) in [
        ("", "", vec![Sensitivity::Status, Sensitivity::Text]),
        ("sensitivities = ['status', 'text', 'memory']", "", vec![Sensitivity::Status, Sensitivity::Text]),
        ("", "policy = { upload-memory = true }", vec![Sensitivity::Status, Sensitivity::Text]),
        (
            "sensitivities = ['status', 'text', 'memory']",
            "policy = { upload-memory = true }",
            vec![Sensitivity::Status, Sensitivity::Text, Sensitivity::Memory],
        ),
        ("sensitivities = ['status']", "", vec![Sensitivity::Status]),
    ] {
        let fake = Fake::start().await;
        let mut config = config(&format!(
            "[upload]\n{upload}\n[[guest]]\nname = 'g'\n{guest}\n[[controller]]\nurl = {:?}\n",
            fake.url()
        ));
        config.upload.longest_pause = "50ms".parse().unwrap();
        let mut host = Host::new(config);
        let all = [Sensitivity::Status, Sensitivity::Text, Sensitivity::Memory];
        let ids: Vec<IncidentId> = all.iter().map(|it| host.report(&[60], *it)).collect();
        host.send();
        host.all_sent(3).await;
        for (id, of) in ids.iter().zip(all) {
            fake.with(|it| {
                let report = &it.reports[&id.to_string()];
                let digest = &report.manifest.artifacts[0].sha256;
                let went = it.artifacts.contains_key(digest.as_str());
                assert_eq!((went, report.withheld.is_empty()), (leaves.contains(&of), leaves.contains(&of)));
                let words =
                    serde_json::to_string(&report.manifest).unwrap().contains("the guest's own words");
                assert_eq!(words, leaves.contains(&Sensitivity::Text));
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_link_falls_back_and_the_first_is_used_again_once_it_answers() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.with(|it| it.always = Some(Mishap::Close));
    let mut host = Host::new(endpoints(&[first.url(), second.url()], ""));
    let one = host.note(Severity::Info, "one").seq;
    host.send();
    host.all_sent(1).await;
    assert!(second.with(|it| it.events.contains_key(&one)));
    let before = first.with(|it| {
        it.always = None;
        it.requests.len()
    });
    // Probed at its pace, also while there is nothing to send.
    let answered = async {
        while first.with(|it| it.requests.len()) <= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, answered).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let two = host.note(Severity::Info, "two").seq;
    host.all_sent(2).await;
    assert!(first.with(|it| it.events.contains_key(&two)) && !second.with(|it| it.events.contains_key(&two)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absence_is_told_of_once_when_it_lasts_and_once_when_it_ends() {
    let fake = Fake::start().await;
    fake.with(|it| it.always = Some(Mishap::Status(500)));
    let mut host = Host::new(endpoints(&[fake.url()], ""));
    host.note(Severity::Info, "x");
    host.send();
    let told = |host: &Host| {
        let all = read::all(&host.dir.path().join("events")).unwrap();
        all.into_iter().skip(1).map(|it| it.severity).collect::<Vec<_>>()
    };
    let waits = async {
        while told(&host).is_empty() || fake.with(|it| it.requests.len()) < 15 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, waits).await.unwrap();
    assert_eq!(told(&host), [Severity::Warn]);
    fake.with(|it| it.always = None);
    host.all_sent(3).await;
    assert_eq!(told(&host), [Severity::Warn, Severity::Info]);
    each_event_once(&host, &fake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_shown_and_the_source_address_is_used() {
    let fake = Fake::start().await;
    let mut host = Host::new(Config::default());
    let token = host.dir.path().join("token");
    crate::agent::durable::write(&token, b"secret\n").unwrap();
    let more = format!("token-file = {token:?}\nsource-address = '127.0.0.2'");
    host.config = endpoints(&[fake.url()], &more);
    host.note(Severity::Info, "x");
    host.send();
    host.all_sent(1).await;
    fake.with(|it| {
        assert_eq!(it.authorization.as_deref(), Some("Bearer secret"));
        assert!(it.peers.iter().all(|it| it.ip().to_string() == "127.0.0.2"), "{:?}", it.peers);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interface_that_cannot_reach_it_is_left_for_the_next_endpoint() {
    // `lo` reaches 127.0.0.1, and an interface that is not there reaches nothing.
    let fake = Fake::start().await;
    let mut config = endpoints(&[fake.url(), fake.url()], "");
    config.controllers[0].interface = Some("vwnone0".into());
    config.controllers[1].interface = Some("lo".into());
    let mut host = Host::new(config);
    host.note(Severity::Info, "x");
    host.send();
    assert_eq!(host.all_sent(1).await.stored, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_carries_everything() {
    let fake = Fake::start().await;
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let via = proxy.local_addr().unwrap();
    let (there, seen) = (fake.address, Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let counted = seen.clone();
    tokio::spawn(async move {
        // A SOCKS5 proxy (RFC 1928) without authentication, for IPv4 addresses.
        while let Ok((mut client, _)) = proxy.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut head = [0u8; 2];
                client.read_exact(&mut head).await?;
                client.read_exact(&mut vec![0; usize::from(head[1])]).await?;
                client.write_all(&[5, 0]).await?;
                let mut ask = [0u8; 10];
                client.read_exact(&mut ask).await?;
                assert_eq!(ask[3], 1, "an address");
                let mut server = tokio::net::TcpStream::connect(there).await?;
                client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
            });
        }
    });
    // Nobody listens there: only the proxy knows the way.
    let mut config = endpoints(&["http://127.0.0.9:9".into()], "");
    config.controllers[0].proxy = Some(format!("socks5://{via}"));
    let mut host = Host::new(config);
    host.note(Severity::Info, "x");
    host.send();
    assert_eq!(host.all_sent(1).await.stored, 1);
    assert!(seen.load(std::sync::atomic::Ordering::SeqCst) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_states_of_guests_are_told_when_they_change_and_now_and_then() {
    let fake = Fake::start().await;
    assert!(fake.with(|it| it.capabilities.iter().any(|it| it == GUEST_STATUS)));
    let mut config = endpoints(&[fake.url()], "");
    config.upload.status_every = "1s".parse().unwrap();
    let mut host = Host::new(config);
    host.send();
    let push = StatusPush { host_name: "h".into(), at: clock::now(), guests: Vec::new() };
    host.status.send_replace(Some(Arc::new(push)));
    let twice = async {
        while fake.with(|it| it.statuses.len()) < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, twice).await.unwrap();
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        Just(Mishap::Close),
        Just(Mishap::HalfBody),
        Just(Mishap::LostAnswer),
        prop::sample::select(vec![500u16, 503, 507, 429, 400, 401, 404, 409, 413, 418, 304])
            .prop_map(Mishap::Status),
        Just(Mishap::Garbage),
        Just(Mishap::Huge),
        Just(Mishap::Deep),
        Just(Mishap::Redirect),
        Just(Mishap::WrongOffset),
        Just(Mishap::Hang),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 8, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_controller_does_everything_is_stored_once(
        script in prop::collection::vec(prop::option::weighted(0.5, mishap()), 0..16),
        old in any::<bool>(),
    ) {
        // An entry that was rejected too often waits an hour: fewer in a row than that.
        let mut rejects = 0;
        let script: Vec<Mishap> = script
            .into_iter()
            .flatten()
            .filter(|it| {
                rejects += usize::from(matches!(it, Mishap::Status(400..=499) | Mishap::WrongOffset));
                *it != Mishap::Hang || old
            })
            .collect();
        prop_assume!(rejects <= 3 && script.iter().filter(|it| **it == Mishap::Hang).count() <= 1);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let fake = Fake::start().await;
            if old {
                fake.with(|it| (it.protocols, it.capabilities) = (vec![1], Vec::new()));
            }
            let mut host = Host::new(endpoints(&[fake.url()], ""));
            for n in 0..5 {
                host.note(if n % 2 == 0 { Severity::Info } else { Severity::Error }, "n");
            }
            let ids = [host.report(&[100_000, 5], Sensitivity::Text), host.report(&[9], Sensitivity::Status)];
            fake.with(|it| it.script.extend(script));
            host.send();
            let counters = host.all_sent(7).await;
            assert_eq!(counters.stored, counters.made, "{counters:?}");
            each_event_once(&host, &fake);
            fake.with(|it| {
                let have: Vec<String> = it.reports.keys().cloned().collect();
                let mut want = ids.map(|it| it.to_string()).to_vec();
                want.sort();
                assert_eq!(have, want);
                for bytes in it.artifacts.values() {
                    assert!(bytes.len() == 100_000 || bytes.len() < 10);
                }
            });
        });
    }
}
