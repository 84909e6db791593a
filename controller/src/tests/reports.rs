//! Reports: from the first refusal to what a reader is shown.

use axum::http::Method;
use serde_json::{Value, json};
use vmward_model::{Class, IncidentId};

use super::{Answered, Ward};
use crate::sample::{case, digest, host, incident_id, report};

async fn commit(ward: &Ward, id: IncidentId, body: &Value) -> Answered {
    ward.json(Method::PUT, &format!("/api/v1/reports/{id}"), body).await
}

fn body(id: IncidentId, class: Class, raw: &[&[u8]]) -> Value {
    serde_json::to_value(report(id, class, raw)).unwrap()
}

#[tokio::test]
async fn a_report_is_stored_once_its_artifacts_are_and_judged_again() {
    let ward = Ward::new().await;
    let id = incident_id(1);
    let document = body(id, Class::DiskStall, &[b"raw bytes"]);
    let answer = commit(&ward, id, &document).await.json();
    assert_eq!((&answer["outcome"], answer["digests"].as_array().unwrap().len()), (&json!("missing"), 2));
    ward.artifact(&case()).await;
    let answer = commit(&ward, id, &document).await.json();
    assert_eq!(answer, json!({ "outcome": "missing", "digests": [digest(b"raw bytes")] }));
    ward.artifact(b"raw bytes").await;
    assert_eq!(commit(&ward, id, &document).await.json(), json!({ "outcome": "stored" }));
    assert_eq!(commit(&ward, id, &document).await.json(), json!({ "outcome": "duplicate" }));

    let shown = ward.get(&format!("/api/v1/incidents/{id}")).await.json();
    assert_eq!(shown["row"]["class"], "disk-stall");
    // Nothing but the opening verdict is known in this case, so that is what the engine says.
    assert_eq!(
        (&shown["row"]["controller_class"], &shown["row"]["differs"]),
        (&json!("suspect"), &json!(true))
    );
    assert_eq!((&shown["conclusion"]["class"], &shown["not_concluded"]), (&json!("suspect"), &json!("")));
    let manifest = ward.get(&format!("/api/v1/incidents/{id}/manifest")).await;
    assert_eq!(manifest.json(), document["manifest"]);
    assert_eq!(manifest.header("content-type"), "application/json");
    for query in ["class=disk-stall", "class=suspect", "text=app-label", "limit=1"] {
        let page = ward.get(&format!("/api/v1/incidents?{query}")).await.json();
        assert_eq!(page["rows"][0], shown["row"], "{query}");
    }
}

#[tokio::test]
async fn what_stays_on_the_host_is_not_waited_for() {
    let ward = Ward::new().await;
    let id = incident_id(1);
    let mut document = body(id, Class::DiskStall, &[b"secret"]);
    document["withheld"] = json!([digest(b"secret"), digest(&case())]);
    assert_eq!(commit(&ward, id, &document).await.json()["outcome"], "stored");
    let shown = ward.get(&format!("/api/v1/incidents/{id}")).await.json();
    assert_eq!(shown["withheld"].as_array().unwrap().len(), 2);
    assert_eq!(shown["not_concluded"], "the host keeps the case to itself");
    assert_eq!((&shown["row"]["differs"], shown.get("conclusion")), (&json!(false), None));
}

#[tokio::test]
async fn a_report_that_can_never_be_kept_is_refused_and_says_why() {
    let ward = Ward::new().await;
    let id = incident_id(1);
    let whys = async |document: Value| {
        let answer = commit(&ward, id, &document).await.json();
        assert_eq!(answer["outcome"], "refused", "{answer}");
        answer["why"].as_str().unwrap().to_owned()
    };
    let mut newer = body(id, Class::DiskStall, &[]);
    newer["manifest"]["format"] = json!(99);
    assert!(whys(newer).await.contains("format 99"));
    let mut many = body(id, Class::DiskStall, &[]);
    many["manifest"]["artifacts"] = Value::from(vec![many["manifest"]["artifacts"][0].clone(); 5000]);
    assert!(whys(many).await.contains("more than 4096 artifacts"));
    let mut vast = body(id, Class::DiskStall, &[]);
    vast["manifest"]["artifacts"][0]["size"] = json!(u64::MAX);
    assert!(whys(vast).await.contains("bytes together"));
    ward.artifact(&case()).await;
    let mut other = body(id, Class::DiskStall, &[]);
    other["manifest"]["artifacts"][0]["size"] = json!(3);
    assert!(whys(other).await.contains("not 3"));
    assert_eq!(ward.get("/api/v1/incidents").await.json()["rows"], json!([]));
}

#[tokio::test]
async fn a_case_that_is_none_costs_the_conclusion_and_not_the_report() {
    let ward = Ward::new().await;
    let id = incident_id(1);
    for (n, nonsense) in [b"{}".as_slice(), b"not json", b"[[[[[[[["].into_iter().enumerate() {
        let mut document = body(id, Class::DiskStall, &[]);
        let artifact = &mut document["manifest"]["artifacts"][0];
        artifact["sha256"] = json!(digest(nonsense));
        artifact["size"] = json!(nonsense.len());
        // Each is written later than the one before and takes its place.
        document["manifest"]["written"]["utc"] = json!(format!("2030-01-01T00:00:0{n}Z"));
        ward.artifact(nonsense).await;
        assert_eq!(commit(&ward, id, &document).await.json()["outcome"], "stored");
        let shown = ward.get(&format!("/api/v1/incidents/{id}")).await.json();
        assert!(shown["not_concluded"].as_str().unwrap().starts_with("no case: "), "{shown}");
    }
    assert_eq!(ward.get("/api/v1/hosts").await.json()["hosts"][0]["id"], host(1).to_string());
}

#[tokio::test]
async fn a_report_under_another_name_is_a_mistake() {
    let ward = Ward::new().await;
    let document = body(incident_id(1), Class::DiskStall, &[]);
    let detail = commit(&ward, incident_id(2), &document).await.problem(400);
    assert!(detail.contains(&incident_id(1).to_string()), "{detail}");
}
