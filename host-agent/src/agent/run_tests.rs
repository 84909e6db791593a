//! The daemon as a whole, on a host without guests.

use std::time::Duration;

use vmward_model::{EventKind, FORMAT, GuestId, Incarnation, IncidentId, IncidentState, Verdict};

use super::events::read;
use super::guest::memory::{self, Memory, Remembered};
use super::{clock, control, durable, paths, run};
use crate::config::{Config, Loaded};

fn loaded(dir: &std::path::Path) -> Loaded {
    let mut config = Config::default();
    config.state.folder = dir.join("state");
    config.state.run_folder = dir.join("run");
    config.discovery.proc = false;
    config.discovery.eve = false;
    Loaded { path: None, config, scenarios: Default::default(), diagnoses: Default::default() }
}

#[tokio::test]
async fn an_agent_starts_answers_and_stops_and_only_one_runs() {
    let dir = tempfile::tempdir().unwrap();
    let state = loaded(dir.path()).config.state;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let agent = tokio::spawn(run(loaded(dir.path()), Box::new(|_| Vec::new()), async {
        let _ = stopped.await;
    }));
    let socket = paths::control(&state);
    let mut status = control::client::status(&socket).await;
    for _ in 0..400 {
        if status.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        status = control::client::status(&socket).await;
    }
    assert_eq!(status.unwrap(), []);
    let second = run(loaded(dir.path()), Box::new(|_| Vec::new()), std::future::pending()).await;
    assert!(format!("{:#}", second.unwrap_err()).contains("another agent"));
    stop.send(()).unwrap();
    agent.await.unwrap().unwrap();
    let kinds: Vec<EventKind> =
        read::all(&paths::events(&state)).unwrap().into_iter().map(|it| it.kind).collect();
    assert!(
        matches!(kinds.as_slice(), [EventKind::AgentStarted { .. }, EventKind::AgentStopped]),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn an_incident_whose_agent_and_guest_are_both_gone_is_reported_as_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let state = loaded(dir.path()).config.state;
    let guest = GuestId::from_name_and_disks("a", &[]);
    let id = IncidentId(uuid::Uuid::now_v7());
    let opening: Verdict = serde_json::from_value(serde_json::json!({
        "class": "suspect", "confidence": "possible", "scenario": "app-label", "at": clock::now(), "evidence": []
    }))
    .unwrap();
    let incident = Remembered {
        id,
        state: IncidentState::Examining,
        opened: clock::now(),
        opening,
        failed: Default::default(),
        bundle: None,
    };
    let left = Memory {
        format: FORMAT,
        guest,
        name: "a".into(),
        // No process has this start time.
        incarnation: Incarnation { pid: std::process::id(), start_ticks: u64::MAX, boot: 0 },
        passed: Default::default(),
        incident: Some(incident),
    };
    let folder = paths::guests(&state);
    durable::folder(&folder).unwrap();
    durable::write(&memory::path(&folder, guest), &serde_json::to_vec(&left).unwrap()).unwrap();
    // Half a bundle of it.
    std::fs::create_dir_all(paths::reports(&state).join(".unfinished-x")).unwrap();

    run(loaded(dir.path()), Box::new(|_| Vec::new()), async {}).await.unwrap();
    let told = read::all(&paths::events(&state)).unwrap();
    let about = |it: &EventKind| matches!(it, EventKind::Incident { id: it, what, .. } if *it == id && what == "interrupted");
    assert_eq!(told.iter().filter(|it| about(&it.kind)).count(), 1);
    assert_eq!(memory::read(&folder, guest).unwrap().incident, None);
    assert_eq!(std::fs::read_dir(paths::reports(&state)).unwrap().count(), 0);
}
