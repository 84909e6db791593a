//! Whole consoles, hand-written.

use proptest::prelude::*;

use super::*;
use crate::trouble::TroubleKind;

fn events_of(bytes: &[u8]) -> Vec<Event> {
    let mut reader = Reader::with_labels(vec![LabelRule::containing("tick", "tick ")]);
    let mut events = reader.push(bytes);
    events.extend(reader.push(b"\n"));
    events.extend(reader.flush());
    events
}

fn troubles(bytes: &[u8]) -> Vec<Trouble> {
    let trouble = |it: Event| if let EventKind::Trouble(it) = it.kind { Some(*it) } else { None };
    events_of(bytes).into_iter().filter_map(trouble).collect()
}

const OOPS: &str = "\
[   10.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008\r
[   10.000001] #PF: supervisor write access in kernel mode\r
[   10.000002] #PF: error_code(0x0002) - not-present page\r
[   10.000003] PGD 0 P4D 0 \r
[   10.000004] Oops: 0002 [#1] PREEMPT SMP NOPTI\r
user says hello\r
[   10.000005] CPU: 1 PID: 97 Comm: crash me Tainted: G        W          6.1.0-50-amd64 #1  Debian 6.1.176-1\r
[   10.000006] RIP: 0010:sysrq_handle_crash+0x12/0x20\r
[   10.000007] RAX: 0000000000000000 RBX: 0000000000000063 RCX: 0000000000000027\r
[   10.000008] Call Trace:\r
[   10.000009]  <TASK>\r
[   10.000010]  __handle_sysrq+0x44/0x11c\r
[   10.000011]  ? stale_thing+0x1/0x2\r
[   10.000012]  </TASK>\r
[   10.000013] ---[ end trace 0000000000000000 ]---\r
[   10.000014] Kernel panic - not syncing: Fatal exception\r
[   10.000015] ---[ end Kernel panic - not syncing: Fatal exception ]---\r
";

#[test]
fn an_oops_is_one_event_and_the_panic_after_it_says_what_it_follows() {
    let found = troubles(OOPS.as_bytes());
    let [oops, panic] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(
        (oops.kind, oops.cpu, oops.pid, oops.comm.as_deref()),
        (TroubleKind::NullDeref, Some(1), Some(97), Some("crash me"))
    );
    assert_eq!((oops.taint.as_deref(), oops.release.as_deref()), (Some("GW"), Some("6.1.0-50-amd64")));
    assert_eq!(oops.pc.as_ref().map(|it| it.name()), Some("sysrq_handle_crash"));
    assert_eq!((oops.trace.len(), oops.trace[1].sure), (2, false));
    assert_eq!(oops.registers["RBX"], 0x63);
    assert_eq!(oops.lines.len(), 14);
    assert!(!oops.lines.iter().any(|it| it.contains("hello")));
    assert_eq!(
        (panic.kind, panic.reason.as_str(), panic.follows),
        (TroubleKind::Panic, "Fatal exception", Some(0))
    );
}

#[test]
fn the_range_of_an_event_marks_its_lines() {
    let events = events_of(OOPS.as_bytes());
    let range = &events[0].range;
    let text = &OOPS[range.start as usize..range.end as usize];
    assert!(text.starts_with("[   10.000000] BUG:") && text.ends_with("0000000000000000 ]---"), "{text}");
}

#[test]
fn a_panic_is_known_at_its_first_line_and_given_when_the_console_is_quiet() {
    let mut reader = Reader::new();
    assert_eq!(
        reader.push(
            b"[    1.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300\n"
        ),
        []
    );
    assert_eq!(reader.open_trouble().map(|it| it.kind), Some(TroubleKind::InitDied));
    assert!(reader.flush().is_some());
    assert_eq!(reader.flush(), None);
}

#[test]
fn other_cpus_do_not_get_into_a_report() {
    let console = "\
[   10.000000][   T97] WARNING: CPU: 1 PID: 97 at fs/a.c:12 foo+0x1/0x2
[   10.000001][   C0] Call Trace:
[   10.000002][   C0]  other_cpu+0x1/0x2
[   10.000003][   T97] Call Trace:
[   10.000004][   T97]  this_cpu+0x1/0x2
[   10.000005][   T97] ---[ end trace 0000000000000000 ]---
";
    let found = troubles(console.as_bytes());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].trace.iter().map(|it| it.name()).collect::<Vec<_>>(), ["this_cpu"]);
}

#[test]
fn an_oom_kill_is_one_event_with_its_victim() {
    let console = "\
[    4.949235] memhog invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0
[    4.949866] CPU: 1 UID: 0 PID: 140 Comm: memhog Not tainted 6.12.107 #1
[    4.950186] Call Trace:
[    4.950732]  out_of_memory+0x219/0x4b0
[    4.958459] Mem-Info:
[    4.958741] active_anon:80611 inactive_anon:0 isolated_anon:0
[    4.962275] 98174 pages RAM
[    4.962514] Tasks state (memory values in pages):
[    4.962589] [  pid  ]   uid  tgid total_vm      rss name
[    4.964921] [    146]     0   146    82188    80030 memhog
[    4.965275] oom-kill:constraint=CONSTRAINT_NONE,task=victim,pid=146,uid=0
[    4.966247] Out of memory: Killed process 146 (victim) total-vm:328752kB, anon-rss:319488kB
";
    let found = troubles(console.as_bytes());
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (found[0].kind, found[0].pid, found[0].comm.as_deref()),
        (TroubleKind::OomKill, Some(146), Some("victim"))
    );
    assert_eq!(found[0].lines.len(), 12);
}

#[test]
fn user_text_is_not_trouble_once_the_kernel_stamps_its_lines() {
    let mut console = String::new();
    for micros in 100..130 {
        console += &format!("[    1.000{micros}] boot chatter\n");
    }
    console += "Kernel panic - not syncing: says the application\nBUG: in my script\n";
    assert_eq!(troubles(console.as_bytes()), []);
    assert_eq!(troubles(b"Kernel panic - not syncing: no stamps at all\n").len(), 1);
    assert_eq!(troubles(b"BUG: says a quiet guest's application\n"), []);
    assert_eq!(troubles(b"BUG: scheduling while atomic: swapper/0/0/0x00000100\n").len(), 1);
}

#[test]
fn marks_prompts_labels_and_answers_are_reported() {
    let console = "\
SeaBIOS (version 1.16.2)\r
[    0.000000] Linux version 6.1.0 (debian@x) (gcc) #1 SMP\r
[    2.487777] Run /init as init process\r
tick 7\r
sh: can't fork\r
[   12.000000] sysrq: This sysrq operation is disabled.\r
[   13.000000] reboot: Restarting system\r
";
    let kinds: Vec<_> = events_of(console.as_bytes()).into_iter().map(|it| it.kind).collect();
    use crate::shell::ShellAnswer;
    use crate::sysrq::SysrqAnswer;
    assert_eq!(
        kinds,
        [
            EventKind::Boot(BootMark::Firmware),
            EventKind::Prompt(PromptKind::Firmware),
            EventKind::Boot(BootMark::Kernel { release: "6.1.0".into() }),
            EventKind::Boot(BootMark::Init),
            EventKind::Label { rule: "tick".into(), text: "tick 7".into(), counter: Some(7) },
            EventKind::Shell(ShellAnswer::CannotFork),
            EventKind::Sysrq(SysrqAnswer::Refused),
            EventKind::Shutdown(ShutdownMark::Restart),
        ]
    );
}

#[test]
fn a_waiting_prompt_is_known_and_silence_is_asked_for() {
    let mut reader = Reader::new();
    reader.push(b"Hit any key to stop autoboot:  2");
    assert_eq!(reader.prompt(), Some(PromptKind::Bootloader));
    assert!(reader.must_stay_silent());
    let mut reader = Reader::new();
    reader.push(b"[    2.487777] Run /init as init process\r\n/ # ");
    assert_eq!((reader.prompt(), reader.pending_line().as_ref()), (None, "/ # "));
    assert!(!reader.must_stay_silent());
}

/// Pieces of consoles in any order, among garbage.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(OOPS.as_bytes().to_vec()),
        (0usize..OOPS.len()).prop_map(|at| OOPS.as_bytes()[at..].to_vec()),
        (0usize..OOPS.len()).prop_map(|at| OOPS.as_bytes()[..at].to_vec()),
        Just(b"login: \x1b[0m\0\xff\r\n".to_vec()),
        Just(b"tick 9\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..200),
        (1usize..6000).prop_map(|n| vec![b'x'; n]),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|it| it.concat())
}

proptest! {
    #[test]
    fn chunks_do_not_matter(bytes in soup(), cuts in proptest::collection::vec(1usize..700, 1..20)) {
        let mut reader = Reader::with_labels(vec![LabelRule::containing("tick", "tick ")]);
        let mut events = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            events.extend(reader.push(head));
            rest = tail;
        }
        events.extend(reader.push(b"\n"));
        events.extend(reader.flush());
        prop_assert_eq!(events, events_of(&bytes));
    }

    #[test]
    fn ranges_rise_and_lie_in_the_stream(bytes in soup()) {
        for event in events_of(&bytes) {
            prop_assert!(event.range.start <= event.range.end);
            prop_assert!(event.range.end <= bytes.len() as u64);
        }
    }
}

#[test]
fn an_endless_report_is_bounded() {
    let mut reader = Reader::new();
    let mut events = reader.push(b"[    1.000000] Kernel panic - not syncing: flood\n");
    for _ in 0..100 {
        events.extend(reader.push(&b"[    1.000000]  frame+0x1/0x2\n".repeat(1000)));
    }
    let [Event { kind: EventKind::Trouble(trouble), .. }] = &events[..] else { panic!("{}", events.len()) };
    assert!(trouble.lines.len() <= 1000 && trouble.trace.len() <= 256);
}

#[test]
fn a_line_that_is_a_label_to_two_rules_is_one_to_both() {
    let rules =
        [("any", "app:"), ("write", "app: wrote")].map(|(name, text)| LabelRule::containing(name, text));
    let mut reader = Reader::with_labels(rules.into());
    let told: Vec<String> = reader
        .push(b"app: wrote 7\napp: read 8\n")
        .into_iter()
        .filter_map(|it| match it.kind {
            EventKind::Label { rule, .. } => Some(rule),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["any", "write", "any"]);
}

#[test]
fn the_two_sides_of_a_gap_are_two_lines_and_positions_stay_those_of_the_stream() {
    let mut reader = Reader::with_labels(vec![LabelRule::containing("app", "written")]);
    assert!(reader.push(b"writ").is_empty());
    assert!(reader.skip(1_000).is_empty(), "half a label is none");
    assert!(reader.push(b"ten\n").is_empty(), "nor is its other half");
    let events = reader.push(b"written 7\n");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].range, 1_008..1_017);
}
