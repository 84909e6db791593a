//! `sysrq-w`, `sysrq-l`, `sysrq-m`, `sysrq-p`, `sysrq-q`, `sysrq-t` (L3): what the guest's kernel prints on
//! SysRq keys, raw and as kernel facts; and `sysrq-h`, pressed after a refusal, or alone where memory told
//! the rest, to show that the kernel still answers.
//!
//! The keys go one after the other. A refusal by mask (`kernel.sysrq` without bit 8) holds for all of
//! them; a first key that nothing comes back for spares the guest and the deadline the others. `z` is
//! pressed only where the guest's policy names it, since it leaves the guest's tracing off.

use std::time::Duration;

use vmward_console_log::sysrq::{self, SysrqKey};
use vmward_findings::KernelSeen;
use vmward_model::{Rung, Sensitivity, TransportKind};

use super::examined::KeyFate;
use super::{Capture, Context, Examined, Miss, Outcome, Part, Pressed, Raw, Step, Taken};

/// Time that the capture keeps for itself, so that it ends before its deadline and can say how.
const SPARE: Duration = Duration::from_millis(400);

/// One key.
pub(super) struct SysRqKey(pub(super) char);

impl Capture for SysRqKey {
    fn name(&self) -> &'static str {
        match self.0 {
            'w' => "sysrq-w",
            'l' => "sysrq-l",
            'm' => "sysrq-m",
            'p' => "sysrq-p",
            'q' => "sysrq-q",
            't' => "sysrq-t",
            'z' => "sysrq-z",
            _ => "sysrq-h",
        }
    }

    fn rung(&self) -> Rung {
        Rung::L3
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Console
    }

    fn deadline(&self) -> Duration {
        match self.0 {
            // The first one tries every way; `h` is the first one where memory told the rest.
            'w' | 'h' => Duration::from_secs(10),
            't' => Duration::from_secs(11),
            _ => Duration::from_secs(5),
        }
    }

    fn cap(&self) -> usize {
        4 << 20
    }

    fn needed(&self, cx: &Context, so_far: &Examined) -> Result<(), String> {
        if cx.sysrq.is_none() {
            return Err("there is no way to send SysRq: no console of this guest is known".to_owned());
        }
        let sysrq = so_far.kernel.sysrq.as_ref();
        let first = |keys: Option<&Vec<char>>| keys.and_then(|it| it.first().copied());
        let refused = first(sysrq.map(|it| &it.refused));
        if let Some(key) = first(sysrq.map(|it| &it.silent)) {
            return Err(format!("no answer to {key}"));
        }
        // Memory told more than any key would print. Whether the kernel still takes an interrupt and writes
        // to its console only a key shows, and `h` prints a line and touches nothing.
        if so_far.kernel.look.is_some() && so_far.kernel.tasks.is_some() {
            return match self.0 {
                'h' => Ok(()),
                _ => Err("memory told it already, and SysRq changes the guest".to_owned()),
            };
        }
        match (self.0, refused) {
            ('h', None) => Err("pressed only after a refusal".to_owned()),
            ('h', Some(_)) | (_, None) => Ok(()),
            (_, Some(key)) => Err(format!("refused like {key}: the guest's kernel.sysrq allows no dumps")),
        }?;
        if self.0 == 'l' && all_sleep(so_far) {
            return Err("every vCPU sleeps: no CPU has anything to show".to_owned());
        }
        Ok(())
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async move {
            let Some(sysrq) = &cx.sysrq else {
                return Err(Miss::Skipped("there is no way to send SysRq".to_owned()));
            };
            let within = self.deadline().saturating_sub(SPARE);
            let pressed = tokio::time::timeout(within, sysrq.press(self.0, within)).await;
            let pressed = pressed.unwrap_or(Pressed::Silent { path: "every way".to_owned() });
            self.outcome(pressed)
        })
    }
}

impl SysRqKey {
    fn outcome(&self, pressed: Pressed) -> Outcome {
        let key = self.0;
        let raw = |text| vec![Raw { kind: "raw", ..Raw::text(text, Sensitivity::Text) }];
        match pressed {
            Pressed::Answered { path, text, incomplete } => {
                let (kernel, problems) = facts(key, &text);
                let mut taken = Taken { raw: raw(text), ..Taken::default() };
                taken.parts.push(Part::SysRq(key, KeyFate::Answered, path));
                taken.parts.push(Part::Kernel(Box::new(kernel)));
                taken.missing = incomplete.into_iter().chain(problems).collect();
                Ok(taken)
            }
            Pressed::Refused { path, text } => {
                let parts = vec![Part::SysRq(key, KeyFate::Refused, path)];
                let taken = Taken { parts, raw: raw(text), ..Taken::default() };
                let why = "the guest's kernel answered \"This sysrq operation is disabled\": its kernel.sysrq mask \
                           lacks bit 8 (dumps)";
                Err(Miss::Refused(why.to_owned()).with(taken))
            }
            Pressed::Silent { path } => {
                let why = format!("no answer to {key} ({path})");
                let parts = vec![Part::SysRq(key, KeyFate::Silent, path)];
                Err(Miss::Failed(why).with(Taken { parts, ..Taken::default() }))
            }
            Pressed::NoWay { why } => {
                let parts = vec![Part::SysRq(key, KeyFate::Silent, String::new())];
                Err(Miss::Failed(why).with(Taken { parts, ..Taken::default() }))
            }
        }
    }
}

/// Kernel facts in the answer to `key`, and what could not be read.
fn facts(key: char, text: &[u8]) -> (KernelSeen, Vec<String>) {
    let (parsed, problems) = sysrq::parse(text);
    let mut missing = Vec::new();
    if let Some(first) = problems.first() {
        missing.push(format!("{} lines could not be read whole, the first: {}", problems.len(), first.what));
    }
    let mut seen = KernelSeen::default();
    let section = |key| parsed.section(key).cloned();
    let found = match key {
        'w' => section(SysrqKey::ShowBlocked).map(|it| seen.blocked = Some(it.tasks)),
        't' => section(SysrqKey::ShowTasks).map(|it| seen.tasks = Some(it.tasks)),
        'l' => section(SysrqKey::ShowCpus).map(|it| seen.cpus = Some(it.cpus).filter(|it| !it.is_empty())),
        'p' => {
            section(SysrqKey::ShowRegisters).map(|it| seen.cpus = Some(it.cpus).filter(|it| !it.is_empty()))
        }
        'm' => section(SysrqKey::ShowMemory).map(|it| seen.memory = it.memory),
        _ => Some(()),
    };
    if found.is_none() {
        missing.push(format!("the answer does not begin as one to {key} does"));
    }
    (seen, missing)
}

fn all_sleep(so_far: &Examined) -> bool {
    let Some(vcpus) = &so_far.observed.vcpus else { return false };
    let mut cpus = vcpus.samples.iter().flat_map(|it| &it.cpus).peekable();
    cpus.peek().is_some() && cpus.all(|it| it.halted == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_tasks_become_facts_and_none_is_an_answer_too() {
        // Linux 6.1, kernel/sched/core.c sched_show_task().
        let text = b"[   12.100000] sysrq: Show Blocked State\r\n\
            [   12.100000] task:dd              state:D stack:0     pid:112   ppid:1      flags:0x00000002\r\n\
            [   12.100000] Call Trace:\r\n[   12.100000]  <TASK>\r\n[   12.100000]  __schedule+0x2cd/0x890\r\n";
        let (seen, missing) = facts('w', text);
        assert_eq!(missing, Vec::<String>::new());
        let blocked = seen.blocked.unwrap();
        assert_eq!((blocked.len(), blocked[0].stack.len()), (1, 1));
        let (seen, _) = facts('w', b"[   12.100000] sysrq: Show Blocked State\r\n");
        assert_eq!(seen.blocked, Some(Vec::new()));
    }

    #[test]
    fn an_answer_to_something_else_is_not_taken_for_one() {
        let (seen, missing) = facts('w', b"hello\n");
        assert_eq!(seen, KernelSeen::default());
        assert_eq!(missing.len(), 1);
    }
}
