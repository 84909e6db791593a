//! Any value of each document, for property tests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;
use vmward_model::observed::*;
use vmward_model::*;

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z-]{0,12}", any::<String>()]
}

pub fn stamp() -> impl Strategy<Value = Stamp> {
    (0i64..4_000_000_000, any::<u32>()).prop_map(|(seconds, mono)| Stamp {
        utc: Timestamp::from_second(seconds).unwrap(),
        mono_ms: u64::from(mono),
    })
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

fn guest() -> impl Strategy<Value = GuestId> {
    any::<u128>().prop_map(|it| GuestId(Uuid::from_u128(it)))
}

fn life() -> impl Strategy<Value = Incarnation> {
    (any::<u32>(), any::<u64>(), any::<u32>()).prop_map(|(pid, start_ticks, boot)| Incarnation {
        pid,
        start_ticks,
        boot,
    })
}

fn incident_id() -> impl Strategy<Value = IncidentId> {
    any::<u128>().prop_map(|it| IncidentId(Uuid::from_u128(it)))
}

fn state() -> impl Strategy<Value = GuestState> {
    one_of(&GuestState::ALL)
}

fn transport() -> impl Strategy<Value = TransportKind> {
    use TransportKind::*;
    one_of(&[Qmp, Console, Gdb, Memory, Host])
}

pub fn transport_status() -> impl Strategy<Value = TransportStatus> {
    (transport(), text(), text(), option::of(text()))
        .prop_map(|(kind, address, found_by, problem)| TransportStatus { kind, address, found_by, problem })
}

fn rung() -> impl Strategy<Value = Rung> {
    one_of(&[Rung::L0, Rung::L1, Rung::L2, Rung::L3])
}

fn confidence() -> impl Strategy<Value = Confidence> {
    one_of(&[Confidence::Possible, Confidence::Likely, Confidence::Certain])
}

fn class() -> impl Strategy<Value = Class> {
    one_of(Class::ALL)
}

fn evidence() -> impl Strategy<Value = Evidence> {
    (text(), text(), any::<bool>()).prop_map(|(source, text, supports)| Evidence { source, text, supports })
}

pub fn probe_answer() -> impl Strategy<Value = ProbeAnswer> {
    let answer =
        prop_oneof![Just(Answer::Pass), text().prop_map(Answer::Fail), text().prop_map(Answer::Unknown)];
    (text(), text(), transport(), stamp(), any::<u64>(), answer).prop_map(
        |(scenario, probe, transport, at, took_ms, answer)| ProbeAnswer {
            scenario,
            probe,
            transport,
            at,
            took_ms,
            answer,
        },
    )
}

/// JSON without floats that are equal only nearly.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(2, 8, 3, |it| {
        prop_oneof![
            vec(it.clone(), 0..3).prop_map(serde_json::Value::from),
            btree_map(text(), it, 0..3).prop_map(|it| serde_json::Value::Object(it.into_iter().collect())),
        ]
    })
}

fn event_kind() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        text().prop_map(|version| EventKind::AgentStarted { version }),
        Just(EventKind::AgentStopped),
        text().prop_map(|by| EventKind::GuestFound { by }),
        Just(EventKind::GuestGone),
        (state(), state(), text()).prop_map(|(from, to, why)| EventKind::StateChanged { from, to, why }),
        (text(), json()).prop_map(|(name, data)| EventKind::Qemu { name, data }),
        (text(), text()).prop_map(|(kind, title)| EventKind::ConsoleTrouble { kind, title }),
        (text(), any::<bool>(), text()).prop_map(|(scenario, well, why)| EventKind::ScenarioChanged {
            scenario,
            well,
            why
        }),
        (incident_id(), text(), text()).prop_map(|(id, what, summary)| EventKind::Incident {
            id,
            what,
            summary
        }),
        (text(), text()).prop_map(|(transport, problem)| EventKind::Transport { transport, problem }),
        text().prop_map(|text| EventKind::Note { text }),
    ]
}

pub fn event() -> impl Strategy<Value = Event> {
    use Severity::*;
    let severity = one_of(&[Debug, Info, Warn, Error, Crit]);
    let whose = (option::of(guest()), option::of(text()), option::of(life()));
    (any::<u64>(), stamp(), severity, whose, event_kind()).prop_map(
        |(seq, at, severity, (guest, name, incarnation), kind)| Event {
            format: FORMAT,
            seq,
            at,
            severity,
            guest,
            name,
            incarnation,
            kind,
        },
    )
}

fn finding() -> impl Strategy<Value = Finding> {
    (text(), text(), class(), confidence(), vec(evidence(), 0..3), btree_map(text(), text(), 0..3)).prop_map(
        |(code, rule, class, confidence, evidence, details)| Finding {
            code,
            rule,
            class,
            confidence,
            evidence,
            details,
        },
    )
}

pub fn capture() -> impl Strategy<Value = CaptureRecord> {
    use CaptureOutcome::*;
    let outcome = prop_oneof![
        Just(Done),
        text().prop_map(|why| Partial { why }),
        text().prop_map(|why| Failed { why }),
        text().prop_map(|why| Refused { why }),
        text().prop_map(|why| Skipped { why }),
    ];
    (text(), rung(), stamp(), any::<u64>(), any::<u64>(), outcome).prop_map(
        |(capture, rung, at, took_ms, paused_us, outcome)| CaptureRecord {
            capture,
            rung,
            at,
            took_ms,
            paused_us,
            outcome,
        },
    )
}

fn artifact() -> impl Strategy<Value = Artifact> {
    let sensitivity = one_of(&[Sensitivity::Status, Sensitivity::Text, Sensitivity::Memory]);
    let provenance = (text(), transport(), rung(), stamp(), any::<u64>(), any::<u64>()).prop_map(
        |(capture, transport, rung, at, took_ms, paused_us)| Provenance {
            capture,
            transport,
            rung,
            at,
            took_ms,
            paused_us,
        },
    );
    (text(), text(), any::<[u8; 32]>(), any::<u64>(), sensitivity, provenance, any::<bool>()).prop_map(
        |(kind, media_type, sha, size, sensitivity, provenance, truncated)| Artifact {
            kind,
            media_type,
            sha256: Digest::from_bytes(&sha),
            size,
            sensitivity,
            provenance,
            truncated,
        },
    )
}

fn incident() -> impl Strategy<Value = Incident> {
    use IncidentState::*;
    let verdict = (class(), confidence(), text(), stamp(), vec(evidence(), 0..3)).prop_map(
        |(class, confidence, scenario, at, evidence)| Verdict { class, confidence, scenario, at, evidence },
    );
    let notice = (text(), stamp(), stamp()).prop_map(|(scenario, at, first_failure)| Notice {
        scenario,
        at,
        first_failure,
    });
    let who = (incident_id(), guest(), text(), life());
    let state_now = (one_of(&[Open, Examining, Reported, Closed]), state());
    (who, state_now, notice, verdict, class(), vec(finding(), 0..3), vec(capture(), 0..3)).prop_map(
        |(
            (id, guest, guest_name, incarnation),
            (state, guest_state),
            notice,
            opening,
            class,
            findings,
            captures,
        )| Incident {
            format: FORMAT,
            id,
            guest,
            guest_name,
            incarnation,
            state,
            guest_state,
            notice,
            opening,
            class,
            findings,
            captures,
        },
    )
}

pub fn manifest() -> impl Strategy<Value = Manifest> {
    (text(), stamp(), text(), incident(), vec(artifact(), 0..3)).prop_map(
        |(writer, written, host, incident, artifacts)| Manifest {
            format: FORMAT,
            writer,
            written,
            host,
            incident,
            artifacts,
        },
    )
}

fn run_state() -> impl Strategy<Value = RunState> {
    let monitor = prop_oneof![
        Just(MonitorHealth::Answers),
        text().prop_map(|peer| MonitorHealth::Busy { peer }),
        Just(MonitorHealth::Silent),
        Just(MonitorHealth::Garbage),
        Just(MonitorHealth::Closed),
        Just(MonitorHealth::Absent),
    ];
    (monitor, option::of(text()), state(), option::of(text()), option::of(text())).prop_map(
        |(monitor, status, state, qemu_version, arch)| RunState {
            monitor,
            status,
            state,
            qemu_version,
            arch,
        },
    )
}

fn vcpus() -> impl Strategy<Value = Vcpus> {
    let flags = (option::of(any::<bool>()), option::of(any::<bool>()), option::of(any::<bool>()));
    let registers = (
        any::<u32>(),
        option::of(any::<u64>()),
        option::of(any::<u64>()),
        flags,
        btree_map(text(), any::<u64>(), 0..3),
    );
    let cpu = registers.prop_map(|(index, ip, sp, (interrupts_off, user_mode, halted), all)| VcpuRegisters {
        index,
        ip,
        sp,
        interrupts_off,
        user_mode,
        halted,
        all,
    });
    let sample = (any::<u64>(), vec(cpu, 0..3)).prop_map(|(at_ms, cpus)| VcpuSample { at_ms, cpus });
    vec(sample, 0..3).prop_map(|samples| Vcpus { samples })
}

fn queues() -> impl Strategy<Value = Vec<QueueSample>> {
    let index = || option::of(any::<u32>());
    let indices = (index(), index(), index(), index(), index(), option::of(any::<u64>()));
    let queue = (text(), text(), any::<u32>(), any::<u32>(), indices).prop_map(
        |(path, device, queue, inuse, indices)| {
            let (last_avail_idx, shadow_avail_idx, used_idx, signalled_used, size, desc) = indices;
            Virtqueue {
                path,
                device,
                queue,
                inuse,
                last_avail_idx,
                shadow_avail_idx,
                used_idx,
                signalled_used,
                size,
                desc,
            }
        },
    );
    vec((any::<u64>(), vec(queue, 0..3)).prop_map(|(at_ms, queues)| QueueSample { at_ms, queues }), 0..3)
}

fn blocks() -> impl Strategy<Value = Vec<BlockSample>> {
    let counters =
        (text(), option::of(text()), any::<[u64; 6]>()).prop_map(|(device, qdev, it)| BlockCounters {
            device,
            qdev,
            rd_ops: it[0],
            wr_ops: it[1],
            flush_ops: it[2],
            rd_bytes: it[3],
            wr_bytes: it[4],
            failed_ops: it[5],
        });
    vec((any::<u64>(), vec(counters, 0..3)).prop_map(|(at_ms, devices)| BlockSample { at_ms, devices }), 0..3)
}

fn host() -> impl Strategy<Value = HostSide> {
    let role = prop_oneof![
        Just(ThreadRole::Main),
        any::<u32>().prop_map(ThreadRole::Vcpu),
        Just(ThreadRole::Io),
        Just(ThreadRole::Other),
    ];
    let thread =
        (any::<u32>(), text(), role, any::<char>(), option::of(text()), vec(text(), 0..3), any::<u64>());
    let thread = thread.prop_map(|(tid, comm, role, state, wchan, stack, cpu_ms)| HostThread {
        tid,
        comm,
        role,
        state,
        wchan,
        stack,
        cpu_ms,
        wait_ms: cpu_ms / 2,
    });
    let tap = (text(), text(), any::<[u64; 3]>()).prop_map(|(name, state, it)| HostTap {
        name,
        state,
        rx_packets: it[0],
        tx_packets: it[1],
        dropped: it[2],
    });
    // PSI has two decimals.
    let pressure = btree_map(text(), (0u32..10_000).prop_map(|it| f64::from(it) / 100.0), 0..3);
    let lists = (vec(text(), 0..2), vec(tap, 0..2), vec(text(), 0..2));
    let figures = (any::<u64>(), option::of(any::<u64>()), option::of(text()));
    (any::<bool>(), vec(thread, 0..3), figures, pressure, lists).prop_map(
        |(process_alive, threads, (window_ms, rss_kib, cgroup), pressure, (disks, taps, problems))| {
            HostSide {
                process_alive,
                threads,
                window_ms,
                rss_kib,
                cgroup,
                pressure: BTreeMap::from_iter(pressure),
                disks,
                taps,
                problems,
            }
        },
    )
}

fn console() -> impl Strategy<Value = ConsoleSeen> {
    use BootPhase::*;
    let phase = one_of(&[Firmware, Kernel, WaitsForRoot, Init, Up, ShuttingDown]);
    let trouble = (text(), text(), any::<u64>(), any::<(u64, u64)>(), any::<bool>())
        .prop_map(|(kind, title, ago_ms, bytes, fatal)| TroubleSeen { kind, title, ago_ms, bytes, fatal });
    let labels = (any::<u64>(), option::of(any::<u64>()), any::<u64>())
        .prop_map(|(count, last_ms, max_gap_ms)| LabelsSeen { count, last_ms, max_gap_ms });
    let shell = (any::<bool>(), option::of(any::<u64>()), option::of(text()))
        .prop_map(|(answered, took_ms, said)| ShellSeen { answered, took_ms, ago_ms: took_ms, said });
    let parts =
        (option::of(phase), vec(text(), 0..3), vec(trouble, 0..3), option::of(labels), option::of(shell));
    (any::<bool>(), option::of(any::<u64>()), parts).prop_map(
        |(connected, silent_ms, (phase, tail, trouble, labels, shell))| ConsoleSeen {
            connected,
            silent_ms,
            phase,
            tail,
            trouble,
            labels,
            shell,
        },
    )
}

pub fn observed() -> impl Strategy<Value = Observed> {
    (
        option::of(run_state()),
        option::of(vcpus()),
        option::of(queues()),
        option::of(blocks()),
        option::of(host()),
        option::of(console()),
    )
        .prop_map(|(run_state, vcpus, queues, blocks, host, console)| Observed {
            run_state,
            vcpus,
            queues,
            blocks,
            host,
            console,
        })
}
