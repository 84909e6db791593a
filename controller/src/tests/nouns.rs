//! Each noun once, as an agent and a reader use it.

use axum::http::Method;
use serde_json::json;
use vmward_model::exchange::{
    Agreement, ControllerHello, Dropped, Entry, EntryBatch, EntryBody, EventBatch, GuestStatus,
    SpoolCounters, StatusPush,
};
use vmward_model::{GuestState, Severity};

use super::Ward;
use crate::live::Change;
use crate::sample::{at, digest, guest, host, incident_event, incident_id, note};

#[tokio::test]
async fn an_agent_and_the_controller_agree() {
    let ward = Ward::new().await;
    let hello = json!({
        "host": host(1), "host_name": "alpha", "software": "vmward 0.1", "protocols": [1, 2, 77],
        "capabilities": ["artifact-resume", "of-the-future"], "of_the_future": true,
    });
    let answer = ward.json(Method::POST, "/api/hello", &hello).await;
    let said: ControllerHello = serde_json::from_slice(&answer.body).unwrap();
    assert!(Agreement::with(&said.protocols, &said.capabilities).is_some());
    assert_eq!((said.limits.chunk_bytes, said.limits.batch_entries), (1 << 20, 500));
    let hosts = ward.get("/api/v1/hosts").await.json();
    assert_eq!(hosts["hosts"][0]["software"], "vmward 0.1");
}

#[cfg(not(feature = "older-peer"))]
#[tokio::test]
async fn an_artifact_comes_in_pieces_and_goes_out_to_be_saved() {
    let ward = Ward::new().await;
    let content = vec![7u8; 100_000];
    let path = format!("/api/v1/uploads/{}", digest(&content));
    assert_eq!(ward.get(&path).await.json(), json!({ "stored": false, "offset": 0 }));
    let sent = ward.put(&format!("{path}?offset=0&size=100000"), &content[..60_000]).await;
    assert_eq!(sent.json(), json!({ "stored": false, "offset": 60_000 }));
    let again = ward.put(&format!("{path}?offset=0&size=100000"), &content[..60_000]).await;
    again.problem(409);
    assert_eq!(again.json()["offset"], 60_000);
    let sent = ward.put(&format!("{path}?offset=60000&size=100000"), &content[60_000..]).await;
    assert_eq!(sent.json(), json!({ "stored": true, "offset": 100_000 }));
    assert_eq!(ward.get(&path).await.json()["stored"], true);
    let answer = ward.get(&format!("/api/v1/artifacts/{}", digest(&content))).await;
    assert_eq!(answer.body, content);
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("content-security-policy"), "default-src 'none'; sandbox");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.header("content-disposition").starts_with("attachment"));
}

#[tokio::test]
async fn events_are_stored_once_and_told_at_once() {
    let ward = Ward::new().await;
    let mut live = ward.state.live.listen();
    let opened = incident_event(3, incident_id(1), "opened", Severity::Crit);
    let batch =
        EventBatch { host: host(1), host_name: "alpha".into(), events: vec![note(1), note(2), opened] };
    let batch = serde_json::to_value(batch).unwrap();
    let answer = ward.json(Method::POST, "/api/v1/events", &batch).await;
    assert_eq!(answer.json(), json!({ "stored": 3, "duplicates": 0 }));
    let again = ward.json(Method::POST, "/api/v1/events", &batch).await;
    assert_eq!(again.json(), json!({ "stored": 0, "duplicates": 3 }));
    assert_eq!(
        live.try_recv().unwrap(),
        Change::Incident { incident: incident_id(1), guest: Some(guest(1)) }
    );
    assert_eq!(live.try_recv().unwrap(), Change::Event { host: host(1), count: 3 });
    assert!(live.try_recv().is_err(), "what was there before is no news");
    let page = ward.get("/api/v1/events?severity=CRIT").await.json();
    assert_eq!(page["rows"].as_array().unwrap().len(), 1);
    assert_eq!(page["rows"][0]["event"]["seq"], 3);
    let page = ward.get("/api/v1/incidents?state=open&severity=ERROR&text=WEB").await.json();
    assert_eq!(page["rows"][0]["id"], incident_id(1).to_string());
}

#[cfg(not(feature = "older-peer"))]
#[tokio::test]
async fn entries_have_a_receipt_each_and_how_the_spool_stands_is_shown() {
    let ward = Ward::new().await;
    let mut strange = note(2);
    strange.format = 99;
    let entries = [note(1), strange, note(1)].into_iter().zip(10..);
    let entries = entries.map(|(event, seq)| Entry { seq, body: EntryBody::Event { event } });
    let dropped = Dropped { debug: 4, ..Dropped::default() };
    let counters = SpoolCounters { made: 9, stored: 2, waiting: 3, dropped, ..SpoolCounters::default() };
    let batch = EntryBatch { host: host(1), host_name: "alpha".into(), counters, entries: entries.collect() };
    let answer = ward.json(Method::POST, "/api/v2/entries", &serde_json::to_value(batch).unwrap()).await;
    let receipts = &answer.json()["receipts"];
    let outcomes: Vec<&str> = (0..3).map(|it| receipts[it]["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["stored", "refused", "duplicate"]);
    let row = &ward.get("/api/v1/hosts").await.json()["hosts"][0];
    assert_eq!((&row["stored_entries"], &row["counters"]["dropped"]["DEBUG"]), (&json!(1), &json!(4)));
    let metrics = String::from_utf8(ward.get("/metrics").await.body).unwrap();
    let line = format!("vmward_host_spool{{host=\"{}\",what=\"dropped_debug\"}} 4", host(1));
    assert!(metrics.contains(&line), "{metrics}");
    assert!(metrics.contains("vmward_entries_total{outcome=\"refused\"} 1"), "{metrics}");
}

#[cfg(not(feature = "older-peer"))]
#[tokio::test]
async fn a_host_tells_how_its_guests_are() {
    let ward = Ward::new().await;
    let mut live = ward.state.live.listen();
    let it = GuestStatus {
        guest: guest(1),
        name: "web-1".into(),
        incarnation: None,
        state: GuestState::Running,
        scenarios: vec![],
        incident: None,
    };
    let push = StatusPush { host_name: "alpha".into(), at: at(1), guests: vec![it] };
    let path = format!("/api/v1/hosts/{}/guests", host(1));
    let answer = ward.json(Method::PUT, &path, &serde_json::to_value(push).unwrap()).await;
    assert_eq!(answer.status, 204);
    assert_eq!(live.try_recv().unwrap(), Change::Guest { guest: guest(1), host: host(1) });
    let all = ward.get("/api/v1/guests").await.json();
    let one = ward.get(&format!("/api/v1/guests/{}", guest(1))).await.json();
    assert_eq!(all["guests"][0], one["guests"][0]);
    assert_eq!(
        (&one["guests"][0]["state"], &one["guests"][0]["host_name"]),
        (&json!("running"), &json!("alpha"))
    );
}

#[cfg(feature = "older-peer")]
#[tokio::test]
async fn an_older_controller_has_neither_the_newest_protocol_nor_pieces_nor_states() {
    let ward = Ward::new().await;
    let content = vec![7u8; 1000];
    let path = format!("/api/v1/uploads/{}", digest(&content));
    ward.put(&format!("{path}?offset=0&size=1000"), &content[..600]).await.problem(400);
    ward.artifact(&content).await;
    ward.json(Method::POST, "/api/v2/entries", &json!({})).await.problem(404);
    let path = format!("/api/v1/hosts/{}/guests", host(1));
    ward.json(Method::PUT, &path, &json!({})).await.problem(404);
    let _unused = (
        EntryBatch {
            host: host(1),
            host_name: String::new(),
            counters: SpoolCounters::default(),
            entries: vec![],
        },
        GuestState::Running,
        Dropped::default(),
        |it: GuestStatus, seq| {
            (
                StatusPush { host_name: String::new(), at: at(1), guests: vec![it] },
                Entry { seq, body: EntryBody::Event { event: note(1) } },
            )
        },
    );
}

#[tokio::test]
async fn health_readiness_and_the_document_are_there() {
    let ward = Ward::new().await;
    assert_eq!(ward.get("/healthz").await.json()["status"], "ok");
    assert_eq!(ward.get("/readyz").await.json()["status"], "ok");
    assert_eq!(ward.get("/api/openapi.json").await.json(), crate::openapi::document());
    ward.state.stop.send_replace(true);
    ward.get("/readyz").await.problem(503);
    assert_eq!(ward.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_reader_hears_what_changes_and_is_told_when_it_was_too_slow() {
    use futures_util::StreamExt as _;
    use tower::ServiceExt as _;
    let ward = Ward::new().await;
    let request = super::request(Method::GET, "/api/v1/live", axum::body::Body::empty());
    let response = ward.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    ward.state.live.tell(Change::Event { host: host(1), count: 2 });
    let said = stream.next().await.unwrap().unwrap();
    let expected = format!("event: event\ndata: {{\"host\":\"{}\",\"count\":2}}\n\n", host(1));
    assert_eq!(said, expected.as_bytes());
    for count in 0..1000 {
        ward.state.live.tell(Change::Event { host: host(1), count });
    }
    assert_eq!(stream.next().await.unwrap().unwrap(), "event: reset\ndata: {}\n\n".as_bytes());
    ward.state.stop.send_replace(true);
    while let Some(it) = stream.next().await {
        it.unwrap();
    }
    let (artifacts, metrics) = (ward.dir.path().join("artifacts"), ward.get("/metrics").await);
    assert!(artifacts.is_dir());
    assert!(String::from_utf8(metrics.body).unwrap().contains("vmward_live_readers 0"));
}
