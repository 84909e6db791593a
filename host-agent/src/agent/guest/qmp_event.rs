//! What QMP's run states and events mean for the guest (QEMU's `qapi/run-state.json`).

use serde_json::Value;
use vmward_model::{GuestInput, Severity};

use super::seen::Trouble;

/// What a run state of `query-status` says; none for a state that QEMU may add later.
pub fn of_status(status: &str, migrating: bool) -> Option<GuestInput> {
    Some(match status {
        "running" if migrating => GuestInput::Migrates,
        "running" => GuestInput::Runs,
        "paused" | "debug" | "suspended" | "prelaunch" | "watchdog" => GuestInput::Paused,
        "inmigrate" | "postmigrate" | "finish-migrate" | "colo" => GuestInput::Migrates,
        "save-vm" | "restore-vm" => GuestInput::Saves,
        "shutdown" => GuestInput::ShutDown,
        "guest-panicked" => GuestInput::Panicked,
        "io-error" | "internal-error" => GuestInput::HostError,
        _ => return None,
    })
}

/// Whether QEMU is about to end in an orderly way, given whether it was before this run state.
pub fn leaves(status: &str, before: bool) -> bool {
    match status {
        "postmigrate" => true,
        "running" => false,
        _ => before,
    }
}

/// What one event means.
#[derive(Debug, Default, PartialEq)]
pub struct Meaning {
    /// What it says of the state.
    pub input: Option<GuestInput>,
    /// How much it matters as an event of ours; none for events that come by the hundred.
    pub report: Option<Severity>,
    /// What is late now is excused for a while.
    pub grace: bool,
    /// The run state may have changed.
    pub ask_status: bool,
    /// QEMU is about to end in an orderly way.
    pub leaving: bool,
    /// A migration began (`true`) or ended.
    pub migrating: Option<bool>,
    /// The guest is in trouble and QEMU was told.
    pub trouble: Option<Trouble>,
}

/// Reads an event. One that is not known here changes nothing.
pub fn meaning(name: &str, data: &Value) -> Meaning {
    let text = |field: &str| data.get(field).and_then(Value::as_str).unwrap_or("");
    let mut it = Meaning { report: Some(Severity::Info), ..Meaning::default() };
    match name {
        "STOP" => (it.input, it.ask_status) = (Some(GuestInput::Paused), true),
        "RESUME" => (it.input, it.grace, it.ask_status) = (Some(GuestInput::Runs), true, true),
        "SUSPEND" | "SUSPEND_DISK" => (it.input, it.ask_status) = (Some(GuestInput::Paused), true),
        "WAKEUP" => (it.input, it.grace) = (Some(GuestInput::Runs), true),
        "RESET" if text("reason") == "snapshot-load" => it.grace = true,
        "RESET" => it.input = Some(GuestInput::Reset),
        "POWERDOWN" => {}
        "SHUTDOWN" if text("reason") == "guest-panic" => {
            (it.input, it.trouble) = (Some(GuestInput::Panicked), Some(told(name, "guest-panic")));
            it.report = Some(Severity::Crit);
        }
        "SHUTDOWN" => (it.input, it.leaving) = (Some(GuestInput::ShutDown), true),
        "GUEST_PANICKED" => {
            (it.input, it.trouble) = (Some(GuestInput::Panicked), Some(told(name, text("action"))));
            (it.report, it.ask_status) = (Some(Severity::Crit), true);
        }
        // The guest's kernel panicked and a crash kernel takes over (pvpanic, bit 1).
        "GUEST_CRASHLOADED" => {
            it.trouble = Some(told(name, text("action")));
            it.report = Some(Severity::Crit);
        }
        "WATCHDOG" => (it.report, it.ask_status) = (Some(Severity::Error), true),
        "BLOCK_IO_ERROR" => (it.report, it.ask_status) = (Some(Severity::Error), true),
        "MEMORY_FAILURE" => it.report = Some(Severity::Error),
        "MIGRATION" => {
            let status = text("status");
            let over = matches!(status, "none" | "completed" | "failed" | "cancelled");
            it.migrating = Some(!over);
            (it.grace, it.ask_status) = (over, true);
        }
        // A guest can make these at will.
        "RTC_CHANGE" | "NIC_RX_FILTER_CHANGED" | "VSERPORT_CHANGE" | "BALLOON_CHANGE" => it.report = None,
        _ => it.report = Some(Severity::Debug),
    }
    it
}

fn told(name: &str, what: &str) -> Trouble {
    Trouble {
        kind: "panic".to_owned(),
        title: if what.is_empty() { name.to_owned() } else { format!("{name} ({what})") },
        source: format!("event:{name}"),
        fatal: true,
        bytes: (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_guest_that_was_sent_elsewhere_leaves_an_empty_qemu_behind() {
        assert!(leaves("postmigrate", false));
        assert!(leaves("shutdown", true) && !leaves("paused", false));
        assert!(!leaves("running", true));
    }

    #[test]
    fn an_orderly_end_is_announced_and_a_panic_is_none() {
        let orderly = meaning("SHUTDOWN", &json!({"guest": true, "reason": "guest-shutdown"}));
        assert!(orderly.leaving && orderly.trouble.is_none());
        let panic = meaning("SHUTDOWN", &json!({"guest": true, "reason": "guest-panic"}));
        assert!(!panic.leaving && panic.trouble.is_some());
    }

    #[test]
    fn loading_a_snapshot_is_no_reboot() {
        assert_eq!(meaning("RESET", &json!({"reason": "snapshot-load"})).input, None);
        assert_eq!(meaning("RESET", &json!({"reason": "guest-reset"})).input, Some(GuestInput::Reset));
    }

    #[test]
    fn every_run_state_of_qemu_7_2_but_none_that_it_may_add_is_known() {
        for state in "debug inmigrate internal-error io-error paused postmigrate prelaunch finish-migrate \
            restore-vm running save-vm shutdown suspended watchdog guest-panicked colo"
            .split_whitespace()
        {
            assert!(of_status(state, false).is_some(), "{state}");
        }
        assert_eq!(of_status("levitating", false), None);
        assert_eq!(of_status("running", true), Some(GuestInput::Migrates));
    }
}
