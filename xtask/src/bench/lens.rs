//! `bench lens`: from the request to tasks, stacks, waits, log and the state of the machine on disk, on healthy
//! guests of every kernel, whole processes. Cold knows nothing of the kernel; warm has looked at it before.
//!
//! `--peer 'drgn ...'` runs another program on the same guest after each look, measured the same way.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmward_qemu_fixtures::fault;
use vmward_qemu_fixtures::qemu::{Guest, Memory};
use vmward_qemu_fixtures::standard::Patient;

use super::{Args, Figure, Samples, percentile};
use crate::measured::measure;
use crate::run::{cargo, root, step};

/// Looks of each kind on each guest when `--runs` does not say.
const RUNS: usize = 10;
/// Threads of the guest with many.
const MANY: u32 = 5000;

/// One guest and what a look at it may take, in milliseconds.
struct Setting {
    name: &'static str,
    kernel: &'static str,
    memory: fn() -> Memory,
    many: bool,
    cold: f64,
    warm: Option<f64>,
}

const fn small() -> Memory {
    Memory::Memfd(512)
}

/// The settings of the issue. The large ones may take 1.3 times what the same kernel takes with 512 MiB.
const SETTINGS: [Setting; 9] = [
    Setting { name: "5.10", kernel: "amd64-5.10", memory: small, many: false, cold: 80.0, warm: Some(15.0) },
    Setting { name: "6.1", kernel: "amd64-6.1", memory: small, many: false, cold: 80.0, warm: Some(15.0) },
    Setting { name: "6.12", kernel: "amd64-6.12", memory: small, many: false, cold: 80.0, warm: Some(15.0) },
    Setting { name: "7.x", kernel: "amd64-7.x", memory: small, many: false, cold: 80.0, warm: Some(15.0) },
    Setting {
        name: "arm64",
        kernel: "arm64-6.12",
        memory: small,
        many: false,
        cold: 250.0,
        warm: Some(60.0),
    },
    Setting {
        name: "16-gib",
        kernel: "amd64-6.1",
        memory: || Memory::Memfd(16 << 10),
        many: false,
        cold: f64::NAN,
        warm: None,
    },
    Setting {
        name: "64-gib",
        kernel: "amd64-6.1",
        memory: || Memory::Memfd(64 << 10),
        many: false,
        cold: f64::NAN,
        warm: None,
    },
    Setting {
        name: "4-gib-anonymous",
        kernel: "amd64-6.1",
        memory: || Memory::Anonymous(4 << 10),
        many: false,
        cold: f64::NAN,
        warm: None,
    },
    Setting {
        name: "5000-threads",
        kernel: "amd64-6.1",
        memory: || Memory::Memfd(1024),
        many: true,
        cold: 250.0,
        warm: None,
    },
];
/// The setting that the large ones are compared with, and by how much they may be slower.
const BASE: &str = "6.1";
const LARGER: f64 = 1.3;
/// Resident size of a look.
const RSS_MIB: f64 = 64.0;

/// Runs it.
pub fn run(args: &Args, samples: &mut Samples) -> Result<Vec<Figure>> {
    step("build --release", cargo().args(["build", "--release", "--package", "vmward", "--bin", "vmward"]))?;
    let program = root().join("target/release/vmward");
    let program = program.to_str().context("this folder's name is no text")?;
    let wanted = |it: &Setting| {
        let named = |list: &[String]| list.is_empty() || list.iter().any(|name| name == it.name);
        named(&args.faults) && (args.kernels.is_empty() || args.kernels.iter().any(|name| name == it.kernel))
    };
    for setting in SETTINGS.iter().filter(|it| wanted(it)) {
        let have = samples.lines.iter().filter(|it| it["setting"] == setting.name).count();
        if have < args.runs.unwrap_or(RUNS) {
            one(setting, program, args, samples).with_context(|| setting.name.to_owned())?;
        }
    }
    Ok(figures(&SETTINGS.iter().filter(|it| wanted(it)).collect::<Vec<_>>(), samples))
}

fn one(setting: &Setting, program: &str, args: &Args, samples: &mut Samples) -> Result<()> {
    let name = format!("lens-{}-{}", std::process::id(), setting.name);
    // The device that tells where VMCOREINFO lies is left out: the kernel is to be found without.
    let patient = Patient::standard(setting.kernel)?
        .with(|it| it.name(&name).memory((setting.memory)()).without_vmcoreinfo());
    let patient = fault::find("idle")?.prepare(patient)?;
    let mut guest = patient.finish()?.boot()?;
    if setting.many {
        many(&mut guest)?;
    }
    let folder = tempfile::tempdir().context("while making a folder")?;
    let config = folder.path().join("vmward.toml");
    let state = folder.path().join("state");
    let text = format!(
        "[state]\nfolder = {state:?}\nrun-folder = {:?}\n\n[[guest]]\nname = {name:?}\nqmp-policy = \"brief\"\n",
        folder.path().join("run")
    );
    std::fs::write(&config, text).context("while writing a configuration")?;
    std::fs::create_dir_all(&state).context("while making a folder")?;
    let mut before = resident(guest.pid())?;
    for run in 0..args.runs.unwrap_or(RUNS) {
        let out = folder.path().join("all.json");
        let config = config.to_str().context("a folder's name is no text")?;
        let path = out.to_str().context("a folder's name is no text")?;
        let mut sample = json!({ "setting": setting.name, "run": run });
        for kind in ["cold", "warm"] {
            if kind == "cold" && state.join("kernels").exists() {
                std::fs::remove_dir_all(state.join("kernels")).context("while forgetting a kernel")?;
            }
            let words = ["--config", config, "inspect", &name, "--save", path, "all", "-o", "json"];
            let taken = measure(program, &words)?;
            ensure!(matches!(taken["exit"].as_i64(), Some(0 | 1)), "the look failed: {taken}");
            told(&out, setting)?;
            sample[kind] = taken;
            let begun = Instant::now();
            std::fs::File::open(&out)?.sync_all().context("while waiting for the disk")?;
            sample["fsync_ms"] = json!(begun.elapsed().as_secs_f64() * 1000.0);
        }
        if let Some(line) = &args.peer {
            let qmp = guest.qmp_path();
            let line = line.replace("{pid}", &guest.pid().to_string());
            let line = line.replace("{qmp}", qmp.to_str().unwrap_or_default());
            sample["peer"] = measure("sh", &["-c", &line])?;
        }
        let now = resident(guest.pid())?;
        sample["grew_kib"] = json!(now.saturating_sub(before));
        before = now;
        samples.add(sample)?;
    }
    Ok(guest.check_alive()?)
}

/// What is on disk is what was asked for.
fn told(path: &Path, setting: &Setting) -> Result<()> {
    let text = std::fs::read(path).context("while reading what was saved")?;
    let all: Value = serde_json::from_slice(&text).context("while reading what was saved")?;
    let tasks = all["tasks"].as_array().map_or(0, Vec::len);
    let least = if setting.many { MANY as usize } else { 40 };
    ensure!(tasks >= least, "{tasks} tasks were told");
    ensure!(all["log"].is_object() && all["waits"].is_object(), "log or waits are missing");
    let stacks = all["tasks"].as_array().into_iter().flatten();
    let without = stacks.filter(|it| it["stack"].as_array().is_none_or(Vec::is_empty)).count();
    ensure!(without <= 8, "{without} tasks have no stack");
    Ok(())
}

/// Starts the threads and waits until they are there.
fn many(guest: &mut Guest) -> Result<()> {
    let request = format!("threads {MANY}");
    let answer = guest.control(&request, Duration::from_secs(120))?;
    ensure!(answer["ok"] == true, "the guest did not start {MANY} threads: {answer}");
    Ok(())
}

/// KiB of a process that are resident.
fn resident(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("while looking at QEMU")?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("QEMU has no size")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn figures(settings: &[&Setting], samples: &Samples) -> Vec<Figure> {
    let of = |setting: &str, kind: &str, key: &str| -> Vec<f64> {
        let lines = samples.lines.iter().filter(|it| it["setting"] == setting);
        lines.filter_map(|it| it[kind][key].as_f64()).collect()
    };
    let median = |setting: &str, kind: &str| percentile(&of(setting, kind, "ms"), 0.5);
    let base = (median(BASE, "cold"), median(BASE, "warm"));
    let mut figures = Vec::new();
    for it in settings {
        let (cold, warm) = (median(it.name, "cold"), median(it.name, "warm"));
        if it.cold.is_nan() {
            figures.push(Figure::at_most(
                &format!("{}: cold, of 512 MiB", it.name),
                cold / base.0,
                "x",
                LARGER,
            ));
        } else {
            figures.push(Figure::at_most(&format!("{}: cold", it.name), cold, "ms", it.cold));
        }
        match it.warm {
            Some(most) => figures.push(Figure::at_most(&format!("{}: warm", it.name), warm, "ms", most)),
            None => figures.push(Figure::shown(&format!("{}: warm", it.name), warm, "ms")),
        }
        let rss = percentile(&[of(it.name, "cold", "rss_kib"), of(it.name, "warm", "rss_kib")].concat(), 1.0);
        figures.push(Figure::at_most(&format!("{}: resident size", it.name), rss / 1024.0, "MiB", RSS_MIB));
        let peer = median(it.name, "peer");
        if !peer.is_nan() {
            figures.push(Figure::shown(&format!("{}: the peer", it.name), peer, "ms"));
            figures.push(at_least(&format!("{}: the peer, of our cold", it.name), peer / cold, 5.0));
            figures.push(at_least(&format!("{}: the peer, of our warm", it.name), peer / warm, 20.0));
        }
    }
    figures.push(Figure::shown("fsync, not counted", percentile(&samples.numbers("fsync_ms"), 0.5), "ms"));
    // No look makes a request that could stop the guest: there is no pause to measure.
    figures.push(Figure::at_most("pause of the guest", 0.0, "ms", 0.0));
    figures
}

fn at_least(figure: &str, value: f64, least: f64) -> Figure {
    Figure {
        figure: figure.into(),
        value,
        unit: "x".into(),
        target: format!(">= {least}"),
        met: value >= least,
    }
}
