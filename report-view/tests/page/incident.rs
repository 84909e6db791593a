//! An incident with something in every field that a guest, or whoever made the bundle, may write.

use serde_json::{Value, json};
use vmward_kernel_facts::{Border, CpuStack, KernelIdentity, Machine, MemSummary, Task, WaitEdge, WaitGraph};
use vmward_model::Class;
use vmward_model::observed::Observed;
use vmward_model::{Event, Manifest, ProbeAnswer};
use vmward_report_view::{Again, Chart, Document, Lens, Place, Raw, Sysrq, Words, document, document_at};

/// The parts of a chart, owned.
pub struct Incident {
    manifest: Manifest,
    observed: Observed,
    probes: Vec<ProbeAnswer>,
    events: Vec<Event>,
    blocked: Vec<Task>,
    tasks: Vec<Task>,
    cpus: Vec<CpuStack>,
    memory: MemSummary,
    kernel: KernelIdentity,
    waits: WaitGraph,
    machine: Machine,
    problems: Vec<String>,
    border: Border,
    text: String,
}

fn at(ms: u64) -> Value {
    json!({ "utc": format!("2026-11-21T10:00:{:02}Z", ms / 1000), "mono_ms": ms })
}

fn task(text: &str, pid: u32, state: &str, stack: &[&str]) -> Value {
    let frames: Vec<Value> = stack
        .iter()
        .map(|it| json!({ "symbol": it, "offset": 31, "size": 144, "module": text, "sure": true }))
        .collect();
    json!({ "pid": pid, "comm": text, "state": state, "stack": frames })
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn wait(text: &str, waiter: u32, kind: &str, owners: &[u32], proof: &str) -> WaitEdge {
    read(json!({
        "waiter": waiter, "kind": kind, "object": 0xffff888000001000u64, "object_name": text, "owners": owners,
        "waiting_ns": 5_000_000_000u64, "proof": proof
    }))
}

fn machine(text: &str) -> Value {
    let request = json!({ "operation": text, "sector": 8, "bytes": 4096, "queue": 0, "tag": 1, "age_ms": 5000, "completed": false, "address": 1 });
    let task = json!({ "pid": 8, "comm": text, "address": 1 });
    json!({
        "system": {
            "release": text, "version": text, "node": text, "machine": text, "command_line": text, "load": { "one": 5, "five": 10, "fifteen": 120 },
            "tainted": 128, "taints": [{ "bit": 7, "letter": "D", "reason": text }], "online": [0],
            "panic": { "cpu": 0, "oops_in_progress": 0, "panic_on_oops": false, "panic_timeout": 0 }
        },
        "run_queues": [{
            "cpu": 0, "current": task, "idle": false, "current_nsec": 7_000_000_000u64, "clock_nsec": 1, "nr_running": 2, "fair": 2, "real_time": 0,
            "deadline": 0, "nr_switches": 1, "nr_iowait": 1, "waiting": [{ "task": task, "class": "fair" }]
        }],
        "memory": {
            "page_size": 4096, "total": 1000, "nodes": [], "swap": [10, 5], "counters": { "nr_free_pages": 9 }, "events": { "oom_kill": 1 },
            "zones": [{ "node": 0, "name": text, "free": 9, "min": 10, "low": 11, "high": 12, "managed": 900, "free_blocks": [] }]
        },
        "slab": [{ "name": text, "object_size": 8, "objects": 9, "slabs": 1, "bytes": 4096 }],
        "mounts": {
            "mounts": [{ "source": text, "path": text, "filesystem": text, "options": text, "super_block": 5 },
                       { "source": text, "path": text, "filesystem": text, "options": "ro", "super_block": 6 }],
            "super_blocks": [{ "filesystem": text, "id": text, "device": [254, 0], "read_only": false, "freeze": "complete", "address": 5 }]
        },
        "workqueues": [{
            "id": 2, "cpu": 0, "workers": 1, "idle": 0, "pending": 1, "pending_functions": [text], "stalled_ms": 40_000,
            "running": [{ "worker": task, "function": text, "workqueue": text }]
        }],
        "networks": [{ "name": text, "index": 2, "up": true, "carrier": false, "operstate": 2, "mtu": 1500, "queues": [{
            "index": 0, "stopped_by_driver": true, "stopped_by_stack": false, "waiting": 3, "bytes_under_way": 0, "timeouts": 1
        }] }],
        "disks": [{
            "name": text, "device": [254, 0], "sectors": 100, "hardware_queues": 2, "scheduler": text, "frozen": true, "quiesced": false,
            "in_flight": [request], "scheduled": 1, "stopped_queues": []
        }]
    })
}

/// A device for each debtor.
fn border(text: &str) -> Value {
    let device = |who: Value| {
        let queue = json!({
            "index": 0, "name": text, "avail_idx": 9, "last_used_idx": 8, "used_idx": 8, "outstanding": 1, "who_owes": who, "since_ms": 5000, "evidence": [text],
            "qemu": [{ "at_ms": 0, "inuse": 1, "used_idx": 8 }, { "at_ms": 1000, "inuse": 1, "last_avail_idx": 9, "used_idx": 8 }],
            "requests": [{ "disk": text, "operation": text, "sector": 8, "bytes": 4096, "tag": 1, "age_ms": 5000, "inode": [text, 12], "waiters": [3] }]
        });
        json!({
            "name": text, "driver": text, "address": text, "serves": [text], "qemu_path": text, "backend": [text], "queues": [queue], "who_owes": who,
            "threads": [{ "tid": 71, "comm": text, "state": "S", "wchan": text, "cpu_percent": 0 }]
        })
    };
    let debtors = ["guest", "lost-kick", "qemu", "host-storage", "lost-interrupt", "moving", "nobody"];
    let mut devices: Vec<Value> = debtors.iter().map(|who| device(json!({ "who": who }))).collect();
    devices.push(device(json!({ "who": "unknown", "reason": text })));
    json!({ "devices": devices, "missing": [text] })
}

impl Incident {
    /// With this text wherever a text is free.
    pub fn with(text: &str) -> Incident {
        let life = json!({ "pid": 42, "start_ticks": 7, "boot": 0 });
        let evidence = json!([
            { "source": text, "text": "virtio-blk queue 0 holds 3 requests", "supports": true },
            { "source": "capture:sysrq", "text": text, "supports": false }
        ]);
        let capture = |name: &str, rung: &str, outcome: &str| json!({ "capture": name, "rung": rung, "at": at(21_000), "took_ms": 12, "outcome": outcome, "why": text });
        let opening = json!({ "class": "suspect", "confidence": "likely", "scenario": text, "at": at(20_000), "evidence": evidence });
        let finding = |code: &str, class: &str| json!({ "code": code, "rule": text, "class": class, "confidence": "likely", "evidence": evidence, "details": { "a": text } });
        let artifact = |digest: &str| {
            json!({
                "kind": text, "media_type": text, "sha256": digest.repeat(32), "size": 7, "sensitivity": "text",
                "provenance": { "capture": text, "transport": "qmp", "rung": "L1", "at": at(21_000), "took_ms": 1, "paused_us": 0 }
            })
        };
        let manifest = read(json!({
            "format": 1, "writer": text, "written": at(40_000), "host": text,
            "incident": {
                "format": 1, "id": "00000000-0000-0000-0000-000000000007", "guest": "00000000-0000-0000-0000-000000000001",
                "guest_name": text, "incarnation": life, "state": "reported", "guest_state": "running",
                "notice": { "scenario": text, "at": at(20_000), "first_failure": at(16_000) },
                "opening": opening, "class": "lock-wait",
                "findings": [finding("VW1302", "lock-wait"), finding("VW1901", "suspect")],
                "captures": [capture("registers", "L1", "done"), capture("sysrq", "L3", "refused"), capture(text, "L2", "skipped")]
            },
            "artifacts": [artifact("ab"), artifact("cd")]
        }));
        let queue = |used: u32| json!({ "path": text, "device": "virtio-blk", "queue": 0, "inuse": 3, "used_idx": used });
        let cpu = json!({ "index": 0, "ip": 0xffffffff81000000u64, "interrupts_off": false, "user_mode": true, "halted": false });
        let observed = read(json!({
            "run_state": { "monitor": "busy", "peer": text, "status": text, "state": "running", "qemu_version": text, "arch": text },
            "vcpus": { "samples": [{ "at_ms": 0, "cpus": [cpu] }] },
            "queues": [{ "at_ms": 0, "queues": [queue(65535)] }, { "at_ms": 1000, "queues": [queue(2)] }],
            "blocks": [{ "at_ms": 0, "devices": [{ "device": text, "rd_ops": 1, "wr_ops": 2, "flush_ops": 0, "rd_bytes": 0, "wr_bytes": 0, "failed_ops": 0 }] }],
            "host": {
                "process_alive": true, "window_ms": 1000, "rss_kib": 300000, "cgroup": text, "pressure": { text: 1.5 },
                "threads": [{ "tid": 9, "comm": text, "role": "vcpu", "index": 0, "state": "R", "wchan": text, "stack": [text], "cpu_ms": 990 }],
                "disks": [text], "taps": [{ "name": text, "state": text, "rx_packets": 1, "tx_packets": 2, "dropped": 0 }], "problems": [text]
            },
            "console": {
                "connected": true, "silent_ms": 4000, "phase": "up", "tail": ["[    1.0] Linux", "[   17.2] INFO: task dd:112 blocked for more", text],
                "trouble": [{ "kind": text, "title": "INFO: task dd:NUM blocked", "ago_ms": 3000, "bytes": [0, 9], "fatal": false },
                            { "kind": "oops", "title": text, "ago_ms": 2000, "bytes": [0, 9], "fatal": true }],
                "labels": { "count": 12, "last_ms": 9000, "max_gap_ms": 2000 },
                "shell": { "answered": false, "said": text }
            }
        }));
        let event = |seq: u64, kind: Value| {
            let mut event = json!({ "format": 1, "seq": seq, "at": at(15_000 + seq * 1000), "severity": "WARN", "guest_name": text, "incarnation": life });
            event.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
            read(event)
        };
        Incident {
            manifest,
            observed,
            probes: vec![
                read(
                    json!({ "scenario": text, "probe": text, "transport": "console", "at": at(12_000), "took_ms": 3, "answer": "pass" }),
                ),
                read(
                    json!({ "scenario": text, "probe": text, "transport": "console", "at": at(16_000), "took_ms": 3, "answer": "fail", "why": text }),
                ),
            ],
            events: vec![
                event(1, json!({ "event": "qemu", "name": text, "data": { "reason": text } })),
                event(2, json!({ "event": "console-trouble", "kind": text, "title": text })),
                event(3, json!({ "event": "state-changed", "from": "paused", "to": "running", "why": text })),
                event(6, json!({ "event": "transport", "transport": text, "problem": text })),
                event(7, json!({ "event": "note", "text": text })),
            ],
            blocked: vec![
                read(task(text, 3, "D", &["__schedule", "schedule", "io_schedule", "folio_wait_bit_common"])),
                read(task(text, 4, "D", &["__schedule", "schedule", "__mutex_lock", "bdev_open"])),
                read(task(text, 5, "D", &["__schedule", "schedule", "__mutex_lock", "bdev_open"])),
            ],
            tasks: vec![
                read(task(text, 1, "S", &["__schedule", "schedule", "do_wait"])),
                read(task(text, 8, "R", &[text])),
            ],
            cpus: vec![read(
                json!({ "cpu": 0, "pid": 8, "comm": text, "stack": [{ "symbol": text, "sure": false }] }),
            )],
            memory: read(
                json!({ "swap_free_kib": 10, "swap_total_kib": 100, "zones": [{ "node": 0, "name": text, "free_kib": 1, "min_kib": 2, "low_kib": 3, "high_kib": 4 }] }),
            ),
            kernel: read(json!({
                "banner": text, "arch": text, "image_virt": 0xffffffff81000000u64, "image_phys": 0x1000000, "symbols": 9, "types": 8,
                "unwinder": text, "found_by": "registers"
            })),
            waits: WaitGraph::new(vec![
                wait(text, 3, "page-io", &[], "queued"),
                wait(text, 4, "mutex", &[3], "listed"),
                wait(text, 5, "mutex", &[3], "frames"),
                wait(text, 6, "rwsem", &[7], "noted"),
                wait(text, 7, "rwsem", &[6], "reader-stack"),
            ]),
            machine: read(machine(text)),
            problems: vec![text.to_owned()],
            border: read(border(text)),
            text: text.to_owned(),
        }
    }

    /// As a document beside its bundle.
    pub fn document(&self) -> Document {
        document(&self.chart())
    }

    /// As a document on a controller, whose engine is of another mind.
    pub fn document_on_controller(&self) -> Document {
        let again = Again { class: Class::DiskStall, sentence: self.text.clone() };
        let withheld = ["cd".repeat(32).parse().unwrap()].into();
        document_at(&self.chart(), &Place { raw: Raw::OnController { withheld }, again: Some(again) })
    }

    fn chart(&self) -> Chart<'_> {
        let text = &self.text;
        let words = |sentence: &str| Words {
            sentence: sentence.to_owned(),
            detail: format!("Detail: {text}."),
            causes: vec![text.clone()],
            next_steps: vec![text.clone()],
            links: vec![text.clone()],
        };
        Chart {
            manifest: &self.manifest,
            words: vec![words(&format!("Tasks wait for {text}.")), words("SysRq was refused.")],
            undecided: vec![("cpu-spin".into(), text.clone())],
            probes: &self.probes,
            events: &self.events,
            observed: &self.observed,
            blocked: Some(&self.blocked),
            tasks: Some(&self.tasks),
            cpus: Some(&self.cpus),
            memory: Some(&self.memory),
            sysrq: Some(Sysrq {
                answered: vec![],
                refused: vec!['w', 't'],
                silent: vec!['l'],
                path: text.clone(),
            }),
            lens: Some(Lens {
                kernel: &self.kernel,
                waits: &self.waits,
                machine: &self.machine,
                problems: &self.problems,
                cost: Default::default(),
            }),
            border: Some(&self.border),
            kernel_log: Some(format!("[    1.0] Linux\n[    2.0] BUG: bad\n[    3.0] {text}")),
        }
    }
}
