//! `bench demo`: from the fault to the notice, from there to the whole bundle, how long the guest was
//! paused, and what the agent costs with ten guests at rest.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vmward_qemu_fixtures::qemu::Guest;
use vmward_qemu_fixtures::unikernel::{self, Mode};
use vmward_tests::sweep;
use vmward_tests::ward::{Plan, Ward};

use super::{Args, Figure, Samples, largest, peer, percentile};

/// Runs of each fault when `--runs` does not say.
const RUNS: usize = 20;
/// `app-label` asks every 2 s: two rounds and 2 s.
const NOTICE_S: f64 = 6.0;
/// From the panic to the notice.
const PANIC_S: f64 = 2.0;
/// From the notice to the bundle, with SysRq and without.
const BUNDLE_SYSRQ_S: f64 = 45.0;
const BUNDLE_S: f64 = 20.0;
/// How long another program may take on a guest that hangs: three times what we allow ourselves.
const PEER: Duration = Duration::from_secs(135);
/// How long the agent is measured at rest.
const AT_REST: Duration = Duration::from_secs(60);

/// Runs it.
pub fn run(args: &Args, samples: &mut Samples) -> Result<Vec<Figure>> {
    let faults =
        if args.faults.is_empty() { vec!["lock-chain".into(), "panic".into()] } else { args.faults.clone() };
    let kernels = if args.kernels.is_empty() { vec!["amd64-6.1".into()] } else { args.kernels.clone() };
    for kernel in &kernels {
        for fault in &faults {
            let done =
                samples.lines.iter().filter(|it| it["fault"] == **fault && it["kernel"] == **kernel).count();
            for number in done..args.runs.unwrap_or(RUNS) {
                eprintln!("bench demo: {fault} on {kernel}, run {}", number + 1);
                samples.add(sample(fault, kernel, args.peer.as_deref())?)?;
            }
        }
    }
    if !samples.lines.iter().any(|it| it["at_rest"] == true) {
        eprintln!("bench demo: ten guests at rest");
        let sample = at_rest()?;
        samples.add(sample)?;
    }
    Ok(figures(samples))
}

/// One run, and where there is a peer what it took on the same guest right after the diagnosis.
fn sample(fault: &str, kernel: &str, peer: Option<&str>) -> Result<Value> {
    let mut beside = None;
    let run = sweep::run_with(
        fault,
        kernel,
        |plan| plan,
        |guest| {
            if let Some(line) = peer {
                let qmp = guest.qmp_path();
                beside = Some(peer::run(line, guest.pid(), &qmp.to_string_lossy(), PEER)?);
            }
            Ok(())
        },
    )?;
    let run = serde_json::to_value(&run).context("while keeping a run")?;
    Ok(peer::beside(run, beside))
}

fn figures(samples: &Samples) -> Vec<Figure> {
    let of = |wanted: &dyn Fn(&Value) -> bool, key: &str| -> Vec<f64> {
        samples.lines.iter().filter(|it| wanted(it)).filter_map(|it| it[key].as_f64()).collect()
    };
    let labelled = |it: &Value| it["scenario"] == "app-label";
    let panics = |it: &Value| it["fault"] == "panic";
    let broken =
        samples.lines.iter().filter(|it| it["problems"].as_array().is_some_and(|all| !all.is_empty()));
    let mut figures = vec![
        Figure::at_most("runs that were not as promised", broken.count() as f64, "runs", 0.0),
        Figure::at_most("guest paused, longest", largest(&samples.numbers("paused_us")), "us", 0.0),
        Figure::at_most(
            "agent with ten guests at rest, CPU",
            largest(&samples.numbers("cpu_percent")),
            "% core",
            5.0,
        ),
        Figure::at_most(
            "agent with ten guests at rest, RSS",
            largest(&samples.numbers("rss_mib")),
            "MiB",
            64.0,
        ),
    ];
    let mut add = |name: &str, values: Vec<f64>, most: f64| {
        if !values.is_empty() {
            figures.push(Figure::shown(&format!("{name}, p50"), percentile(&values, 0.5), "s"));
            figures.push(Figure::at_most(&format!("{name}, longest"), largest(&values), "s", most));
        }
    };
    add("fault to notice by app-label", of(&labelled, "notice_s"), NOTICE_S);
    add("panic to notice", of(&panics, "notice_s"), PANIC_S);
    add("notice to bundle with SysRq", of(&|it| it["sysrq"] == true, "bundle_s"), BUNDLE_SYSRQ_S);
    add("notice to bundle without SysRq", of(&|it| it["sysrq"] == false, "bundle_s"), BUNDLE_S);
    let peers = samples.numbers("peer_s");
    if !peers.is_empty() {
        figures.push(Figure::shown("the peer on the same guest, p50", percentile(&peers, 0.5), "s"));
    }
    figures
}

/// CPU time and memory of an agent that watches ten quiet guests.
fn at_rest() -> Result<Value> {
    let names: Vec<String> = (0..10).map(|n| format!("rest-{}-{n}", std::process::id())).collect();
    let guests: Vec<Guest> = names
        .iter()
        .map(|name| Ok(unikernel::guest(name, Mode::Heartbeat)?.boot()?))
        .collect::<Result<_>>()?;
    let plan = Plan {
        guests: names,
        settings: "prompt = \"unikernel> $\"\nqmp-policy = \"hold\"\n".into(),
        ..Plan::for_guest("")
    };
    let ward = Ward::start(&plan)?;
    // The start itself (discovery, first connections) is not rest.
    std::thread::sleep(Duration::from_secs(20));
    let (cpu, begun) = (cpu_time(ward.pid())?, Instant::now());
    std::thread::sleep(AT_REST);
    let used = cpu_time(ward.pid())?.saturating_sub(cpu);
    let percent = used.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    let incidents = ward.incidents()?.len();
    drop(guests);
    Ok(
        json!({ "at_rest": true, "cpu_percent": percent, "rss_mib": rss_mib(ward.pid())?, "incidents": incidents }),
    )
}

/// User and system time of a process so far: fields 14 and 15 of `/proc/PID/stat`, in clock ticks of
/// 10 ms (proc_pid_stat(5); Linux reports them in USER_HZ, which is 100 on every architecture of ours).
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).context("while reading the agent's CPU time")?;
    let after = text.rsplit_once(')').map(|(_, after)| after).context("no name in stat")?;
    let fields: Vec<u64> = after.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // The state letter does not parse and falls out; ppid is the first number, utime the eleventh.
    let ticks = fields
        .get(10)
        .zip(fields.get(11))
        .map(|(user, system)| user + system)
        .context("too few fields in stat")?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Resident memory of a process, MiB.
pub fn rss_mib(pid: u32) -> Result<f64> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/status")).context("while reading the agent's memory")?;
    let kib: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .context("no VmRSS in status")?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_figure_only_where_one_was_run() {
        let run = json!({ "fault": "panic", "problems": [], "notice_s": 0.4, "paused_us": 0 });
        let shown = |sample: Value| {
            let samples = Samples { path: "unused".into(), lines: vec![sample] };
            figures(&samples).into_iter().find(|it| it.figure.starts_with("the peer")).map(|it| it.value)
        };
        assert_eq!(shown(run.clone()), None);
        let peer = json!({ "peer_s": 7.5, "peer_exit": 0 });
        assert_eq!(shown(peer::beside(run, Some(peer))), Some(7.5));
    }
}
