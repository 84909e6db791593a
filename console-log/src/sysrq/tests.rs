//! Whole dumps, hand-written in the forms of several kernels.

use proptest::prelude::*;
use vmward_kernel_facts::{TaskState, WaitKind, wait_kind};

use super::*;

const BLOCKED: &str = "\
[   19.775970] sysrq: Show Blocked State\r
[   19.780443] task:d-state a:b)c   state:D stack:0     pid:142   tgid:142   ppid:1      flags:0x0000000c\r
### KEYEND w\r
[   19.780824] Call trace:\r
[   19.780898]  __switch_to+0xf4/0x168\r
[   19.780996]  __schedule+0x398/0xf18\r
[   19.781047]  schedule+0x30/0xf0\r
[   19.781095]  schedule_preempt_disabled+0x14/0x28\r
[   19.781295]  __mutex_lock.constprop.0+0xdc/0x270 [mod 0a1b2c3d]\r
[   19.781338]  ? stale+0x28/0x48\r
[   23.853851] sysrq: Show Memory\r
[   23.854426] Mem-Info:\r
[   23.854752] active_anon:741 inactive_anon:0 isolated_anon:0\r
[   23.854752]  free:83876 free_pcp:457 free_cma:16288\r
[   23.868476] 98304 pages RAM\r
";

#[test]
fn a_blocked_task_and_the_memory_are_read_with_user_text_between() {
    let (text, problems) = parse(BLOCKED.as_bytes());
    assert_eq!(problems, []);
    let [task] = text.tasks() else { panic!("{text:?}") };
    assert_eq!((task.pid, task.tgid, task.comm.as_str()), (Some(142), Some(142), "d-state a:b)c"));
    assert_eq!(task.state, Some(TaskState::D));
    assert_eq!(task.stack.len(), 6);
    assert_eq!(task.stack[4].module.as_deref(), Some("mod"));
    assert_eq!(wait_kind(task), Some(WaitKind::Mutex));
    let memory = text.memory().unwrap();
    assert_eq!((memory.free_pages, memory.total_pages), (Some(83876), Some(98304)));
}

#[test]
fn cpus_keep_their_own_stacks_on_x86() {
    let dump = "\
[   16.7] ignored
[   16.775741] sysrq: Show backtrace of all active CPUs
[   16.776804] NMI backtrace for cpu 0
[   16.776988] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0-50-cloud-amd64 #1  Debian 6.1.176-1
[   16.778598] Call Trace:
[   16.778598]  <TASK>
[   16.778598]  dump_stack_lvl+0x44/0x5c
[   16.778598]  write_sysrq_trigger+0x24/0x40
[   16.778598] RIP: 0033:0x47b7a0
[   16.778598]  </TASK>
[   16.806086] Sending NMI from CPU 0 to CPUs 1-3:
[   16.809048] NMI backtrace for cpu 1
[   16.809048] CPU: 1 UID: 0 PID: 0 Comm: swapper/1 Not tainted 7.2.13 #1
[   16.809048] RIP: 0010:pv_native_safe_halt+0xf/0x20
[   16.809048] RSP: 0018:ffffffff8cc03e58 EFLAGS: 00000282
[   16.809048]  default_idle+0x9/0x20
[   16.809048] NMI backtrace for cpu 2 skipped: idling at default_idle+0x9/0x20
[   16.809048] NMI backtrace for cpu 3
[   16.809048] CPU: 3 PID: 97 Comm: spin Not tainted 6.1.0 #1
[   16.809048] RIP: 0033:0x40182c
";
    let (text, _) = parse(dump.as_bytes());
    let cpus = text.cpus();
    assert_eq!(
        cpus.iter().map(|it| (it.cpu, it.idle, it.user_mode)).collect::<Vec<_>>(),
        [(0, false, false), (1, true, false), (2, true, false), (3, false, true),]
    );
    assert_eq!(cpus[0].stack.len(), 2);
    assert_eq!((cpus[1].stack.len(), cpus[1].registers["RSP"]), (1, 0xffff_ffff_8cc0_3e58));
    assert_eq!(cpus[2].pc.as_ref().map(|it| it.name()), Some("default_idle"));
    assert_eq!(cpus[3].comm.as_deref(), Some("spin"));
}

#[test]
fn cpus_of_an_arm64_kernel_without_nmi_are_read() {
    let dump = "\
[   20.267090] sysrq: Show backtrace of all active CPUs
[   20.269953] sysrq: CPU0:
[   20.270383] Call trace:
[   20.270795]  dump_backtrace+0x0/0x200
[   20.284446] sysrq: CPU1:
[   20.284537] Call trace:
[   20.284586]  showacpu+0xa4/0x130
[   20.284587] sysrq: CPU2: backtrace skipped as idling
[   20.284588]  stray+0xa4/0x130
";
    let (text, _) = parse(dump.as_bytes());
    let cpus = text.cpus();
    let found: Vec<_> = cpus.iter().map(|it| (it.cpu, it.idle, it.stack.len())).collect();
    assert_eq!(found, [(0, false, 1), (1, false, 1), (2, true, 0)]);
    assert_eq!((cpus[0].stack[0].name(), cpus[1].stack[0].name()), ("dump_backtrace", "showacpu"));
}

#[test]
fn a_refusal_is_told() {
    let (text, _) = parse(b"[    9.280956] sysrq: This sysrq operation is disabled.\r\n");
    assert!(text.is_refused());
    assert!(text.tasks().is_empty());
}

#[test]
fn a_torn_header_is_found_and_told() {
    let dump = b"[   12.1] x\n[   12.000001] sysrq: Show State\n[   12ask:thr:3 (x) a b   state:S stack:0     pid:125   tgid:114   ppid:1      task_flags:0x400040 flags:0x00080000\n";
    let (text, problems) = parse(dump);
    assert_eq!(text.tasks()[0].pid, Some(125));
    assert!(text.tasks()[0].torn);
    assert_eq!(problems.len(), 1);
    assert!(
        dump[problems[0].range.start as usize..problems[0].range.end as usize].starts_with(b"[   12ask:")
    );
}

#[test]
fn the_list_of_3x_kernels_is_read() {
    let dump = "\
SysRq : Show State
  task                        PC stack   pid father
systemd         S ffff88003fd13e00     0     1      0 0x00000000
 ffff88003e0b3d38 0000000000000086
Call Trace:
 [<ffffffff8170eb59>] schedule+0x29/0x70
 [<ffffffff811f5b2b>] ep_poll+0x31b/0x350
kthreadd        S11664     2      0 0x00000000
";
    let (text, problems) = parse(dump.as_bytes());
    assert_eq!(problems, []);
    let found: Vec<_> = text.tasks().iter().map(|it| (it.pid, it.comm.as_str(), it.stack.len())).collect();
    assert_eq!(found, [(Some(1), "systemd", 2), (Some(2), "kthreadd", 0)]);
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        parse(&bytes);
    }
}

#[test]
fn no_gap_in_a_dump_makes_it_panic_or_invent_a_pid() {
    for at in 0..BLOCKED.len() {
        for len in 0..40 {
            let mut bytes = BLOCKED.as_bytes().to_vec();
            bytes.drain(at..(at + len).min(BLOCKED.len()));
            let (text, _) = parse(&bytes);
            for task in text.tasks() {
                // What was cut is gone; digits that moved together can only be the name's neighbours.
                let lost_digits = |it: u32| it.to_string().len() < 3;
                assert!(
                    task.torn || task.pid.is_none_or(|it| it == 142 || lost_digits(it)),
                    "{len} bytes cut at {at}: {task:?}"
                );
            }
        }
    }
}
