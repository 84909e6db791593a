//! The prompt that a scenario declares, as the console's typing guard wants it.
//!
//! Configuration says it as a pattern over the end of a line; the guard compares the literal ends that
//! it stands for.

use crate::config::{GuestPolicy, ProbeSpec, Scenario, Wake, prompt_ends};
use crate::transport::console::{self as line, DeclaredPrompt};

/// The prompt of one scenario.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Whose.
    pub scenario: String,
    /// The ends of a line that are this prompt; empty when the pattern cannot be used.
    pub declared: Vec<DeclaredPrompt>,
    /// Whether one CR may raise it.
    pub wake: line::Wake,
    /// What the answer must contain.
    pub expect: crate::config::Pattern,
    /// The pattern as configured.
    pub pattern: String,
}

impl Prompt {
    /// The prompts of those scenarios that type something.
    pub fn of_scenarios(scenarios: &[Scenario], policy: &GuestPolicy) -> Vec<Prompt> {
        let one = |it: &Scenario| match &it.probe {
            ProbeSpec::ConsoleCommand(command) => {
                let pattern = policy.prompt.as_ref().unwrap_or(&command.prompt).as_str();
                Some(Prompt {
                    scenario: it.name.clone(),
                    declared: prompt_ends(pattern).iter().filter_map(|it| DeclaredPrompt::new(it)).collect(),
                    wake: match policy.wake.unwrap_or(command.wake) {
                        Wake::Never => line::Wake::Never,
                        Wake::Cr => line::Wake::Cr,
                    },
                    expect: command.expect.clone(),
                    pattern: pattern.to_owned(),
                })
            }
            _ => None,
        };
        scenarios.iter().filter_map(one).collect()
    }

    /// The one of its ends that waits at the last line of the console, else the first.
    pub fn fitting(&self, last_line: Option<&str>) -> Option<&DeclaredPrompt> {
        let waits = |it: &&DeclaredPrompt| last_line.is_some_and(|line| it.waits_at(line));
        self.declared.iter().find(waits).or(self.declared.first())
    }
}
