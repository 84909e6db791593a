//! When the agent may type on a console. A pure state machine: facts and time in, decision out.
//!
//! The rules, each with a test below:
//! 1. Receive-only until a prompt that the scenario declares was seen. Text of background programs after
//!    it does not end that; a boot, a forbidden prompt or a lost connection with a new guest does.
//! 2. Nothing foreign typed for 60 s, and nobody attached. Foreign is a person attached through the
//!    agent, and text that grows on the prompt's own line for longer than a program needs to write a
//!    line (another's typing, echoed). A paste through another way in is not told from a program's line.
//! 3. The prompt may come from this connection, from our ring of an earlier run of the same QEMU, from
//!    QEMU's chardev log file, or from the answer to one CR.
//! 4. That CR is sent only when the scenario has `wake = "cr"`, the console is silent for 10 s, and the
//!    last known text, if any, is no firmware, bootloader, login, password, disk passphrase or fsck
//!    prompt. One CR for one silence.
//! 5. Such a prompt is never answered, even when the scenario declares its text.
//! 6. A question that is still open is not followed by another: a hung shell would run them all later.

use std::time::Duration;

use super::prompt::{DeclaredPrompt, Forbidden, forbidden};

/// How long nothing foreign may have been typed.
pub const QUIET_OF_OTHERS: Duration = Duration::from_secs(60);
/// A program writes its line at once; a person does not.
const ONE_WRITE: Duration = Duration::from_millis(150);
/// How long a console must be silent before it is woken.
pub const SILENCE: Duration = Duration::from_secs(10);

/// Moments are given as time since the actor began (monotonic).
pub type Moment = Duration;

/// Whether a scenario allows one CR to raise a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wake {
    /// Never.
    #[default]
    Never,
    /// `wake = "cr"`.
    Cr,
}

/// What may be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The declared prompt waits: type.
    Type,
    /// Send one CR and see what comes.
    SendCr,
    /// Not now; look again after this long or when text comes.
    Wait(Duration, Refusal),
    /// Not as things are.
    Refuse(Refusal),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Rule 1.
    #[error("the prompt that the scenario declares was not seen")]
    NoPrompt,
    /// Rule 1, with a console that never said anything that we know of.
    #[error("no text of this console is known yet")]
    NoText,
    /// Rule 2.
    #[error("somebody typed on this console less than 60 s ago")]
    ForeignTyping,
    /// Rule 2.
    #[error("a person is attached to this console")]
    Attached,
    /// Rule 5.
    #[error("a prompt waits that is never answered ({0:?})")]
    Forbidden(Forbidden),
    /// Rule 6.
    #[error("an earlier command has not come back yet")]
    QuestionOpen,
}

/// The guard of one console.
#[derive(Debug, Clone, Default)]
pub struct TypingGuard {
    last_output: Option<Moment>,
    last_foreign: Option<Moment>,
    attached: usize,
    woken: bool,
    question_open: bool,
    earlier_line: Option<String>,
    line: Option<String>,
    declared: Vec<DeclaredPrompt>,
    /// The line of the prompt at which the console waits, as far as we know.
    at_prompt: Option<String>,
    /// Since when unfinished text stands behind the prompt.
    growing_since: Option<Moment>,
}

impl TypingGuard {
    /// A guard for the prompts that the guest's scenarios declare. `earlier_line` is the last line of
    /// our ring of an earlier run of the same QEMU, or of QEMU's chardev log file.
    #[must_use]
    pub fn new(declared: Vec<DeclaredPrompt>, earlier_line: Option<String>) -> Self {
        Self {
            at_prompt: earlier_line.clone().filter(|line| declared.iter().any(|p| p.starts_or_ends(line))),
            declared,
            earlier_line,
            ..Self::default()
        }
    }

    /// Bytes came. `lines` are the lines that they finished or began, in order, without kernel
    /// records; `finished` says whether the last one has ended.
    pub fn output(&mut self, now: Moment, lines: &[String], finished: bool) {
        self.last_output = Some(now);
        self.woken = false;
        for line in lines {
            if forbidden(line).is_some() {
                self.at_prompt = None;
            } else if self.declared.iter().any(|p| p.starts_or_ends(line)) && !self.question_open {
                self.at_prompt = Some(self.prompt_part(line));
            }
        }
        let Some(last) = lines.last() else {
            return;
        };
        let prompt_len = self.at_prompt.as_ref().map_or(0, String::len);
        let behind = prompt_len > 0
            && last.len() > prompt_len
            && self.at_prompt.as_ref().is_some_and(|p| last.starts_with(&**p));
        if !behind || self.question_open {
            self.growing_since = None;
        } else {
            let since = *self.growing_since.get_or_insert(now);
            if now.saturating_sub(since) >= ONE_WRITE {
                self.last_foreign = Some(now);
            }
            if finished {
                self.growing_since = None;
            }
        }
        self.line = Some(last.clone());
    }

    /// A person attached through the agent.
    pub fn attach(&mut self, now: Moment) {
        self.attached += 1;
        self.last_foreign = Some(now);
    }

    /// A person typed through the agent.
    pub fn foreign(&mut self, now: Moment) {
        self.last_foreign = Some(now);
    }

    /// A person left.
    pub fn detach(&mut self, now: Moment) {
        self.attached = self.attached.saturating_sub(1);
        self.last_foreign = Some(now);
    }

    /// We sent the CR.
    pub fn sent_cr(&mut self) {
        self.woken = true;
    }

    /// We typed a command.
    pub fn asked(&mut self) {
        self.question_open = true;
    }

    /// Its answer came: the shell is back at its prompt.
    pub fn answered(&mut self) {
        self.question_open = false;
        self.growing_since = None;
    }

    /// The guest started anew (a kernel's or firmware's first words, a RESET event): whatever was known
    /// of prompts is past.
    pub fn restarted(&mut self) {
        self.question_open = false;
        self.woken = false;
        self.at_prompt = None;
        self.earlier_line = None;
        self.line = None;
        self.growing_since = None;
    }

    /// What a scenario with this prompt may do now.
    pub fn decide(&mut self, now: Moment, prompt: &DeclaredPrompt, wake: Wake) -> Decision {
        if self.attached > 0 {
            return Decision::Refuse(Refusal::Attached);
        }
        if !self.declared.contains(prompt) {
            self.declared.push(prompt.clone());
        }
        let known = self.line.as_ref().or(self.earlier_line.as_ref());
        if let Some(kind) = known.and_then(|line| forbidden(line)) {
            return Decision::Refuse(Refusal::Forbidden(kind));
        }
        if let Some(line) = known.filter(|line| prompt.waits_at(line)) {
            self.at_prompt.get_or_insert_with(|| line.clone());
        }
        if let Some(since) = self.growing_since
            && now.saturating_sub(since) >= ONE_WRITE
        {
            self.last_foreign = self.last_foreign.max(Some(since));
        }
        if let Some(since) = self.last_foreign.map(|at| now.saturating_sub(at))
            && since < QUIET_OF_OTHERS
        {
            return Decision::Wait(QUIET_OF_OTHERS - since, Refusal::ForeignTyping);
        }
        if self.question_open {
            return Decision::Refuse(Refusal::QuestionOpen);
        }
        if self.at_prompt.as_ref().is_some_and(|p| prompt.starts_or_ends(p)) {
            return Decision::Type;
        }
        let why = if known.is_some() { Refusal::NoPrompt } else { Refusal::NoText };
        if wake == Wake::Never || self.woken {
            return Decision::Refuse(why);
        }
        // Time starts with the actor: it must itself have listened for the 10 s.
        let silent = now.saturating_sub(self.last_output.unwrap_or(Duration::ZERO));
        if silent < SILENCE {
            return Decision::Wait(SILENCE - silent, why);
        }
        Decision::SendCr
    }

    /// The prompt without what is written behind it.
    fn prompt_part(&self, line: &str) -> String {
        self.declared
            .iter()
            .find(|p| line.starts_with(p.as_str()) && !p.waits_at(line))
            .map_or_else(|| line.to_owned(), |p| p.as_str().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn hash() -> DeclaredPrompt {
        DeclaredPrompt::new("# ").unwrap()
    }

    fn say(guard: &mut TypingGuard, now: Moment, line: &str) {
        guard.output(now, &[line.to_owned()], false);
    }

    fn with(line: &str) -> TypingGuard {
        let mut guard = TypingGuard::new(vec![hash()], None);
        say(&mut guard, s(100), line);
        guard
    }

    #[test]
    fn rule_1_it_only_listens_until_the_declared_prompt_is_seen() {
        let mut guard = with("Starting cron...");
        assert_eq!(guard.decide(s(101), &hash(), Wake::Never), Decision::Refuse(Refusal::NoPrompt));
        say(&mut guard, s(102), "root@vm:~#");
        assert_eq!(guard.decide(s(102), &hash(), Wake::Never), Decision::Type);
        let other = DeclaredPrompt::new("$").unwrap();
        assert_eq!(guard.decide(s(102), &other, Wake::Never), Decision::Refuse(Refusal::NoPrompt));
    }

    #[test]
    fn rule_1_lines_of_a_background_program_do_not_end_the_prompt_and_a_boot_does() {
        let prompt = DeclaredPrompt::new("/ # ").unwrap();
        let mut guard = TypingGuard::new(vec![prompt.clone()], None);
        guard.output(s(1), &["/ #".into()], false);
        guard.output(s(2), &["/ # label 1".into()], true);
        guard.output(s(4), &["label 2".into()], true);
        assert_eq!(guard.decide(s(5), &prompt, Wake::Never), Decision::Type);
        guard.restarted();
        assert_eq!(guard.decide(s(6), &prompt, Wake::Never), Decision::Refuse(Refusal::NoText));
        guard.output(s(7), &["/ # label 1".into(), "vm login:".into()], false);
        guard.output(s(8), &["cron: started".into()], true);
        assert_eq!(guard.decide(s(9), &prompt, Wake::Never), Decision::Refuse(Refusal::NoPrompt));
    }

    #[test]
    fn rule_2_a_person_pauses_us_while_attached_and_for_60_s_after() {
        let mut guard = with("#");
        guard.attach(s(100));
        assert_eq!(guard.decide(s(300), &hash(), Wake::Cr), Decision::Refuse(Refusal::Attached));
        guard.detach(s(300));
        assert_eq!(guard.decide(s(330), &hash(), Wake::Cr), Decision::Wait(s(30), Refusal::ForeignTyping));
        assert_eq!(guard.decide(s(360), &hash(), Wake::Cr), Decision::Type);
    }

    #[test]
    fn rule_2_text_that_grows_on_the_prompt_is_foreign_typing_unless_it_is_ours() {
        let mut guard = with("root@vm:~#");
        assert_eq!(guard.decide(s(101), &hash(), Wake::Never), Decision::Type);
        say(&mut guard, s(109), "root@vm:~# l");
        say(&mut guard, s(110), "root@vm:~# ls");
        say(&mut guard, s(111), "root@vm:~#");
        assert_eq!(guard.decide(s(120), &hash(), Wake::Never), Decision::Wait(s(50), Refusal::ForeignTyping));
        let mut ours = with("root@vm:~#");
        assert_eq!(ours.decide(s(101), &hash(), Wake::Never), Decision::Type);
        ours.asked();
        say(&mut ours, s(110), "root@vm:~# uptime");
        say(&mut ours, s(111), "root@vm:~#");
        ours.answered();
        assert_eq!(ours.decide(s(112), &hash(), Wake::Never), Decision::Type);
    }

    #[test]
    fn rule_3_a_prompt_of_an_earlier_run_counts_until_the_guest_starts_anew() {
        let mut guard = TypingGuard::new(vec![hash()], Some("root@vm:~#".into()));
        assert_eq!(guard.decide(s(0), &hash(), Wake::Never), Decision::Type);
        guard.restarted();
        assert_eq!(guard.decide(s(2), &hash(), Wake::Never), Decision::Refuse(Refusal::NoText));
    }

    #[test]
    fn rule_4_a_cr_is_sent_once_after_10_s_of_silence_and_only_where_allowed() {
        let mut guard = TypingGuard::new(vec![hash()], None);
        assert_eq!(guard.decide(s(20), &hash(), Wake::Never), Decision::Refuse(Refusal::NoText));
        assert_eq!(guard.decide(s(4), &hash(), Wake::Cr), Decision::Wait(s(6), Refusal::NoText));
        assert_eq!(guard.decide(s(10), &hash(), Wake::Cr), Decision::SendCr);
        guard.sent_cr();
        assert_eq!(guard.decide(s(40), &hash(), Wake::Cr), Decision::Refuse(Refusal::NoText));
        say(&mut guard, s(41), "/ #");
        assert_eq!(guard.decide(s(41), &hash(), Wake::Cr), Decision::Type);
    }

    #[test]
    fn rule_4_and_5_no_byte_goes_to_a_forbidden_prompt() {
        for line in ["debian login:", "Password:", "grub>", "Please unlock disk x:"] {
            for mut guard in [with(line), TypingGuard::new(vec![hash()], Some(line.to_owned()))] {
                for prompt in [hash(), DeclaredPrompt::new(line).unwrap()] {
                    let got = guard.decide(s(500), &prompt, Wake::Cr);
                    assert!(matches!(got, Decision::Refuse(Refusal::Forbidden(_))), "{line}: {got:?}");
                }
            }
        }
    }

    #[test]
    fn rule_6_an_open_question_is_not_followed_by_another() {
        let mut guard = with("#");
        assert_eq!(guard.decide(s(101), &hash(), Wake::Cr), Decision::Type);
        guard.asked();
        assert_eq!(guard.decide(s(200), &hash(), Wake::Cr), Decision::Refuse(Refusal::QuestionOpen));
        guard.answered();
        assert_eq!(guard.decide(s(201), &hash(), Wake::Cr), Decision::Type);
    }
}
