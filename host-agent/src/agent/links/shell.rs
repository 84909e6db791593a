//! Types a scenario's command on the console and reads what came of it.

use std::time::Duration;

use crate::agent::guest::seen::ShellReply;
use crate::transport::console::{Ask, AskError, Console, text};

use super::prompt::Prompt;

/// At most so much of a wrong answer is quoted.
const QUOTED: usize = 200;

/// Asks, within the scenario's timeout.
pub(super) async fn ask(
    console: Option<Console>,
    prompt: Option<Prompt>,
    command: String,
    within: Duration,
) -> ShellReply {
    let Some(console) = console else { return ShellReply::Unreachable("no console was found".to_owned()) };
    let Some(prompt) = prompt else {
        return ShellReply::Refused("the scenario declares no prompt".to_owned());
    };
    let last = text::last_line(&console.newest(4096));
    let Some(declared) = prompt.fitting(last.as_deref()) else {
        let why =
            format!("the prompt pattern {:?} is too wide to type at; write its literal end", prompt.pattern);
        return ShellReply::Refused(why);
    };
    let ask = Ask { command, prompt: declared.clone(), wake: prompt.wake, within };
    match console.ask(&ask).await {
        Ok(answer) if prompt.expect.regex().is_match(&answer.text) => {
            ShellReply::Answered { took: answer.took }
        }
        Ok(answer) => {
            let text: String = answer.text.trim().chars().take(QUOTED).collect();
            ShellReply::Said { text, took: answer.took }
        }
        Err(
            AskError::NoAnswer { waited } | AskError::StillOpen { waited } | AskError::NotTaken { waited },
        ) => ShellReply::Silent { waited },
        Err(AskError::NotAllowed(why)) => ShellReply::Refused(why.to_string()),
        Err(error @ AskError::BadCommand(_)) => ShellReply::Refused(error.to_string()),
        // The shell lives: it answered, and the answer was pushed out.
        Err(error @ AskError::Flooded) => ShellReply::Refused(error.to_string()),
        Err(error @ AskError::NotConnected(_)) => ShellReply::Unreachable(error.to_string()),
    }
}

impl super::Handles {
    /// Types the command of a scenario.
    pub fn shell(
        &self,
        scenario: &str,
        command: &str,
        within: Duration,
    ) -> crate::agent::guest::ports::Later<ShellReply> {
        let prompt = self.prompts.iter().find(|it| it.scenario == scenario).cloned();
        Box::pin(ask(self.console.clone(), prompt, command.to_owned(), within))
    }
}
