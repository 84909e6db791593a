//! The `vmward` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmward::cli::main(std::env::args_os())
}
