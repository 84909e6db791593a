//! Another program, run on the same guest in the same run and measured the same way.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Runs `line` through the shell with `{pid}` and `{qmp}` filled in: wall time and exit, as a sample.
/// It is given up after `deadline`, because on a hung guest some programs never end.
pub fn run(line: &str, pid: u32, qmp: &str, deadline: Duration) -> Result<Value> {
    if line.trim().is_empty() {
        bail!("--peer needs a command line");
    }
    let filled = line.replace("{pid}", &pid.to_string()).replace("{qmp}", qmp);
    let begun = Instant::now();
    let mut child = Command::new("sh")
        .args(["-c", &filled])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("while starting the peer {filled:?}"))?;
    loop {
        if let Some(status) = child.try_wait().context("while waiting for the peer")? {
            return Ok(json!({ "peer_s": begun.elapsed().as_secs_f64(), "peer_exit": status.code() }));
        }
        if begun.elapsed() > deadline {
            child.kill().context("while ending the peer")?;
            child.wait().context("while waiting for the peer")?;
            return Ok(json!({ "peer_s": deadline.as_secs_f64(), "peer_exit": Value::Null }));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The sample of a run with what the peer took put into it.
pub fn beside(mut run: Value, peer: Option<Value>) -> Value {
    if let (Value::Object(run), Some(Value::Object(peer))) = (&mut run, peer) {
        run.extend(peer);
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_never_ends_is_given_up() {
        let sample = run("exec sleep 60", 1, "", Duration::from_millis(50)).unwrap();
        assert_eq!(sample["peer_exit"], Value::Null);
    }

    #[test]
    fn the_peer_is_told_the_process_and_the_socket() {
        let sample = run("test {pid} = 7 && test {qmp} = /q", 7, "/q", Duration::from_secs(10)).unwrap();
        assert_eq!(sample["peer_exit"], 0);
    }
}
