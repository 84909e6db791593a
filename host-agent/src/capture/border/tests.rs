//! Each verdict by a border made by hand: a disk's queue of 128 whose request lies in the ring at 7.

use vmward_kernel_facts::machine::{BlockRequest, Disk, VirtioChain, VirtioDevice, VirtioQueue};
use vmward_kernel_facts::{Border, Debtor, Machine, WaitEdge, WaitGraph, WaitKind, WaitProof};
use vmward_model::GuestState;
use vmward_model::observed::{
    BlockCounters, BlockSample, HostSide, HostThread, MonitorHealth, Observed, QueueSample, RunState,
    ThreadRole, VcpuRegisters, VcpuSample, Vcpus, Virtqueue,
};

use super::border;

const PATH: &str = "/machine/peripheral/disk0/virtio-backend";
const DESC: u64 = 0x24e_6000;
const REQUEST: u64 = 0xffff_8880_0123_4000;
const PAGE: u64 = 0xffff_ea00_0004_0000;

struct Case {
    machine: Machine,
    waits: WaitGraph,
    observed: Observed,
    looked_ms: Option<(i64, i64)>,
}

impl Case {
    /// The driver has offered seven chains and taken seven answers; QEMU says the same, twice; nothing is out.
    fn healthy() -> Case {
        let queue = VirtioQueue {
            name: "req.0".into(),
            size: 128,
            desc: DESC,
            avail_idx: 7,
            last_used_idx: 7,
            used_idx: Some(7),
            free: 128,
            event_idx: true,
            used_event: Some(7),
            avail_event: Some(7),
            ..VirtioQueue::default()
        };
        let device = VirtioDevice {
            name: "virtio0".into(),
            device_id: 2,
            serves: vec!["vda".into()],
            queues: vec![queue],
            ..VirtioDevice::default()
        };
        let disk = Disk { name: "vda".into(), ..Disk::default() };
        let machine = Machine { virtio: Some(vec![device]), disks: Some(vec![disk]), ..Machine::default() };
        let cpus = || vec![VcpuRegisters { interrupts_off: Some(false), ..VcpuRegisters::default() }];
        let sample = |at_ms| VcpuSample { at_ms, cpus: cpus() };
        let run_state = RunState {
            monitor: MonitorHealth::Answers,
            status: Some("running".into()),
            state: GuestState::Running,
            qemu_version: None,
            arch: Some("x86_64".into()),
        };
        let observed = Observed {
            run_state: Some(run_state),
            vcpus: Some(Vcpus { samples: vec![sample(0), sample(300)] }),
            host: Some(HostSide { process_alive: true, window_ms: 1000, ..HostSide::default() }),
            ..Observed::default()
        };
        let case = Case { machine, waits: WaitGraph::default(), observed, looked_ms: Some((500, 500)) };
        case.thread('S', "do_sys_poll", 3).qemu([(7, 7, 0), (7, 7, 0)])
    }

    fn queue(&mut self) -> &mut VirtioQueue {
        &mut self.machine.virtio.as_mut().unwrap()[0].queues[0]
    }

    /// The driver offered one more chain, with a request of this age.
    fn offers(mut self, age_ms: u64) -> Case {
        let queue = self.queue();
        queue.avail_idx = 8;
        queue.outstanding = 1;
        let chain =
            VirtioChain { head: 3, offered: Some(7), request: Some(REQUEST), ..VirtioChain::default() };
        queue.chains = vec![chain];
        let request = BlockRequest {
            operation: "read".into(),
            sector: 2048,
            bytes: 4096,
            age_ms: Some(age_ms),
            address: REQUEST,
            inode: Some(("vda1".into(), 12)),
            pages: vec![PAGE],
            ..BlockRequest::default()
        };
        self.machine.disks.as_mut().unwrap()[0].in_flight = vec![request];
        self
    }

    /// QEMU took up to, answered up to, and has in use; at 0 ms and at 1000 ms.
    fn qemu(mut self, samples: [(u32, u32, u32); 2]) -> Case {
        let sample = |(n, (avail, used, inuse)): (u64, (u32, u32, u32))| QueueSample {
            at_ms: n * 1000,
            queues: vec![Virtqueue {
                path: PATH.into(),
                device: "virtio-blk".into(),
                inuse,
                last_avail_idx: Some(avail),
                used_idx: Some(used),
                signalled_used: Some(used),
                desc: Some(DESC),
                ..Virtqueue::default()
            }],
        };
        self.observed.queues = Some((0..).zip(samples).map(sample).collect());
        self
    }

    fn thread(mut self, state: char, wchan: &str, cpu_ms: u64) -> Case {
        self.observed.host.as_mut().unwrap().threads = vec![HostThread {
            tid: 10,
            comm: "qemu-system-x86".into(),
            role: ThreadRole::Main,
            state,
            wchan: Some(wchan.into()),
            stack: Vec::new(),
            cpu_ms,
            wait_ms: 0,
        }];
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Case)) -> Case {
        change(&mut self);
        self
    }

    fn border(&self) -> Border {
        border(&self.machine, &self.waits, &self.observed, self.looked_ms).unwrap()
    }

    fn debtor(&self) -> Debtor {
        self.border().devices[0].who_owes.clone()
    }
}

fn is_unknown(debtor: &Debtor) -> bool {
    matches!(debtor, Debtor::Unknown { .. })
}

#[test]
fn where_nothing_is_out_nobody_owes() {
    let border = Case::healthy().border();
    let device = &border.devices[0];
    assert_eq!((device.who_owes.clone(), device.qemu_path.as_deref()), (Debtor::Nobody, Some(PATH)));
    assert!(border.missing.is_empty() && border.stuck().is_empty(), "{border:?}");
}

#[test]
fn a_disk_that_answers_while_it_is_watched_moves() {
    assert_eq!(Case::healthy().offers(3).qemu([(8, 6, 2), (9, 8, 1)]).debtor(), Debtor::Moving);
    // It was answered after memory was read.
    assert_eq!(Case::healthy().offers(3).qemu([(8, 8, 0), (8, 8, 0)]).debtor(), Debtor::Moving);
}

#[test]
fn what_qemu_took_and_nobody_answers_is_the_hosts_storage() {
    let edge = WaitEdge { object: Some(PAGE), ..WaitEdge::new(92, WaitKind::PageIo, WaitProof::Queued) };
    let case = Case::healthy().offers(30_000).qemu([(8, 7, 1), (8, 7, 1)]).with(|it| {
        it.waits.edges.push(edge);
        it.observed.blocks = Some(vec![BlockSample {
            at_ms: 0,
            devices: vec![BlockCounters {
                device: "vda".into(),
                qdev: Some(PATH.into()),
                ..BlockCounters::default()
            }],
        }]);
        let nbd = |name: &str| format!("if=none,id={name},file.driver=nbd (from the command line)");
        it.observed.host.as_mut().unwrap().disks = vec![nbd("vdb"), nbd("vda")];
    });
    let border = case.border();
    let device = &border.devices[0];
    assert_eq!(device.who_owes, Debtor::HostStorage);
    assert_eq!(device.backend.len(), 2, "{:?}", device.backend);
    assert!(device.backend[1].contains("id=vda"), "{:?}", device.backend);
    let queue = &device.queues[0];
    assert_eq!(queue.since_ms, Some(30_000));
    assert_eq!((queue.requests[0].waiters.as_slice(), queue.requests[0].sector), (&[92][..], 2048));
    assert!(queue.evidence.iter().any(|it| it.contains("1 in use")), "{:?}", queue.evidence);
    // QEMU's own limit holds requests back just so.
    let limited = case.with(|it| {
        let disks = &mut it.observed.host.as_mut().unwrap().disks;
        disks[1].push_str(",throttling.iops-total=1");
    });
    assert!(is_unknown(&limited.debtor()));
}

#[test]
fn a_thread_that_does_not_serve_is_qemus_debt() {
    for (state, wchan, cpu_ms) in [('T', "do_signal_stop", 0), ('R', "", 990), ('D', "nfs_wait", 0)] {
        let case = Case::healthy().offers(9_000).qemu([(8, 7, 1), (8, 7, 1)]).thread(state, wchan, cpu_ms);
        assert_eq!(case.debtor(), Debtor::Qemu, "{state}");
    }
    let unseen = Case::healthy().offers(9_000).qemu([(8, 7, 1), (8, 7, 1)]);
    assert!(is_unknown(&unseen.with(|it| it.observed.host = None).debtor()));
}

#[test]
fn an_offer_that_qemu_was_to_be_told_of_and_sleeps_through_is_a_lost_kick() {
    let case = || Case::healthy().offers(30_000);
    assert_eq!(case().debtor(), Debtor::LostKick);
    // By its age alone, when nothing tells the time of the look at memory, or it was later.
    assert_eq!(case().with(|it| it.looked_ms = None).debtor(), Debtor::LostKick);
    assert_eq!(case().with(|it| it.looked_ms = Some((9_000, 9_000))).debtor(), Debtor::LostKick);
    // It may have come after QEMU was asked.
    assert!(is_unknown(&Case::healthy().offers(20).with(|it| it.looked_ms = Some((1_100, 1_100))).debtor()));
    assert!(is_unknown(&case().with(|it| it.looked_ms = Some((31_000, 31_000))).debtor()));
    // The driver has not sent it.
    assert_eq!(case().with(|it| it.queue().num_added = 1).debtor(), Debtor::Guest);
    // QEMU looks by itself, as an I/O thread that polls.
    assert_eq!(case().with(|it| it.queue().avail_event = Some(6)).debtor(), Debtor::Qemu);
    assert_eq!(case().thread('T', "do_signal_stop", 0).debtor(), Debtor::Qemu);
}

#[test]
fn an_answer_with_an_interrupt_that_nobody_took_is_a_lost_one() {
    let case = || {
        let answered = Case::healthy().offers(30_000).qemu([(8, 8, 0), (8, 8, 0)]);
        answered.with(|it| it.queue().used_idx = Some(8))
    };
    assert_eq!(case().with(|it| it.looked_ms = Some((1_200, 1_200))).debtor(), Debtor::LostInterrupt);
    // Too soon, or at an unknown time.
    assert!(is_unknown(&case().with(|it| it.looked_ms = Some((100, 100))).debtor()));
    assert!(is_unknown(&case().with(|it| it.looked_ms = None).debtor()));
    let late = || case().with(|it| it.looked_ms = Some((1_200, 1_200)));
    // The driver polls.
    assert_eq!(late().with(|it| it.queue().used_event = Some(6)).debtor(), Debtor::Guest);
    // A vCPU is deaf, or it is not known whether one is.
    let deaf = late().with(|it| {
        let samples = &mut it.observed.vcpus.as_mut().unwrap().samples;
        samples.iter_mut().for_each(|it| it.cpus[0].interrupts_off = Some(true));
    });
    assert_eq!(deaf.debtor(), Debtor::Guest);
    assert!(is_unknown(&late().with(|it| it.observed.vcpus = None).debtor()));
    // QEMU has not come to it.
    let silent = late().with(|it| {
        let samples = it.observed.queues.as_mut().unwrap();
        samples.iter_mut().for_each(|it| it.queues[0].signalled_used = Some(7));
    });
    assert_eq!(silent.debtor(), Debtor::Qemu);
}

#[test]
fn indices_are_compared_across_their_end() {
    let case = Case::healthy().offers(30_000).qemu([(65_535, 65_535, 0), (65_535, 65_535, 0)]);
    let case = case.with(|it| {
        let queue = it.queue();
        (queue.avail_idx, queue.last_used_idx, queue.used_idx) = (0, 65_535, Some(65_535));
        queue.avail_event = Some(65_535);
        queue.chains[0].offered = Some(65_535);
    });
    assert_eq!(case.debtor(), Debtor::LostKick);
}

#[test]
fn a_guest_that_is_paused_owes_nothing() {
    let paused = |status: &str| {
        let case = Case::healthy().offers(30_000).qemu([(8, 7, 1), (8, 7, 1)]);
        case.with(|it| it.observed.run_state.as_mut().unwrap().status = Some(status.into())).debtor()
    };
    assert!(is_unknown(&paused("paused")));
    assert_eq!(paused("io-error"), Debtor::HostStorage);
}

#[test]
fn one_look_and_no_look_are_said_so() {
    let once = Case::healthy().offers(30_000).qemu([(8, 7, 1), (8, 7, 1)]).with(|it| {
        it.observed.queues.as_mut().unwrap().pop();
    });
    assert!(is_unknown(&once.debtor()));
    let vhost = Case::healthy().offers(30_000).with(|it| {
        it.observed.queues.as_mut().unwrap().iter_mut().for_each(|it| it.queues[0].desc = Some(4096));
    });
    assert!(is_unknown(&vhost.debtor()));
    assert_eq!(vhost.border().missing, [format!("{PATH} is no device that the guest's drivers hold")]);
}

#[test]
fn buffers_that_wait_for_something_to_happen_are_no_debt() {
    let case = Case::healthy().with(|it| {
        let queue = it.queue();
        queue.name = "input.0".into();
        (queue.avail_idx, queue.outstanding) = (128, 121);
    });
    assert_eq!(case.debtor(), Debtor::Nobody);
}

#[test]
fn a_queue_that_the_driver_gave_up_is_the_guests() {
    assert_eq!(Case::healthy().with(|it| it.queue().broken = true).debtor(), Debtor::Guest);
}

#[test]
fn what_a_console_sent_and_takes_back_when_it_sends_again_is_no_debt() {
    let case = Case::healthy().offers(30_000).qemu([(8, 8, 0), (8, 8, 0)]).with(|it| {
        let device = &mut it.machine.virtio.as_mut().unwrap()[0];
        (device.device_id, device.queues[0].name) = (3, "output".into());
        (device.queues[0].used_idx, it.looked_ms) = (Some(8), Some((2_000, 2_000)));
    });
    assert_eq!(case.debtor(), Debtor::Nobody);
}
