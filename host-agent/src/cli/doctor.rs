//! `vmward doctor`: what is missing on this host, what it costs and how to get it. Looks, changes nothing.
//!
//! Run it as the agent's user (`sudo -u vmward vmward doctor`): rights are those of whoever runs it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use nix::unistd::{AccessFlags, Uid, User, access};
use serde::Serialize;
use vmward_model::{TransportKind, TransportStatus};

use super::output::json;
use super::{Context, Exit, Form, Output};
use crate::config::Config;
use crate::target::{Target, discover};

mod controllers;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Bits of `CapEff` (`linux/capability.h`).
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
/// Where the opener listens (`packaging/systemd/vmward-opener.socket`).
const OPENER: &str = "/run/vmward-opener.sock";
/// Where our unit is once it is installed (systemd.unit(5)).
const UNITS: [&str; 3] = [
    "/etc/systemd/system/vmward.service",
    "/usr/lib/systemd/system/vmward.service",
    "/lib/systemd/system/vmward.service",
];
/// Free space in the state folder below which reports may not fit.
const LOW_SPACE: u64 = 256 << 20;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    what: String,
    well: bool,
    found: String,
    /// What is lost without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    costs: Option<String>,
    /// How to get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    get: Option<String>,
}

impl Check {
    fn well(what: &str, found: impl Into<String>) -> Self {
        Self { what: what.to_owned(), well: true, found: found.into(), costs: None, get: None }
    }

    fn missing(what: &str, found: impl Into<String>, costs: &str, get: impl Into<String>) -> Self {
        let (costs, get) = (Some(costs.to_owned()), Some(get.into()));
        Self { what: what.to_owned(), well: false, found: found.into(), costs, get }
    }
}

pub(super) fn run(_: &Args, cx: &Context) -> Result<Exit> {
    let config = cx.load()?.config;
    let mut checks = vec![processes(), psi()];
    checks.extend(capabilities());
    checks.extend(folders(&config));
    checks.extend(controllers::checks(&config));
    let found = discover(&config);
    checks.extend(
        found
            .problems
            .iter()
            .map(|it| Check::missing("discovery", it.clone(), "guests may be overlooked", "see the message")),
    );
    let unit = UNITS.iter().any(|it| Path::new(it).exists());
    let watched = found.targets.iter().filter(|it| config.policy_for(&it.name, it.uuid).watch);
    checks.extend(watched.clone().filter(|_| unit).flat_map(hidden));
    checks.extend(watched.flat_map(guest));
    let missing = checks.iter().filter(|it| !it.well).count();
    if cx.form() == Form::Json {
        json(&checks)?;
    } else {
        let mut out = Output::new();
        for it in &checks {
            out.line(&format!("{} {}: {}", if it.well { "well   " } else { "MISSING" }, it.what, it.found));
            out.lines(it.costs.iter().map(|costs| format!("          costs: {costs}")));
            out.lines(it.get.iter().map(|get| format!("          get it: {get}")));
        }
        out.safe("\n").line(&match missing {
            0 => "nothing is missing".to_owned(),
            n => format!("{n} of {} things are missing; all else works without them", checks.len()),
        });
        out.write()?;
    }
    Ok(if missing == 0 { Exit::Well } else { Exit::Finding })
}

/// What `vmward.service` does not see and whoever runs the doctor does (systemd.exec(5)).
const HIDDEN: [(&str, &str); 5] = [
    ("/tmp/", "PrivateTmp"),
    ("/var/tmp/", "PrivateTmp"),
    ("/home/", "ProtectHome"),
    ("/root/", "ProtectHome"),
    ("/run/user/", "ProtectHome"),
];

/// The sockets of a guest that the agent does not see when it runs as `vmward.service`.
fn hidden(it: &Target) -> Vec<Check> {
    let by = |path: &str| HIDDEN.into_iter().find(|it| path.starts_with(it.0)).map(|it| it.1);
    let used = it.transports.iter().filter(|way| way.problem.is_none());
    let hidden = used.filter_map(|way| Some((way, by(&way.address)?)));
    let check = |(way, by): (&TransportStatus, &str)| {
        Check::missing(
            &format!("guest {}: {} as a service", it.name, way.kind.name()),
            format!("{} is in a folder that vmward.service does not see ({by}=yes)", way.address),
            "the agent that runs as a service cannot reach it, though this command can",
            format!("put the socket below /run/NAME, or: systemctl edit vmward, with [Service] {by}=no"),
        )
    };
    hidden.map(check).collect()
}

/// Whether processes of other users can be seen (proc(5), `hidepid`).
fn processes() -> Check {
    let what = "processes of other users";
    match std::fs::read("/proc/1/stat") {
        Ok(_) => Check::well(what, "/proc shows them"),
        Err(_) => Check::missing(
            what,
            "/proc hides them (mounted with hidepid)",
            "guests are found only by configuration and EVE's folders, and nothing of their host side is seen",
            "mount /proc with hidepid=0, or with gid= of a group that vmward's user is in",
        ),
    }
}

/// Pressure stall information (Linux `Documentation/accounting/psi.rst`).
fn psi() -> Check {
    let what = "pressure of CPU, memory and I/O";
    match std::fs::read("/proc/pressure/cpu") {
        Ok(_) => Check::well(what, "/proc/pressure is there"),
        Err(e) => Check::missing(
            what,
            format!("/proc/pressure cannot be read: {e}"),
            "a guest that starves on a busy host is not told from one that is slow itself",
            "a kernel with CONFIG_PSI, booted with psi=1",
        ),
    }
}

fn capabilities() -> Vec<Check> {
    let held = held_capabilities();
    let has = |bit: u32| held & (1 << bit) != 0;
    let opener = match std::os::unix::net::UnixStream::connect(OPENER) {
        Ok(_) => Check::well("opener", format!("answers at {OPENER}")),
        Err(e) if has(SYS_PTRACE) && has(SYS_ADMIN) => {
            Check::well("opener", format!("not reached ({e}) and not needed: the capabilities are here"))
        }
        Err(e) => Check::missing(
            "opener",
            format!("not reached at {OPENER}: {e}"),
            "files of QEMU processes of other users can be read only with own capabilities",
            "systemctl enable --now vmward-opener.socket, and be in the group vmward",
        ),
    };
    let by_opener = opener.well;
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let yama = match scope.trim() {
        "" => "no Yama".to_owned(),
        scope => format!("Yama's ptrace_scope is {scope}"),
    };
    let capability = |bit: u32, name: &str, costs: &str| match (has(bit), by_opener) {
        (true, _) => Check::well(name, "held"),
        (false, true) => Check::well(name, "not held; the opener has it"),
        (false, false) => {
            let get =
                format!("use the opener (best), or give it: AmbientCapabilities={name} in vmward.service");
            Check::missing(name, format!("not held ({yama})"), costs, get)
        }
    };
    let ptrace = capability(
        SYS_PTRACE,
        "CAP_SYS_PTRACE",
        "no wait channels, open files and ptys of QEMUs that run as another user",
    );
    let admin = capability(SYS_ADMIN, "CAP_SYS_ADMIN", "no host kernel stacks of QEMU's threads");
    vec![opener, ptrace, admin]
}

/// `CapEff` of this process; 0 where it cannot be read.
fn held_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("CapEff:"));
    line.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(0)
}

fn folders(config: &Config) -> Vec<Check> {
    let state = &config.state;
    let mut checks = vec![
        folder("state folder", &state.folder, "the agent does not start: events and reports have no place"),
        folder("run folder", &state.run_folder, "the agent cannot be asked anything while it runs"),
    ];
    if let Ok(it) = nix::sys::statvfs::statvfs(&state.folder) {
        let free = it.blocks_available().saturating_mul(it.fragment_size());
        let found = format!("{} MiB are free", free >> 20);
        checks.push(if free >= LOW_SPACE {
            Check::well("space for reports", found)
        } else {
            let get = format!("free {} or set state.folder to another disk", state.folder.display());
            Check::missing("space for reports", found, "the next report may not fit", get)
        });
    }
    checks
}

fn folder(what: &str, path: &Path, costs: &str) -> Check {
    let shown = path.display();
    if !path.is_dir() {
        let get = format!("install -d -m 0700 -o vmward {shown} (vmward.service does it itself)");
        return Check::missing(what, format!("{shown} is not there"), costs, get);
    }
    match access(path, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Check::well(what, format!("{shown} can be written")),
        Err(e) => {
            let get = format!("chown vmward {shown}; it belongs to {}", owner(path));
            Check::missing(what, format!("{shown} cannot be written: {e}"), costs, get)
        }
    }
}

/// What of one guest cannot be reached.
fn guest(it: &Target) -> Vec<Check> {
    let mut checks = Vec::new();
    let ways = [
        (TransportKind::Qmp, it.qmp.is_some(), "its run state, events, disks and registers are not seen"),
        (
            TransportKind::Console,
            it.console.is_some(),
            "its console is not read: no panic text, no shell, no SysRq",
        ),
    ];
    for (kind, usable, costs) in ways {
        let what = format!("guest {}: {}", it.name, kind.name());
        if usable {
            checks.push(Check::well(&what, "can be reached"));
            continue;
        }
        let tried: Vec<String> = it
            .transports
            .iter()
            .filter(|way| way.kind == kind)
            .map(|way| {
                let path = Path::new(&way.address);
                let owner = if path.is_absolute() { format!(" ({})", owner(path)) } else { String::new() };
                format!("{}{owner}: {}", way.address, way.problem.as_deref().unwrap_or("usable"))
            })
            .collect();
        let get = match kind {
            TransportKind::Qmp => "add to QEMU: -qmp unix:/run/NAME/vmward.qmp,server=on,wait=off",
            _ => "add to QEMU: -serial unix:/run/NAME/console,server=on,wait=off",
        };
        checks.push(Check::missing(&what, tried.join("; "), costs, get));
    }
    let problems = it.problems.iter();
    checks.extend(problems.map(|why| {
        Check::missing(
            &format!("guest {}", it.name),
            why.clone(),
            "its evidence may be mixed up",
            "see the message",
        )
    }));
    checks
}

/// Whose file it is and its mode, for whoever has to change it.
fn owner(path: &Path) -> String {
    let Ok(meta) = std::fs::metadata(path) else { return "owner unknown".to_owned() };
    let user = User::from_uid(Uid::from_raw(meta.uid())).ok().flatten();
    let user = user.map_or_else(|| format!("uid {}", meta.uid()), |it| it.name);
    format!("{user}, mode {:04o}", meta.mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use vmward_model::GuestId;

    use super::*;

    #[test]
    fn a_folder_that_is_missing_says_what_it_costs_and_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(folder("state folder", dir.path(), "x").well);
        let missing = folder("state folder", &dir.path().join("none"), "no place");
        assert_eq!((missing.well, missing.costs.as_deref()), (false, Some("no place")));
        assert!(missing.get.unwrap().contains("install -d"));
    }

    #[test]
    fn only_a_socket_that_is_used_and_below_a_private_folder_is_hidden_from_the_service() {
        let way = |kind, address: &str, problem: Option<&str>| TransportStatus {
            kind,
            address: address.to_owned(),
            found_by: "proc".to_owned(),
            problem: problem.map(str::to_owned),
        };
        let guest = Target {
            id: GuestId(uuid::Uuid::nil()),
            uuid: None,
            name: "g".to_owned(),
            incarnation: None,
            qmp: None,
            console: None,
            disks: Vec::new(),
            found_by: Vec::new(),
            transports: vec![
                way(TransportKind::Qmp, "/tmp/g/qmp.sock", None),
                way(TransportKind::Qmp, "/tmp/g/other.sock", Some("not needed")),
                way(TransportKind::Console, "/run/tmp/console", None),
                way(TransportKind::Console, "/run/user/1000/libvirt/qemu/g.monitor", None),
            ],
            problems: Vec::new(),
        };
        let found = hidden(&guest);
        assert_eq!(found.len(), 2);
        assert!(!found[0].well && found[0].found.starts_with("/tmp/g/qmp.sock "), "{found:?}");
        assert!(
            found[1].found.starts_with("/run/user/") && found[1].found.contains("ProtectHome"),
            "{found:?}"
        );
    }

    #[test]
    fn our_capabilities_are_those_that_the_kernel_shows() {
        // One way only: in a user namespace the capability is shown, and reaches no further than it.
        let admin = held_capabilities() & (1 << SYS_ADMIN) != 0;
        let may = std::fs::read("/proc/1/stack").is_ok();
        assert!(admin || !may, "/proc/PID/stack needs CAP_SYS_ADMIN");
    }
}
