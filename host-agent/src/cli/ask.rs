//! What `round`, `probe` and `diagnose` share: the running agent is asked where there is one; without one
//! the same is done here and now.

use anyhow::{Result, bail};
use vmward_model::{Answer, Class};

use super::output::json;
use super::{Context, Exit, Form, Output};
use crate::agent::control::client::{self, ClientError};
use crate::agent::live::LiveAnswer;
use crate::agent::{once, paths};
use crate::config::Loaded;
use crate::target::{Target, discover};

/// Holds a round of one guest, or of all.
pub(super) fn round(cx: &Context, guest: Option<&str>, scenario: Option<&str>) -> Result<Vec<LiveAnswer>> {
    let loaded = cx.load()?;
    let socket = paths::control(&loaded.config.state);
    super::agent::runtime()?.block_on(async {
        let guests: Vec<String> = match guest {
            Some(guest) => vec![guest.to_owned()],
            None => match client::status(&socket).await {
                Ok(all) => all.into_iter().map(|it| it.guest.to_string()).collect(),
                Err(ClientError::NoAgent { .. }) => watched(&loaded),
                Err(error) => return Err(error.into()),
            },
        };
        let mut answers = Vec::new();
        for guest in guests {
            match client::round(&socket, &guest, scenario).await {
                Ok(more) => answers.extend(more),
                Err(ClientError::NoAgent { .. }) => {
                    let target = find(&loaded, &guest)?;
                    let scenario = scenario.map(str::to_owned);
                    answers.extend(once::round(loaded.clone(), target, scenario).await?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(answers)
    })
}

fn watched(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let targets = discover(config).targets;
    let watched = targets.into_iter().filter(|it| config.policy_for(&it.name, it.uuid).watch);
    watched.map(|it| it.id.to_string()).collect()
}

/// The guest of that name or UUID.
pub(super) fn find(loaded: &Loaded, guest: &str) -> Result<Target> {
    let targets = discover(&loaded.config).targets;
    let known: Vec<String> = targets.iter().map(|it| it.name.clone()).collect();
    let mut found: Vec<Target> =
        targets.into_iter().filter(|it| it.name == guest || it.id.to_string() == guest).collect();
    match (found.pop(), found.is_empty()) {
        (Some(target), true) => Ok(target),
        (Some(_), false) => bail!("several guests are called {guest:?}: use the UUID"),
        (None, _) => bail!("no guest is called {guest:?}; there are: {}", known.join(", ")),
    }
}

/// Shows answers. A failure weighs more than what cannot be told, and both more than what passed.
pub(super) fn show(answers: &[LiveAnswer], form: Form) -> Result<Exit> {
    if form == Form::Json {
        json(&answers)?;
    } else {
        let rows: Vec<[String; 5]> = answers
            .iter()
            .map(|it| {
                let (said, why) = match &it.answer.answer {
                    Answer::Pass => ("pass", String::new()),
                    Answer::Fail(why) => ("FAIL", why.clone()),
                    Answer::Unknown(why) => ("unknown", why.clone()),
                };
                let took = format!("{} ms", it.answer.took_ms);
                [it.name.clone(), it.answer.scenario.clone(), said.to_owned(), took, why]
            })
            .collect();
        let mut out = Output::new();
        if rows.is_empty() {
            out.line("no scenario was asked");
        } else {
            out.table(["GUEST", "SCENARIO", "ANSWER", "TOOK", "WHY"], &rows);
        }
        out.write()?;
    }
    let exits = answers.iter().map(|it| match it.answer.answer {
        Answer::Pass => Exit::Well,
        Answer::Unknown(_) => Exit::Unknown,
        Answer::Fail(_) => Exit::Finding,
    });
    // Of the numbers, 1 stands before 2.
    let worst = exits.max_by_key(|it| match it {
        Exit::Finding => 2,
        Exit::Unknown => 1,
        _ => 0,
    });
    Ok(worst.unwrap_or(Exit::Unknown))
}

/// The exit status that a final class gives.
pub(super) fn exit_of(class: Class) -> Exit {
    match class {
        Class::Well | Class::Busy => Exit::Well,
        Class::Suspect => Exit::Unknown,
        _ => Exit::Finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_that_means_trouble_is_a_finding() {
        for class in Class::ALL {
            let quiet = matches!(class, Class::Well | Class::Busy | Class::Suspect);
            assert_eq!(exit_of(*class) == Exit::Finding, !quiet, "{class}");
        }
        assert_eq!(exit_of(Class::Suspect), Exit::Unknown);
    }
}
