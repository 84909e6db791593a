//! A copy that was made while agents send is one that a controller can be started on.

use serde_json::json;
use vmward_model::Class;

use crate::client::{get, json, piece};
use crate::sample::{case, digest, host, incident_id, note, report};
use crate::serve::{Controller, run};

#[test]
fn a_copy_made_while_it_runs_serves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    let controller = Controller::start(&data);
    let address = controller.address;
    for content in [case().as_slice(), b"raw"] {
        assert_eq!(piece(address, &digest(content), 0, content.len(), content).unwrap().status, 200);
    }
    let id = incident_id(1);
    let body = serde_json::to_value(report(id, Class::DiskStall, &[b"raw"])).unwrap();
    json(address, "PUT", &format!("/api/v1/reports/{id}"), &body).unwrap();
    let events = |n: u64| json!({ "host": host(1), "host_name": "alpha", "events": [note(n)] });
    json(address, "POST", "/api/v1/events", &events(1)).unwrap();
    let done = run(&data, &["backup", copy.to_str().unwrap()]);
    assert!(done.status.success(), "{done:?}");
    let said = String::from_utf8(done.stdout).unwrap();
    let size = case().len() + 3;
    let held = format!("1 hosts, 1 guests, 1 incidents, 1 reports, 1 events, 2 artifacts of {size} bytes");
    assert!(said.contains(&held), "{said}");
    json(address, "POST", "/api/v1/events", &events(2)).unwrap();

    let restored = Controller::start(&copy);
    let path = format!("/api/v1/incidents/{id}");
    assert_eq!(get(restored.address, &path).unwrap().body, get(address, &path).unwrap().body);
    let raw = get(restored.address, &format!("/api/v1/artifacts/{}", digest(b"raw"))).unwrap();
    assert_eq!(raw.body, b"raw");
    let rows = get(restored.address, "/api/v1/events").unwrap().json();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1, "what came later is not in it");

    // Never over something, and never half.
    assert_eq!(run(&data, &["backup", copy.to_str().unwrap()]).status.code(), Some(1));
    let name = digest(b"raw").to_string();
    std::fs::write(data.join("artifacts").join(&name[..2]).join(&name), b"rot").unwrap();
    let second = dir.path().join("second");
    let broken = run(&data, &["backup", second.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(!broken.status.success() && said.contains("its content is another"), "{said}");
    assert!(!second.exists());
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
