//! The prompt that a scenario declares, as the console's typing guard wants it.
//!
//! Configuration says it as a regular expression over the end of a line; the guard compares literal
//! ends. The shapes that prompts have are turned into those ends; one that cannot be is refused,
//! because a prompt that is taken too widely types into the wrong program.

use crate::config::{GuestPolicy, ProbeSpec, Scenario, Wake};
use crate::transport::console::{self as line, DeclaredPrompt};

/// At most so many ends come of one pattern.
const ENDS: usize = 16;

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
                    declared: ends(pattern).iter().filter_map(|it| DeclaredPrompt::new(it)).collect(),
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

/// The literal ends that a pattern stands for: literals, escaped literals and sets of literals, with
/// an optional blank and an anchor at the end. Empty when it holds anything else.
fn ends(pattern: &str) -> Vec<String> {
    let mut rest = pattern.strip_suffix('$').unwrap_or(pattern);
    if rest.ends_with('\\') {
        // The last `$` was a literal one.
        rest = pattern;
    }
    for blank in [" ?", " *", " +", r"\s*", r"\s?", r"\s+", " "] {
        rest = rest.strip_suffix(blank).unwrap_or(rest);
    }
    rest = rest.strip_prefix('^').unwrap_or(rest);
    let mut found = vec![String::new()];
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        let choices: Vec<char> = match c {
            '\\' => match chars.next() {
                Some(it) if !it.is_alphanumeric() => vec![it],
                _ => return Vec::new(),
            },
            '[' => {
                let set: String = chars.by_ref().take_while(|it| *it != ']').collect();
                if set.is_empty() || set.contains(['^', '-', '\\', '[', '&', '~']) {
                    return Vec::new();
                }
                set.chars().collect()
            }
            '.' | '*' | '+' | '?' | '(' | ')' | '|' | '{' | '}' | ']' | '^' | '$' => return Vec::new(),
            it => vec![it],
        };
        found = found.iter().flat_map(|head| choices.iter().map(move |it| format!("{head}{it}"))).collect();
        if found.len() > ENDS {
            return Vec::new();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_prompts_become_ends_and_the_rest_is_refused() {
        assert_eq!(ends("[#$] ?$"), ["#", "$"]);
        assert_eq!(ends("~ # $"), ["~ #"]);
        assert_eq!(ends(r"root@vm:~# $"), ["root@vm:~#"]);
        assert_eq!(ends(r"\$ ?$"), ["$"]);
        assert_eq!(ends(r"\$"), ["$"]);
        for wide in [".*# ?$", "(a|b)$", "[^#]$", r"\w+$", "[a-z]"] {
            assert!(ends(wide).is_empty(), "{wide}");
        }
    }
}
