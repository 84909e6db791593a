//! A QEMU command line, as far as it says who the guest is and how to reach it. Total: whatever the
//! arguments are, it gives what it understood.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::chardev::{Backend, Chardev};
use super::options::{is_on, options};
use crate::config::ConsoleKind;

/// Most arguments that are looked at; libvirt's longest are a few hundred.
const MAX_ARGS: usize = 20_000;

/// What was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) name: Option<String>,
    pub(super) uuid: Option<Uuid>,
    /// Monitors that speak QMP, in the order of the command line.
    pub(super) qmp: Vec<Chardev>,
    /// Consoles, in the order of the guest's devices.
    pub(super) consoles: Vec<(ConsoleKind, Chardev)>,
    /// Disks without CD-ROMs and firmware.
    pub(super) disks: Vec<String>,
    /// It waits for a migration to come in.
    pub(super) incoming: bool,
    /// Character devices that are ptys, in the order in which QEMU opens them.
    pub(super) ptys: usize,
}

/// Where a monitor or console is declared.
enum End {
    Chardev(String),
    Inline(Chardev),
}

/// Understands `args`, the program's name first.
pub(super) fn parse(args: &[String]) -> CommandLine {
    let mut it = CommandLine::default();
    let mut chardevs: BTreeMap<String, Chardev> = BTreeMap::new();
    let mut qmp: Vec<End> = Vec::new();
    let mut serial: Vec<End> = Vec::new();
    let mut devices: Vec<(ConsoleKind, String)> = Vec::new();
    let mut args = args.iter().take(MAX_ARGS).skip(1);
    while let Some(arg) = args.next() {
        let Some(option) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else { continue };
        if option == "incoming" {
            it.incoming = true;
        }
        if !KNOWN.contains(&option) {
            continue;
        }
        let Some(value) = args.next() else { break };
        match option {
            "name" => it.name = options(value, "guest").remove("guest").filter(|name| !name.is_empty()),
            "uuid" => it.uuid = value.parse().ok(),
            "qmp" | "qmp-pretty" => qmp.push(short(value)),
            "mon" => {
                let mut all = options(value, "chardev");
                let control = all.get("mode").is_some_and(|it| it == "control");
                if let Some(id) = all.remove("chardev").filter(|_| control) {
                    qmp.push(End::Chardev(id));
                }
            }
            "chardev" => {
                let chardev = Chardev::from_option(value);
                it.ptys += usize::from(chardev.backend == Backend::Pty);
                if let Some(id) = chardev.id.clone() {
                    chardevs.insert(id, chardev);
                }
            }
            "serial" if value != "none" => serial.push(short(value)),
            "device" => devices.extend(console_device(value)),
            "drive" | "blockdev" | "hda" | "hdb" | "hdc" | "hdd" => it.disks.extend(disk(option, value)),
            _ => {}
        }
    }
    it.ptys += serial
        .iter()
        .chain(&qmp)
        .filter(|end| matches!(end, End::Inline(Chardev { backend: Backend::Pty, .. })))
        .count();
    let find = |end: End| match end {
        End::Inline(chardev) => Some(chardev),
        End::Chardev(id) => chardevs.get(&id).cloned(),
    };
    it.qmp = qmp.into_iter().filter_map(find).collect();
    // A UART made with -serial comes before one made with -device; each takes its chardev once.
    let uarts = serial.into_iter().map(|end| (ConsoleKind::Uart, end));
    let devices = devices.into_iter().map(|(kind, id)| (kind, End::Chardev(id)));
    for (kind, end) in uarts.chain(devices) {
        if let Some(chardev) = find(end) {
            let known = it.consoles.iter().any(|(_, other)| other.id.is_some() && other.id == chardev.id);
            if !known {
                it.consoles.push((kind, chardev));
            }
        }
    }
    it
}

/// Options with a value that are looked at, and those whose value may look like an option.
const KNOWN: &[&str] = &[
    "name",
    "uuid",
    "qmp",
    "qmp-pretty",
    "mon",
    "chardev",
    "serial",
    "device",
    "drive",
    "blockdev",
    "hda",
    "hdb",
    "hdc",
    "hdd",
    "append",
    "monitor",
    "fw_cfg",
    "object",
    "incoming",
    "machine",
];

fn short(value: &str) -> End {
    match value.strip_prefix("chardev:") {
        Some(id) => End::Chardev(id.to_owned()),
        None => End::Inline(Chardev::from_short(value)),
    }
}

/// The chardev of a device that is a console.
fn console_device(value: &str) -> Option<(ConsoleKind, String)> {
    let mut all = options(value, "driver");
    let kind = match all.get("driver")?.as_str() {
        "isa-serial" | "pci-serial" | "spapr-vty" | "usb-serial" => ConsoleKind::Uart,
        "virtconsole" | "sclpconsole" | "sclplmconsole" => ConsoleKind::Hvc,
        _ => return None,
    };
    Some((kind, all.remove("chardev")?))
}

/// What identifies a disk: its file, device or server.
fn disk(option: &str, value: &str) -> Option<String> {
    let all = match option {
        "drive" => options(value, ""),
        "blockdev" => options(value, "driver"),
        _ => return Some(value.to_owned()),
    };
    let is = |key: &str, what: &str| all.get(key).is_some_and(|it| it == what);
    if is("media", "cdrom") || is("if", "pflash") || (option == "blockdev" && is_on(&all, "read-only")) {
        return None;
    }
    // A libvirt pflash node is told by its name alone.
    if all.get("node-name").is_some_and(|it| it.contains("pflash")) {
        return None;
    }
    let keys = [
        "file",
        "filename",
        "server.path",
        "path",
        "file.filename",
        "file.path",
        "file.server.path",
        "image",
    ];
    keys.iter().find_map(|key| all.get(*key)).filter(|it| !it.is_empty()).cloned()
}

#[cfg(test)]
#[path = "cmdline_tests.rs"]
mod tests;
