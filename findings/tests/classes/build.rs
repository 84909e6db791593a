//! Builds cases by hand, in the words of the faults that they stand for.

use uuid::Uuid;
use vmward_findings::{Case, SysrqSeen};
use vmward_kernel_facts::{Frame, MemSummary, Task, TaskState, ZoneSummary};
use vmward_model::observed::*;
use vmward_model::*;

pub fn stamp(mono_ms: u64) -> Stamp {
    Stamp { utc: "2026-11-21T10:00:00Z".parse().unwrap(), mono_ms }
}

/// A guest that a scenario suspects and of which nothing was captured.
pub fn suspect() -> Case {
    let opening = Verdict {
        class: Class::Suspect,
        confidence: Confidence::Possible,
        scenario: "app-label".into(),
        at: stamp(60_000),
        evidence: vec![],
    };
    let life = Incarnation { pid: 42, start_ticks: 7, boot: 0 };
    Case::new(GuestId(Uuid::nil()), life, GuestState::Running, opening)
}

/// An up guest whose labels stopped and whose shell answers, with idle vCPUs and disks that owe
/// nothing: each fault changes something of it.
pub fn calm() -> Case {
    suspect().monitor(MonitorHealth::Answers).labels(12_000).shell(true).cpus(&IDLE).queues(&[(0, 5), (0, 9)])
}

/// One vCPU through a diagnosis.
#[derive(Clone, Copy)]
pub struct Cpu {
    pub percent: u64,
    pub halted: bool,
    pub interrupts_off: bool,
    pub user: bool,
    /// Instruction pointers of the samples.
    pub ips: [u64; 3],
}

pub const RESTS: Cpu =
    Cpu { percent: 2, halted: true, interrupts_off: false, user: false, ips: [0xffffffff81c01000; 3] };
pub const IDLE: [Cpu; 2] = [RESTS; 2];
pub const USER_LOOP: Cpu = Cpu {
    percent: 98,
    halted: false,
    interrupts_off: false,
    user: true,
    ips: [0x401000, 0x401004, 0x401000],
};
pub const CLI_LOOP: Cpu =
    Cpu { percent: 99, halted: false, interrupts_off: true, user: false, ips: [0xffffffff8112f001; 3] };

pub trait Build: Sized {
    fn monitor(self, monitor: MonitorHealth) -> Self;
    fn labels(self, last_ms: u64) -> Self;
    fn shell(self, answered: bool) -> Self;
    /// It answered, this long ago.
    fn shell_ago(self, ago_ms: u64) -> Self;
    fn said(self, text: &str) -> Self;
    fn cpus(self, cpus: &[Cpu]) -> Self;
    fn queues(self, samples: &[(u32, u32)]) -> Self;
    fn ops(self, each_second: u64) -> Self;
    fn trouble(self, kind: &str, title: &str) -> Self;
    fn blocked(self, tasks: &[(&str, &[&str])]) -> Self;
    fn refused(self) -> Self;
    fn threads_in(self, state: char) -> Self;
    fn memory(self, free_kib: u64, swap_free: u64) -> Self;
    fn phase(self, phase: BootPhase) -> Self;
}

fn console(case: &mut Case) -> &mut ConsoleSeen {
    case.observed.console.get_or_insert_with(|| ConsoleSeen {
        connected: true,
        silent_ms: Some(5_000),
        ..ConsoleSeen::default()
    })
}

impl Build for Case {
    fn monitor(mut self, monitor: MonitorHealth) -> Case {
        let answers = monitor == MonitorHealth::Answers;
        self.observed.run_state = Some(RunState {
            monitor,
            status: answers.then(|| "running".into()),
            state: self.guest_state,
            qemu_version: None,
            arch: None,
        });
        self
    }

    fn labels(mut self, last_ms: u64) -> Case {
        console(&mut self).labels = Some(LabelsSeen { count: 50, last_ms: Some(last_ms), max_gap_ms: 2_000 });
        self
    }

    fn shell(mut self, answered: bool) -> Case {
        let took_ms = answered.then_some(20);
        console(&mut self).shell = Some(ShellSeen { answered, took_ms, ago_ms: None, said: None });
        self
    }

    fn shell_ago(mut self, ago_ms: u64) -> Case {
        console(&mut self).shell =
            Some(ShellSeen { answered: true, took_ms: Some(63), ago_ms: Some(ago_ms), said: None });
        self
    }

    fn said(mut self, text: &str) -> Case {
        console(&mut self).shell =
            Some(ShellSeen { answered: false, took_ms: None, ago_ms: None, said: Some(text.into()) });
        self
    }

    fn cpus(mut self, cpus: &[Cpu]) -> Case {
        let at = |n: usize| VcpuSample {
            at_ms: n as u64 * 200,
            cpus: (0u32..)
                .zip(cpus)
                .map(|(index, it)| VcpuRegisters {
                    index,
                    ip: Some(it.ips[n]),
                    interrupts_off: Some(it.interrupts_off),
                    user_mode: Some(it.user),
                    halted: Some(it.halted),
                    ..VcpuRegisters::default()
                })
                .collect(),
        };
        self.observed.vcpus = Some(Vcpus { samples: (0..3).map(at).collect() });
        let thread = |index: u32, it: &Cpu| HostThread {
            tid: 100 + index,
            comm: format!("CPU {index}/TCG"),
            role: ThreadRole::Vcpu(index),
            state: if it.halted { 'S' } else { 'R' },
            wchan: None,
            stack: vec![],
            cpu_ms: it.percent * 10,
            wait_ms: 0,
        };
        self.observed.host = Some(HostSide {
            process_alive: true,
            threads: (0u32..).zip(cpus).map(|(index, it)| thread(index, it)).collect(),
            window_ms: 1000,
            ..HostSide::default()
        });
        self
    }

    /// (inuse, used index) of one disk queue in each sample, a second apart.
    fn queues(mut self, samples: &[(u32, u32)]) -> Case {
        let sample = |(n, (inuse, used)): (usize, &(u32, u32))| QueueSample {
            at_ms: n as u64 * 1000,
            queues: vec![Virtqueue {
                path: "/machine/peripheral/vdb/virtio-backend".into(),
                device: "virtio-blk".into(),
                queue: 0,
                inuse: *inuse,
                used_idx: Some(*used),
                ..Virtqueue::default()
            }],
        };
        self.observed.queues = Some(samples.iter().enumerate().map(sample).collect());
        self
    }

    fn ops(mut self, each_second: u64) -> Case {
        let sample = |n: u64| BlockSample {
            at_ms: n * 1000,
            devices: vec![BlockCounters {
                device: "vda".into(),
                rd_ops: 100 + n * each_second,
                ..Default::default()
            }],
        };
        self.observed.blocks = Some(vec![sample(0), sample(1)]);
        self
    }

    fn trouble(mut self, kind: &str, title: &str) -> Case {
        console(&mut self).trouble.push(TroubleSeen {
            kind: kind.into(),
            title: title.into(),
            ago_ms: 3_000,
            bytes: (0, 10),
            fatal: matches!(kind, "panic" | "init-died"),
        });
        self
    }

    fn blocked(mut self, tasks: &[(&str, &[&str])]) -> Case {
        let task = |(n, (comm, stack)): (u32, &(&str, &[&str]))| Task {
            stack: stack.iter().map(|it| Frame::named(*it)).collect(),
            ..Task::new(200 + n, *comm, TaskState::D)
        };
        self.kernel.blocked = Some((0u32..).zip(tasks).map(task).collect());
        self.kernel.sysrq = Some(SysrqSeen {
            answered: vec!['w', 'l', 'm'],
            path: "chardev-break".into(),
            ..Default::default()
        });
        self
    }

    fn refused(mut self) -> Case {
        self.kernel.blocked = None;
        self.kernel.sysrq = Some(SysrqSeen {
            refused: vec!['w', 'l', 'm', 't'],
            path: "mux-break".into(),
            ..Default::default()
        });
        self
    }

    fn threads_in(mut self, state: char) -> Case {
        for it in self.observed.host.iter_mut().flat_map(|it| &mut it.threads) {
            it.state = state;
            it.cpu_ms = 0;
        }
        self
    }

    fn memory(mut self, free_kib: u64, swap_free: u64) -> Case {
        let zone = ZoneSummary {
            node: 0,
            name: "DMA32".into(),
            free_kib,
            min_kib: 2_000,
            low_kib: 2_500,
            high_kib: 3_000,
        };
        self.kernel.memory = Some(MemSummary {
            swap_free_kib: Some(swap_free),
            swap_total_kib: Some(100_000),
            zones: vec![zone],
            ..MemSummary::default()
        });
        self
    }

    fn phase(mut self, phase: BootPhase) -> Case {
        console(&mut self).phase = Some(phase);
        self
    }
}
