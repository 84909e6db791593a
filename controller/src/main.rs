//! The `vmward-controller` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmward_controller::cli::main()
}
