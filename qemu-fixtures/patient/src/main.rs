//! `patient`: everything that runs in a fixture guest besides the kernel and the shell.
//!
//! One static program in several roles. Started by the kernel it is PID 1; PID 1 and the control agent
//! start it again as `/init ROLE [ARGUMENTS]`, and each role takes its own name, so that the guest's
//! task list reads like a sentence. The protocol is described in the fixtures library (`patient.rs`).

mod app;
mod control;
mod fault;
mod init;
mod kmsg;
mod proc;
mod role;
mod shell;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let (name, result) = match arguments.as_slice() {
        _ if std::process::id() == 1 => ("init", init::run()),
        [_, name, rest @ ..] => (name.as_str(), role::run(name, rest)),
        _ => ("patient", Err(anyhow::anyhow!("started without a role"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            kmsg::write(kmsg::ERROR, &format!("{name}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
