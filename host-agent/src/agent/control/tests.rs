//! Client and server against each other, with guests that are played.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use vmward_model::{Answer, Class, GuestId, GuestState, ProbeAnswer, TransportKind};

use super::client::{self, ClientError};
use super::server::{Socket, serve};
use super::{Reply, Request};
use crate::agent::clock;
use crate::agent::events::Events;
use crate::agent::guest::actor::Shared;
use crate::agent::guest::order::{Order, Report, Status};
use crate::agent::guest::ports::Examined;
use crate::agent::guest::running::ScenarioStatus;
use crate::agent::links::Handles;
use crate::agent::live::{Live, LiveAnswer};
use crate::agent::roster::{Bed, Beds};
use crate::agent::rounds::Rounds;

struct Play {
    dir: tempfile::TempDir,
    _task: tokio::task::JoinHandle<()>,
    _beds: watch::Sender<Beds>,
}

impl Play {
    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("control.sock")
    }
}

fn id(name: &str) -> GuestId {
    GuestId::from_name_and_disks(name, &[])
}

/// A guest whose actor is a few lines.
fn bed(name: &str, live: Live) -> Bed {
    let (orders, mut ordered) = mpsc::channel(4);
    let (guest, called) = (id(name), name.to_owned());
    let status = {
        let name = called.clone();
        let scenario = ScenarioStatus {
            scenario: "shell-answers".into(),
            standing: "well".into(),
            last: Some(Answer::Pass),
            every_ms: 10_000,
        };
        let (incarnation, incident, bundle) = (None, None, None);
        Status {
            guest,
            name,
            incarnation,
            state: GuestState::Running,
            scenarios: vec![scenario],
            incident,
            bundle,
        }
    };
    tokio::spawn(async move {
        while let Some(order) = ordered.recv().await {
            match order {
                Order::Status(answer) => drop(answer.send(status.clone())),
                Order::Round(_) => live.tell(LiveAnswer {
                    guest,
                    name: called.clone(),
                    state: GuestState::Running,
                    answer: ProbeAnswer {
                        scenario: "shell-answers".into(),
                        probe: "console-command".into(),
                        transport: TransportKind::Console,
                        at: clock::now(),
                        took_ms: 12,
                        answer: Answer::Pass,
                    },
                }),
                Order::Diagnose(answer) => {
                    let bundle = "/b".into();
                    let examined = Examined { class: Class::LockWait, summary: "held".into(), bundle };
                    drop(answer.send(Report::Examined(Ok(examined))));
                }
            }
        }
    });
    let (nudge, prompts) = Default::default();
    let layout = Default::default();
    let handles = Handles { monitor: None, console: None, built: None, nudge, layout, prompts };
    Bed { guest, name: name.into(), orders, handles }
}

fn play(names: &[&str]) -> Play {
    let dir = tempfile::tempdir().unwrap();
    let shared = Shared {
        events: Events::nowhere(),
        rounds: Rounds::nowhere(),
        live: Live::default(),
        looks: Default::default(),
        spool: None,
    };
    let all = names.iter().map(|it| (id(it), bed(it, shared.live.clone()))).collect();
    let (keep, beds) = watch::channel(Arc::new(all));
    let socket = Socket::bind(&dir.path().join("control.sock")).unwrap();
    Play { dir, _task: tokio::spawn(serve(socket, beds, shared)), _beds: keep }
}

#[tokio::test]
async fn only_the_owner_may_connect_and_a_stale_socket_is_no_obstacle() {
    let play = play(&[]);
    let mode = std::fs::metadata(play.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(Socket::bind(&play.path()).unwrap());
}

#[tokio::test]
async fn status_round_and_diagnosis_are_answered() {
    let play = play(&["a", "b"]);
    let all = client::status(&play.path()).await.unwrap();
    assert_eq!(all.len(), 2);
    let answers = client::round(&play.path(), "b", None).await.unwrap();
    assert_eq!(answers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["b"]);
    let by_uuid = client::diagnose(&play.path(), &id("a").to_string()).await.unwrap();
    assert_eq!(by_uuid.class, Class::LockWait);
}

#[tokio::test]
async fn what_is_not_there_is_said_plainly() {
    let play = play(&["a"]);
    let missing = client::diagnose(&play.path(), "z").await.unwrap_err();
    assert!(missing.to_string().starts_with("no guest is called \"z\""), "{missing}");
    let scenario = client::round(&play.path(), "a", Some("nonesuch")).await.unwrap_err();
    assert!(matches!(scenario, ClientError::Refused(_)), "{scenario}");
    let console = client::attach(&play.path(), "a", false).await.unwrap_err();
    assert!(console.to_string().contains("no console"), "{console}");
    let nobody = client::status(&play.dir.path().join("other.sock")).await.unwrap_err();
    assert!(matches!(nobody, ClientError::NoAgent { .. }));
}

#[tokio::test]
async fn the_live_view_gives_answers_as_they_come() {
    let play = play(&["a"]);
    let mut live = client::Client::ask(&play.path(), &Request::Live).await.unwrap();
    let soon = Duration::from_secs(20);
    // The subscription is made once the request was read: ask until it is seen.
    let seen = loop {
        client::round(&play.path(), "a", None).await.unwrap();
        if let Ok(reply) = live.next(Duration::from_millis(200)).await {
            break reply;
        }
    };
    assert!(matches!(seen, Some(Reply::Answer(_))), "{seen:?} within {soon:?}");
}

#[tokio::test]
async fn garbage_is_refused_and_harms_nobody() {
    let play = play(&["a"]);
    for bytes in [&b"\n"[..], b"{\"op\":\"launch\"}\n", b"\xff\xfe\n", &[b'['; 70_000]] {
        let mut stream = UnixStream::connect(play.path()).await.unwrap();
        // The server may have hung up before all of it was sent.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with(b"{\"reply\":\"error\""));
    }
    assert_eq!(client::status(&play.path()).await.unwrap().len(), 1);
}
