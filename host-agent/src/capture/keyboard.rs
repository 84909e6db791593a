//! The real console behind [`SysRq`] and [`Console`].

use std::time::Duration;

use vmward_model::observed::ConsoleSeen;

use super::{Console, Pressed, Step, SysRq};
use crate::transport::console::Console as Link;
use crate::transport::qmp::{L3Permit, Monitor};
use crate::transport::sysrq::{Key, Limits, Outcome, Path, Ways, press};

/// SysRq by the transport's ways.
pub struct OverConsole {
    /// That the guest's policy allows it.
    pub permit: L3Permit,
    /// The console.
    pub console: Link,
    /// For the ways that go by QEMU.
    pub monitor: Option<Monitor>,
    /// What is known of the ways in.
    pub ways: Ways,
}

impl SysRq for OverConsole {
    fn press(&self, key: char, within: Duration) -> Step<'_, Pressed> {
        Box::pin(async move {
            let Some(known) = known(key) else {
                return Pressed::NoWay { why: format!("key {key} is not one of ours") };
            };
            let limits = Limits {
                // Four ways share the time of a key that nothing comes back for.
                header: (within / 5).min(Limits::default().header),
                whole: within.saturating_sub(within / 4),
                ..Limits::default()
            };
            let pressing =
                press(&self.permit, &self.console, self.monitor.as_ref(), &self.ways, known, limits);
            match pressing.await {
                Outcome::Answered { path, text, cut, .. } => Pressed::Answered {
                    path: name(path).to_owned(),
                    text,
                    incomplete: cut.then(|| "the answer was cut by time or size".to_owned()),
                },
                Outcome::Refused { path } => Pressed::Refused {
                    path: name(path).to_owned(),
                    text: b"sysrq: This sysrq operation is disabled.\n".to_vec(),
                },
                Outcome::NoAnswer { paths } if paths.is_empty() => Pressed::NoWay {
                    why: "neither BREAK, ^O nor a keyboard leads into this guest".to_owned(),
                },
                Outcome::NoAnswer { paths } => {
                    let tried: Vec<String> =
                        paths.into_iter().map(|(path, why)| format!("{}: {why}", name(path))).collect();
                    Pressed::Silent { path: tried.join("; ") }
                }
            }
        })
    }
}

fn known(key: char) -> Option<Key> {
    Some(match key {
        'w' => Key::BlockedTasks,
        'l' => Key::ActiveCpus,
        'm' => Key::Memory,
        'p' => Key::Registers,
        'q' => Key::Timers,
        't' => Key::Tasks,
        'z' => Key::TraceBuffer,
        'h' => Key::Help,
        _ => return None,
    })
}

/// Names as [`vmward_findings::SysrqSeen::path`] has them.
fn name(path: Path) -> &'static str {
    match path {
        Path::SendBreak => "chardev-break",
        Path::MuxBreak => "mux-break",
        Path::HvcCtrlO => "hvc",
        Path::Keyboard => "send-key",
    }
}

/// What the agent knows of the console when the diagnosis begins, and the console's raw bytes.
pub struct ConsoleNow {
    /// What was seen, as the guest's actor tells it.
    pub seen: ConsoleSeen,
    /// The console itself; `None` when it cannot be reached.
    pub link: Option<Link>,
}

impl Console for ConsoleNow {
    fn seen(&self) -> Step<'_, ConsoleSeen> {
        Box::pin(std::future::ready(self.seen.clone()))
    }

    fn tail(&self, cap: usize) -> Step<'_, Result<Vec<u8>, String>> {
        let bytes = self.link.as_ref().map(|it| it.newest(cap));
        Box::pin(std::future::ready(bytes.ok_or_else(|| "the console cannot be reached".to_owned())))
    }
}
