//! The state machine of one scenario of one guest.

use std::collections::VecDeque;

use vmward_model::{Answer, Class, Confidence, Evidence, Stamp};

use super::Rule;

/// Where a scenario stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not passed in this life of the guest: nothing is known to be expected.
    Untried,
    /// It passed and its rule is not met.
    Well,
    /// Its rule was met and it has not recovered since.
    Failed,
}

/// One round's answer, with what it says of the class should it count against the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// When it was asked.
    pub at: Stamp,
    /// The answer of the whole round.
    pub answer: Answer,
    /// The class that a failure points at.
    pub class: Class,
    /// How sure a failure makes that class.
    pub confidence: Confidence,
    /// A failure in this round alarms although the scenario never passed: the guest or QEMU said
    /// so itself, or a boot deadline is over.
    pub alarms_untried: bool,
}

/// A rule that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When the first round that counted was asked.
    pub first: Stamp,
    /// The class that the weightiest of the failed rounds points at.
    pub class: Class,
    /// How sure it is.
    pub confidence: Confidence,
    /// The rounds in the window that failed or passed, oldest first.
    pub evidence: Vec<Evidence>,
}

/// What a round changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The scenario passed for the first time in this life of the guest.
    FirstPass,
    /// The rule was met just now.
    Failed(Failure),
    /// The scenario is well again.
    Recovered,
}

/// What a scenario of a guest did over its last rounds.
#[derive(Clone, Debug)]
pub struct Watch {
    scenario: String,
    rule: Rule,
    standing: Standing,
    window: VecDeque<Round>,
    passes: u32,
}

impl Watch {
    /// A scenario that was never asked.
    pub fn new(scenario: impl Into<String>, rule: Rule) -> Watch {
        Watch {
            scenario: scenario.into(),
            rule,
            standing: Standing::Untried,
            window: VecDeque::new(),
            passes: 0,
        }
    }

    /// One that is known to have passed in this life of the guest, from before a restart of the
    /// agent; `failed` when an incident of it is still open.
    pub fn restore(mut self, failed: bool) -> Watch {
        self.standing = if failed { Standing::Failed } else { Standing::Well };
        self
    }

    /// Name of the scenario.
    pub fn scenario(&self) -> &str {
        &self.scenario
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Takes the answer of a round.
    pub fn observe(&mut self, round: Round) -> Change {
        let answer = round.answer.clone();
        while self.window.len() >= self.rule.of() as usize {
            self.window.pop_front();
        }
        self.window.push_back(round);
        match answer {
            Answer::Unknown(_) => Change::None,
            Answer::Pass => self.passed(),
            Answer::Fail(_) => {
                self.passes = 0;
                self.failed()
            }
        }
    }

    /// Takes a failure that needs no second round: the host or the kernel says it with certainty.
    pub fn certain(&mut self, round: Round) -> Change {
        if !matches!(round.answer, Answer::Fail(_)) || self.standing == Standing::Failed {
            return self.observe(round);
        }
        while self.window.len() >= self.rule.of() as usize {
            self.window.pop_front();
        }
        let failure = Failure {
            first: round.at,
            class: round.class,
            confidence: round.confidence,
            evidence: Vec::new(),
        };
        self.window.push_back(round);
        self.standing = Standing::Failed;
        self.passes = 0;
        Change::Failed(Failure { evidence: self.evidence(), ..failure })
    }

    /// What came before is no longer held against the guest: it was paused, migrated or reset.
    /// A scenario that has failed stays failed until it passes.
    pub fn excuse(&mut self) {
        self.window.clear();
    }

    /// The guest was started again: a scenario has to pass again before it may fail.
    pub fn new_life(&mut self) {
        self.window.clear();
        self.passes = 0;
        self.standing = Standing::Untried;
    }

    fn passed(&mut self) -> Change {
        self.passes = self.passes.saturating_add(1);
        match self.standing {
            Standing::Well => Change::None,
            Standing::Untried => {
                self.standing = Standing::Well;
                // What failed before the first pass was the boot.
                self.window.clear();
                Change::FirstPass
            }
            Standing::Failed if self.passes >= self.rule.recover() => {
                self.standing = Standing::Well;
                self.window.clear();
                Change::Recovered
            }
            Standing::Failed => Change::None,
        }
    }

    fn failed(&mut self) -> Change {
        let counts = |it: &&Round| {
            matches!(it.answer, Answer::Fail(_)) && (self.standing == Standing::Well || it.alarms_untried)
        };
        let failed: Vec<&Round> = self.window.iter().filter(counts).collect();
        if self.standing == Standing::Failed || (failed.len() as u64) < u64::from(self.rule.fails()) {
            return Change::None;
        }
        let heaviest = failed.iter().max_by_key(|it| (super::weight(it.class), it.confidence));
        let (Some(first), Some(heaviest)) = (failed.first(), heaviest) else {
            return Change::None;
        };
        let failure = Failure {
            first: first.at,
            class: heaviest.class,
            confidence: heaviest.confidence,
            evidence: self.evidence(),
        };
        self.standing = Standing::Failed;
        Change::Failed(failure)
    }

    fn evidence(&self) -> Vec<Evidence> {
        let source = format!("probe:{}", self.scenario);
        let one = |round: &Round| {
            let (text, supports) = match &round.answer {
                Answer::Fail(why) => (why.clone(), true),
                Answer::Pass => ("passed".to_owned(), false),
                Answer::Unknown(_) => return None,
            };
            let text = format!("{}: {text}", round.at.utc.strftime("%H:%M:%S"));
            Some(Evidence { source: source.clone(), text, supports })
        };
        self.window.iter().filter_map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(n: u64, answer: Answer) -> Round {
        let utc = jiff::Timestamp::from_second(1_700_000_000 + i64::try_from(n).unwrap()).unwrap();
        let at = Stamp { utc, mono_ms: n * 1000 };
        Round { at, answer, class: Class::Suspect, confidence: Confidence::Likely, alarms_untried: false }
    }

    fn fail() -> Answer {
        Answer::Fail("no answer".into())
    }

    fn run(watch: &mut Watch, answers: &[Answer]) -> Vec<Change> {
        (0..).zip(answers).map(|(n, it)| watch.observe(round(n, it.clone()))).collect()
    }

    #[test]
    fn two_of_three_fails_on_the_second_failure_and_recovers_after_two_passes() {
        let mut watch = Watch::new("shell", Rule::new(2, 3, 2).unwrap());
        let seen = run(&mut watch, &[Answer::Pass, fail(), Answer::Pass, fail()]);
        assert_eq!(seen.first(), Some(&Change::FirstPass));
        let Some(Change::Failed(failure)) = seen.last() else { panic!("{seen:?}") };
        assert_eq!(failure.first.mono_ms, 1000);
        assert_eq!(failure.evidence.iter().filter(|it| it.supports).count(), 2);
        let seen = run(&mut watch, &[Answer::Pass, fail(), Answer::Pass, Answer::Pass]);
        assert_eq!(seen, [Change::None, Change::None, Change::None, Change::Recovered]);
    }

    #[test]
    fn a_guest_that_never_passed_is_not_called_failed() {
        let mut watch = Watch::new("shell", Rule::new(1, 1, 1).unwrap());
        assert!(run(&mut watch, &vec![fail(); 50]).iter().all(|it| *it == Change::None));
        assert_eq!(watch.standing(), Standing::Untried);
    }

    #[test]
    fn what_the_guest_says_itself_alarms_at_once() {
        let mut watch = Watch::new("kernel", Rule::AT_ONCE);
        let mut panic = round(0, Answer::Fail("Kernel panic".into()));
        panic.alarms_untried = true;
        panic.class = Class::Panicked;
        let Change::Failed(failure) = watch.observe(panic) else { panic!("not noticed") };
        assert_eq!(failure.class, Class::Panicked);
    }

    #[test]
    fn failures_from_before_a_pause_do_not_add_up_with_those_after_it() {
        let mut watch = Watch::new("label", Rule::new(2, 3, 1).unwrap());
        run(&mut watch, &[Answer::Pass, fail()]);
        watch.excuse();
        assert_eq!(watch.observe(round(9, fail())), Change::None);
    }

    fn answers() -> impl Strategy<Value = Vec<Answer>> {
        let one = prop_oneof![Just(Answer::Pass), Just(fail()), Just(Answer::Unknown("busy".into()))];
        proptest::collection::vec(one, 0..200)
    }

    fn rules() -> impl Strategy<Value = Rule> {
        (1u32..6, 0u32..6, 1u32..5).prop_map(|(n, more, recover)| Rule::new(n, n + more, recover).unwrap())
    }

    proptest! {
        #[test]
        fn unknown_answers_never_open_an_incident(count in 0usize..300, rule in rules()) {
            let mut watch = Watch::new("s", rule).restore(false);
            for change in run(&mut watch, &vec![Answer::Unknown("held".into()); count]) {
                prop_assert_eq!(change, Change::None);
            }
        }

        #[test]
        fn an_unknown_answer_is_never_worse_for_the_guest_than_a_failure(list in answers(), rule in rules()) {
            let softer: Vec<Answer> = list.iter().enumerate().map(|(i, it)| match it {
                Answer::Fail(_) if i % 3 == 0 => Answer::Unknown("held".into()),
                other => other.clone(),
            }).collect();
            let failures = |list: &[Answer]| {
                let seen = run(&mut Watch::new("s", rule).restore(false), list);
                seen.iter().position(|it| matches!(it, Change::Failed(_)))
            };
            if let Some(soft) = failures(&softer) {
                prop_assert!(failures(&list).is_some_and(|hard| hard <= soft));
            }
        }

        #[test]
        fn it_never_flaps_without_a_cause(list in answers(), rule in rules()) {
            let mut watch = Watch::new("s", rule);
            // Counted here by another way than in the watch: the rounds since the last change.
            let mut since: Vec<Answer> = Vec::new();
            for (n, answer) in (0..).zip(&list) {
                let before = watch.standing();
                let change = watch.observe(round(n, answer.clone()));
                since.push(answer.clone());
                match change {
                    Change::None => prop_assert_eq!(before, watch.standing()),
                    Change::FirstPass => {
                        prop_assert_eq!(before, Standing::Untried);
                        prop_assert_eq!(answer, &Answer::Pass);
                        since.clear();
                    }
                    Change::Failed(_) => {
                        prop_assert_eq!(before, Standing::Well);
                        prop_assert!(matches!(answer, Answer::Fail(_)));
                        let last = since.iter().rev().take(rule.of() as usize);
                        let fails = last.filter(|it| matches!(it, Answer::Fail(_))).count();
                        prop_assert!(fails as u32 >= rule.fails());
                        since.clear();
                    }
                    Change::Recovered => {
                        prop_assert_eq!(before, Standing::Failed);
                        let tail = since.iter().rev().filter(|it| !matches!(it, Answer::Unknown(_)));
                        let passes = tail.take_while(|it| **it == Answer::Pass).count();
                        prop_assert!(passes as u32 >= rule.recover());
                        since.clear();
                    }
                }
            }
        }
    }
}
