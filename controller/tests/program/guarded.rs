//! Reachable by others: only with tokens and TLS.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::{Answered, connect, over, request};
use crate::serve::{Controller, program, run};

/// A certificate for localhost and its key, made for this test.
fn certificate(folder: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

fn token(data: &Path, name: &str, role: &str) -> String {
    let done = run(data, &["token", "add", name, "--role", role]);
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[test]
fn others_can_reach_it_only_with_tokens_and_tls() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (certificate, key) = certificate(dir.path());
    let bare = run(&data, &["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(bare.status.code(), Some(3));
    let said = String::from_utf8_lossy(&bare.stderr).into_owned();
    assert!(said.contains("there is no token and TLS is not configured"), "{said}");
    let reader = token(&data, "reader-1", "reader");
    let bare = run(&data, &["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(bare.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&bare.stderr).contains("TLS is not configured"));

    let config = dir.path().join("controller.toml");
    let text = format!(
        "listen = \"0.0.0.0:0\"\ndata = {data:?}\n[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(program());
    command.arg("--config").arg(&config).arg("serve");
    let controller = Controller::spawn(command);

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    let port = controller.address.port();
    let ask = |path: &str, token: Option<&str>| -> Answered {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(client.clone(), name).unwrap();
        let stream = connect(([127, 0, 0, 1], port).into()).unwrap();
        let bearer = token.map(|it| format!("Bearer {it}"));
        let headers: Vec<_> = bearer.iter().map(|it| ("authorization", it.as_str())).collect();
        over(StreamOwned::new(session, stream), &request("GET", path, &headers, b"")).unwrap()
    };
    assert_eq!(ask("/api/v1/hosts", None).status, 401);
    assert_eq!(ask("/api/v1/hosts", Some(&reader)).status, 200);
    // Tokens come and go while it runs.
    let agent = token(&data, "agent-1", "agent");
    assert_eq!(ask("/api/v1/hosts", Some(&agent)).status, 403);
    assert!(run(&data, &["token", "remove", "reader-1"]).status.success());
    assert_eq!(ask("/api/v1/hosts", Some(&reader)).status, 401);
    // Without TLS nothing is answered.
    let plain = over(connect(([127, 0, 0, 1], port).into()).unwrap(), &request("GET", "/healthz", &[], b""));
    assert!(plain.is_err(), "{plain:?}");
    let listed = String::from_utf8(run(&data, &["token", "list"]).stdout).unwrap();
    assert!(listed.contains("agent-1") && !listed.contains(&agent), "{listed}");
    assert!(controller.stop().success());
}
