//! Waiting for a guest's words on its console, and telling a boot that died from one that is slow.

use super::console::Watch;
use super::guest::{ConsoleAddress, Guest};
use super::{Error, Result};
use std::time::{Duration, Instant};

/// Console text that ends a boot before its ready mark.
const DEADLY: [&str; 3] = ["PANIC: double fault", "Kernel panic - not syncing", "general protection fault"];

impl Guest {
    /// Waits until the console prints the ready mark.
    pub fn wait_ready(&mut self) -> Result<()> {
        let mark = self.builder.ready_mark.clone();
        let wait = self.builder.ready_wait;
        let mut watch = self.watch_console()?;
        let deadline = Instant::now() + wait;
        loop {
            watch.refresh();
            if watch.contains(&mark) {
                self.ready = true;
                return Ok(());
            }
            let dead = watch.line_with(&DEADLY);
            let ended = self.check_alive().err().map(|err| err.to_string());
            let late =
                (Instant::now() > deadline).then(|| format!("no `{mark}` within {} s", wait.as_secs()));
            if let Some(last) = dead.or(ended).or(late) {
                return Err(Error::Boot {
                    name: self.name().to_owned(),
                    attempts: self.boots,
                    last,
                    tail: watch.tail(6),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the console has printed `mark` at any time so far.
    pub fn wait_console(&mut self, mark: &str, wait: Duration) -> Result<()> {
        let mut watch = self.watch_console()?;
        let deadline = Instant::now() + wait;
        loop {
            watch.refresh();
            if watch.contains(mark) {
                return Ok(());
            }
            self.check_alive()?;
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: format!("`{mark}` on the console, which ends with {}", watch.tail(4)),
                    waited: wait,
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn watch_console(&mut self) -> Result<Watch> {
        match (self.console_log(), self.console()?) {
            (Some(log), _) => Watch::log_file(&log),
            (None, ConsoleAddress::Unix(path)) => Watch::socket(&path),
            (None, other) => {
                Err(Error::Setup(format!("a console on {other:?} without a log file cannot be watched")))
            }
        }
    }

    /// Fails with [`Error::Voided`] when a ready guest took a double fault of the emulator's.
    /// Call it before anything that was seen is believed.
    pub fn check_not_void(&mut self) -> Result<()> {
        let Some(log) = self.console_log().filter(|_| self.ready) else {
            return Ok(());
        };
        let mut watch = Watch::log_file(&log)?;
        watch.refresh();
        watch.line_with(&["PANIC: double fault"]).map_or(Ok(()), |line| Err(Error::Voided { line }))
    }
}
