//! An agent, a controller and a guest, all real: what happens to the guest arrives.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use vmward::report::{self, Content, Origin};
use vmward_model::{Incident, Provenance, Rung, Sensitivity, Stamp, TransportKind};
use vmward_qemu_fixtures::qemu::RunFolder;
use vmward_qemu_fixtures::unikernel::{self, Mode};
use vmward_tests::controller::Controller;
use vmward_tests::record::Recorder;
use vmward_tests::ward::{Plan, Ward};
use vmward_tests::{ask, binary, stored};

/// Tries until it is so.
fn until(what: &str, wait: Duration, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + wait;
    while !so().with_context(|| what.to_owned())? {
        ensure!(Instant::now() < end, "{what}: not within {wait:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// An agent that watches `guest` and sends to `controller`, an entry of its configuration.
fn plan(guest: &str, controller: &str) -> Plan {
    Plan {
        settings: "prompt = \"unikernel> $\"\nqmp-policy = \"hold\"\n".into(),
        more: format!("{controller}\n[upload]\nlongest-pause = \"1s\"\n"),
        ..Plan::for_guest(guest)
    }
}

/// A guest whose QEMU is stopped, from the fault to the controller's page of it.
/// `entry` says how the agent gets to the controller.
fn a_fault_arrives(program: Option<PathBuf>, controller: &Controller, entry: &str) -> Result<()> {
    let older_agent = program.is_some();
    let older_controller = controller.get("/api/openapi.json")?.json()?["paths"]["/api/v2/entries"].is_null();
    let name = format!("vmward-upload-{}", std::process::id());
    let mut guest = unikernel::guest(&name, Mode::Heartbeat)?.boot()?;
    let mut ward = Ward::start(&Plan { program, ..plan(&name, entry) })?;
    ward.wait_well(&["app-label"], Duration::from_secs(60))?;
    guest.signal(Signal::SIGSTOP)?;
    let examined = ward.wait_incident("examined", Duration::from_secs(120));
    guest.signal(Signal::SIGCONT)?;
    let (incident, _) = examined?;
    until("the report at the controller", Duration::from_secs(30), || {
        stored::has_report(controller, &incident.to_string())
    })?;
    let said = stored::get(controller, &format!("/api/v1/incidents/{incident}"))?;
    ensure!(said["conclusion"].is_object(), "the case did not leave with the report: {said}");
    // Registers stay: nobody allowed memory.
    let withheld = said["withheld"].as_array().context("no list of what stayed")?.len();
    let bundle = ward.bundle(incident)?;
    let memory = |it: &&vmward_model::Artifact| it.sensitivity == Sensitivity::Memory;
    let digests: std::collections::BTreeSet<_> =
        bundle.manifest().artifacts.iter().filter(memory).map(|it| it.sha256.clone()).collect();
    ensure!(withheld == digests.len(), "{withheld} artifacts stayed, {} are memory", digests.len());

    let hosts = stored::get(controller, "/api/v1/hosts")?;
    let host = &hosts["hosts"][0];
    let newest = host["protocols"].as_array().and_then(|it| it.iter().filter_map(|it| it.as_u64()).max());
    ensure!(newest == Some(if older_agent { 1 } else { 2 }), "{host}");
    if !older_agent && !older_controller {
        until("the guest at the controller", Duration::from_secs(30), || {
            let guests = stored::get(controller, "/api/v1/guests")?;
            Ok(guests.to_string().contains(&name))
        })?;
    }
    until("every event at the controller", Duration::from_secs(30), || {
        let ours: Vec<u64> = ward.events()?.into_iter().map(|it| it.seq).collect();
        Ok(stored::event_numbers(controller)? == ours)
    })
}

#[test]
fn a_fault_arrives_at_the_controller() -> Result<()> {
    let controller = Controller::start()?;
    a_fault_arrives(None, &controller, &controller.entry())
}

#[test]
fn a_fault_arrives_from_an_agent_that_knows_less() -> Result<()> {
    let controller = Controller::start()?;
    a_fault_arrives(Some(binary::older_vmward()?), &controller, &controller.entry())
}

#[test]
fn a_fault_arrives_at_a_controller_that_knows_less() -> Result<()> {
    let controller = Controller::start_older()?;
    let recorder = Recorder::start(&controller)?;
    recorder.open();
    a_fault_arrives(None, &controller, &recorder.entry())?;
    let seen = recorder.seen();
    let hello = seen.first().context("nothing passed")?;
    ensure!(hello.target == "/api/hello", "{hello:?}");
    let (said, answer): (serde_json::Value, _) = (serde_json::from_slice(&hello.body)?, hello.answer.json()?);
    ensure!(said["protocols"] == serde_json::json!([1, 2]), "that is no agent of today: {said}");
    ensure!(answer["protocols"] == serde_json::json!([1]), "that is no older controller: {answer}");
    ensure!(answer["capabilities"] == serde_json::json!([]), "{answer}");
    let mut artifacts = std::collections::BTreeSet::new();
    for it in &seen {
        let (call, status) = (format!("{} {}", it.method, it.target), it.answer.status);
        ensure!(status < 300, "{call}: {status}: {:?}", it.answer.json());
        ensure!(!call.contains("/v2/") && !call.contains("/hosts/"), "it does not know {call}");
        if call.starts_with("PUT /api/v1/uploads/") {
            let whole = format!("?offset=0&size={}", it.body.len());
            ensure!(call.ends_with(&whole), "{call}: a piece of {} bytes", it.body.len());
            ensure!(artifacts.insert(call.clone()), "{call}: twice");
        }
    }
    ensure!(!artifacts.is_empty(), "no artifact passed");
    Ok(())
}

#[test]
fn a_large_report_leaves_in_pieces_and_the_agent_stays_small() -> Result<()> {
    let mut controller = Controller::start()?;
    let mut ward = Ward::start(&plan("vmward-nobody", &controller.entry()))?;
    ward.wait_ready(Duration::from_secs(20))?;
    ward.kill()?;
    let at: Stamp = serde_json::from_str(r#"{"utc":"2026-01-01T00:00:00Z","mono_ms":1}"#)?;
    let id = "0198c0de-0000-7000-8000-000000000001";
    let incident: Incident = serde_json::from_value(serde_json::json!({
        "format": 1, "id": id, "guest": "00000000-0000-0000-0000-000000000001", "guest_name": "g",
        "incarnation": { "pid": 1, "start_ticks": 1, "boot": 0 },
        "state": "reported", "guest_state": "running",
        "notice": { "scenario": "s", "at": at, "first_failure": at },
        "opening": { "class": "suspect", "confidence": "possible", "scenario": "s", "at": at, "evidence": [] },
        "class": "suspect", "findings": [], "captures": [],
    }))?;
    let contents: Vec<Content> = (0..4u8)
        .map(|n| Content {
            kind: "raw".into(),
            media_type: "text/plain".into(),
            sensitivity: Sensitivity::Text,
            provenance: Provenance {
                capture: "c".into(),
                transport: TransportKind::Host,
                rung: Rung::L0,
                at,
                took_ms: 1,
                paused_us: 0,
            },
            truncated: false,
            bytes: vec![b'a' + n; 30 << 20],
        })
        .collect();
    let origin = Origin { writer: "test".into(), host: "h".into(), written: at };
    report::write(&ward.reports(), &incident, &contents, &origin)?;
    ward.restart()?;
    // Cut in the middle, more than once.
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(400));
        controller.kill()?;
        controller.restart()?;
    }
    until("the report at the controller", Duration::from_secs(120), || stored::has_report(&controller, id))?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", ward.pid()))?;
    let peak = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    ensure!(peak < 64 << 10, "the agent took {peak} KiB");
    let said = ask::vmward(&ward, &["spool"])?;
    ensure!(said.status.success(), "vmward spool: {said:?}");
    Ok(())
}

/// A certificate of its own for 127.0.0.1, as `certificate.pem` and `key.pem`.
fn certificate(folder: &Path) -> Result<()> {
    // One that may not vouch for others: a certificate of an authority is none of a server.
    let config = "[req]\ndistinguished_name = dn\nx509_extensions = ext\nprompt = no\n[dn]\nCN = vmward test\n\
                  [ext]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = critical, CA:FALSE\n";
    std::fs::write(folder.join("openssl.cnf"), config)?;
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .arg("-config")
        .arg(folder.join("openssl.cnf"))
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("certificate.pem"))
        .output()
        .context("openssl is needed to make a certificate: apt install openssl")?;
    ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// A controller with TLS in a process of its own, which ends with it.
struct WithTls {
    process: Child,
    folder: RunFolder,
    url: String,
}

impl WithTls {
    fn start() -> Result<WithTls> {
        let mut folder = RunFolder::new()?;
        certificate(folder.path())?;
        let (certificate, key) = (folder.file("certificate.pem"), folder.file("key.pem"));
        let config = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
        std::fs::write(folder.file("controller.toml"), config)?;
        let mut process = WithTls::command(folder.path())?
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.file("controller.log"))?)
            .spawn()?;
        folder.watch(process.id())?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("no output")?).read_line(&mut line)?;
        let url = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        ensure!(url.starts_with("https://"), "the controller said {line:?}");
        Ok(WithTls { process, folder, url })
    }

    fn command(folder: &Path) -> Result<Command> {
        let mut command = Command::new(binary::controller()?);
        command.arg("--config").arg(folder.join("controller.toml")).arg("--data").arg(folder.join("data"));
        Ok(command)
    }
}

impl Drop for WithTls {
    fn drop(&mut self) {
        self.folder.unlist(self.process.id());
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// What `vmward doctor` says once the agent has named its host, which it does right after it takes orders.
fn doctor(ward: &Ward) -> Result<String> {
    until("the host's name", Duration::from_secs(20), || Ok(ward.state().join("host").exists()))?;
    let said = ask::vmward(ward, &["doctor"])?;
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

#[test]
fn over_tls_everything_arrives_with_the_token_and_nothing_without() -> Result<()> {
    let controller = WithTls::start()?;
    let folder = controller.folder.path();
    let added = WithTls::command(folder)?.args(["token", "add", "host-1", "--role", "agent"]).output()?;
    ensure!(added.status.success(), "{added:?}");
    let added = String::from_utf8_lossy(&added.stdout).into_owned();
    let token = added.split_whitespace().last().context("no token")?;
    let path = folder.join("token");
    std::fs::write(&path, "another")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let entry = |ca: &str| {
        format!(
            "\n[[controller]]\nurl = {:?}\ntoken-file = {path:?}\n{ca}[upload]\nlongest-pause = \"1s\"\n",
            controller.url
        )
    };
    let ca = format!("ca-file = {:?}\n", folder.join("certificate.pem"));
    let nobody = |more: String| Plan { more, ..Plan::for_guest("vmward-nobody") };
    let counters = |ward: &Ward| -> Result<serde_json::Value> {
        let said = ask::vmward(ward, &["-o", "json", "spool"])?;
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).context("vmward spool")?;
        Ok(said["counters"].clone())
    };

    // Nobody vouches for that certificate.
    let stranger = Ward::start(&nobody(entry("")))?;
    stranger.wait_ready(Duration::from_secs(20))?;
    let said = doctor(&stranger)?;
    ensure!(said.contains("MISSING controller") && said.contains("certificate"), "{said}");
    ensure!(counters(&stranger)?["stored"] == 0, "something went to a stranger");
    drop(stranger);

    // The certificate is right and the token is not, until it is.
    let ward = Ward::start(&nobody(entry(&ca)))?;
    ward.wait_ready(Duration::from_secs(20))?;
    let said = doctor(&ward)?;
    ensure!(said.contains("it answered 401"), "{said}");
    ensure!(counters(&ward)?["stored"] == 0, "something went without a token");
    std::fs::write(&path, token)?;
    until("everything at the controller", Duration::from_secs(30), || {
        let it = counters(&ward)?;
        Ok(it["stored"].as_u64() > Some(0) && it["waiting"] == 0)
    })
}
