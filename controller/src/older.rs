//! The `vmward-controller` command as an older controller, for tests of a newer agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmward_controller::cli::main()
}
