//! The `vmward` command as an older agent, for tests of a newer controller.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmward::cli::main(std::env::args_os())
}
