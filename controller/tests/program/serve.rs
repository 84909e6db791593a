//! Starts the program and ends it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A controller that runs.
pub struct Controller {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub pid: i32,
}

/// The program.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_vmward-controller"))
}

/// Runs a command of the program to its end.
pub fn run(data: &Path, arguments: &[&str]) -> Output {
    Command::new(program()).arg("--data").arg(data).args(arguments).output().unwrap()
}

impl Controller {
    /// On a free port of 127.0.0.1.
    pub fn start(data: &Path) -> Controller {
        let mut command = Command::new(program());
        command.arg("--data").arg(data).args(["serve", "--listen", "127.0.0.1:0"]);
        Controller::spawn(command)
    }

    /// From a command that says so itself.
    pub fn spawn(mut command: Command) -> Controller {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        // Ends with the process, at the latest.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("//").next().unwrap().parse();
        let address = address.unwrap_or_else(|error| {
            let _ = child.kill();
            panic!("the controller said {line:?}: {error}; it ended with {:?}", child.wait())
        });
        let pid = i32::try_from(child.id()).unwrap();
        Controller { child, address, pid }
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn stop(mut self) -> ExitStatus {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), nix::sys::signal::SIGTERM).unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
