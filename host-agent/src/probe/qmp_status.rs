//! `qmp-status`: QEMU's monitor has to answer, and its process has to run.
//!
//! What: how the last `query-status` fared, and the process's state on the host.
//! Why: a QEMU that is stopped, dead or stuck takes its guest with it.
//! Evidence: which of silent, garbage, closed, stopped, gone it was, and for how long.
//! False alarms: a monitor that somebody else holds is Unknown, never stuck.
//! Cost to the guest: none; `query-status` takes no lock that the guest needs.

use tokio::time::Instant;
use vmward_model::observed::MonitorHealth;
use vmward_model::{Class, Confidence, GuestState, TransportKind};

use super::{Probe, Said, Settings, Step, seconds};
use crate::agent::guest::seen::{Process, Seen};
use crate::agent::guest::view::View;

pub(super) struct QmpStatus;

impl Probe for QmpStatus {
    fn name(&self) -> &'static str {
        "qmp-status"
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Qmp
    }

    fn excused(&self) -> bool {
        false
    }

    fn wakes_on(&self, seen: &Seen) -> bool {
        matches!(seen, Seen::Process(_))
    }

    fn begin(&self, view: &View, _settings: &Settings, now: Instant) -> Step {
        Step::Say(match view.process {
            Process::Gone if view.leaving => Said::unknown("QEMU ended as it had announced"),
            Process::Gone => Said::fail("QEMU's process is gone, and it did not announce that")
                .of(Class::QemuGone, Confidence::Certain)
                .at_once(),
            Process::Stopped => Said::fail("QEMU's process is stopped by a signal or a tracer (state T)")
                .of(Class::QemuStuck, Confidence::Certain)
                .at_once(),
            Process::Alive => monitor(view, now),
        })
    }
}

fn monitor(view: &View, now: Instant) -> Said {
    let Some((last, at)) = &view.monitor else {
        return Said::unknown("the monitor has not been asked yet");
    };
    let age = seconds(now.saturating_duration_since(*at));
    match &last.health {
        MonitorHealth::Answers if view.state == GuestState::HostError => {
            let status = last.status.as_deref().unwrap_or("an error");
            Said::fail(format!("QEMU stopped the guest: {status}"))
                .of(Class::Suspect, Confidence::Likely)
                .at_once()
        }
        MonitorHealth::Answers => Said::pass(),
        MonitorHealth::Busy { peer } => Said::unknown(format!("the monitor is held by {peer}")),
        MonitorHealth::Silent => Said::fail(format!("the monitor is silent: {} ({age} ago)", last.why))
            .of(Class::QemuStuck, Confidence::Likely)
            .at_once(),
        MonitorHealth::Garbage => Said::fail(format!("the monitor does not speak QMP: {}", last.why)),
        MonitorHealth::Closed => {
            Said::fail(format!("the monitor closed in the middle of an answer: {}", last.why))
        }
        MonitorHealth::Absent => Said::unknown(format!("there is no monitor: {}", last.why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::guest::seen::Monitor;
    use vmward_model::Answer;

    fn ask(view: &View) -> Said {
        match QmpStatus.begin(view, &Settings::default(), Instant::now()) {
            Step::Say(said) => said,
            Step::Shell => panic!("it types nothing"),
        }
    }

    fn with(health: MonitorHealth) -> Said {
        let mut view = View::new(Instant::now());
        let monitor = Monitor { health, status: None, why: "why".into() };
        view.take(Seen::Monitor(monitor), Instant::now());
        ask(&view)
    }

    #[tokio::test]
    async fn busy_silent_garbage_closed_and_absent_are_told_apart() {
        let busy = with(MonitorHealth::Busy { peer: "libvirtd (pid 7)".into() });
        assert_eq!(busy.answer, Answer::Unknown("the monitor is held by libvirtd (pid 7)".into()));
        assert_eq!(with(MonitorHealth::Silent).class, Class::QemuStuck);
        let texts = [MonitorHealth::Silent, MonitorHealth::Garbage, MonitorHealth::Closed].map(with);
        let texts = texts.map(|it| match it.answer {
            Answer::Fail(why) => why,
            other => panic!("{other:?}"),
        });
        assert!(texts.iter().zip(["silent", "not speak QMP", "closed"]).all(|(it, word)| it.contains(word)));
        assert!(matches!(with(MonitorHealth::Absent).answer, Answer::Unknown(_)));
        assert_eq!(with(MonitorHealth::Answers).answer, Answer::Pass);
    }

    #[tokio::test]
    async fn a_killed_qemu_is_trouble_and_one_that_ended_in_order_is_none() {
        let mut view = View::new(Instant::now());
        view.take(Seen::Process(Process::Gone), Instant::now());
        assert_eq!((ask(&view).class, ask(&view).alarms_untried), (Class::QemuGone, true));
        let mut view = View::new(Instant::now());
        let data = serde_json::json!({"guest": false, "reason": "host-qmp-quit"});
        view.take(Seen::Qmp { name: "SHUTDOWN".into(), data }, Instant::now());
        view.take(Seen::Process(Process::Gone), Instant::now());
        assert!(matches!(ask(&view).answer, Answer::Unknown(_)));
    }
}
