//! A small synchronous QMP client of the fixture's own, on a socket that the agent never sees.
//!
//! It exists so that tests can command QEMU while the agent's socket is free, held or silent.

use super::line::LineSocket;
use super::{Error, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a command may take unless the caller says otherwise.
const USUAL_WAIT: Duration = Duration::from_secs(20);
/// Events kept; older ones go first.
const MOST_EVENTS: usize = 10_000;

/// One asynchronous event as QEMU sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `STOP`, `RESUME`, `GUEST_PANICKED`, ...
    pub name: String,
    /// The event's `data`, `null` when it has none.
    pub data: Value,
    /// When QEMU sent it: microseconds of the host's wall clock since 1970 (QMP's `timestamp`).
    pub at_us: u64,
}

/// A negotiated QMP session.
#[derive(Debug)]
pub struct Qmp {
    socket: LineSocket,
    next_id: u64,
    events: Vec<Event>,
}

impl Qmp {
    /// Connects and negotiates; fails when no greeting comes within `wait`.
    pub fn connect(path: &Path, wait: Duration) -> Result<Self> {
        let deadline = Instant::now() + wait;
        let mut socket = LineSocket::connect(path, deadline)?;
        let greeting = socket.next_line("QMP greeting", deadline)?;
        if !greeting.contains("\"QMP\"") {
            return Err(Error::Protocol {
                what: "QMP greeting",
                answer: greeting.chars().take(200).collect(),
            });
        }
        let mut qmp = Self { socket, next_id: 0, events: Vec::new() };
        qmp.execute_within("qmp_capabilities", json!({}), wait)?;
        Ok(qmp)
    }

    /// Runs `command` with `arguments` (a JSON object) and gives its `return`.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.execute_within(command, arguments, USUAL_WAIT)
    }

    /// As [`Qmp::execute`], with a deadline of the caller's.
    pub fn execute_within(&mut self, command: &str, arguments: Value, wait: Duration) -> Result<Value> {
        let deadline = Instant::now() + wait;
        self.next_id += 1;
        let id = self.next_id;
        let request = json!({ "execute": command, "arguments": arguments, "id": id });
        self.socket.send(&request.to_string(), deadline)?;
        loop {
            let mut reply = self.next_message(&format!("answer to {command}"), deadline)?;
            // An answer that came after its own deadline belongs to nobody.
            if reply.get("id").and_then(Value::as_u64) != Some(id) {
                continue;
            }
            if let Some(value) = reply.get_mut("return") {
                return Ok(value.take());
            }
            let reason = reply["error"]["desc"].as_str().unwrap_or("no reason given");
            return Err(Error::Qmp { command: command.to_owned(), reason: reason.to_owned() });
        }
    }

    /// Runs a command of the human monitor and gives its text, carriage returns removed.
    pub fn human(&mut self, command_line: &str) -> Result<String> {
        let text = self.execute("human-monitor-command", json!({ "command-line": command_line }))?;
        Ok(text.as_str().unwrap_or_default().replace('\r', ""))
    }

    /// The run state: `running`, `paused`, `postmigrate`, ...
    pub fn status(&mut self) -> Result<String> {
        let reply = self.execute("query-status", json!({}))?;
        Ok(reply["status"].as_str().unwrap_or_default().to_owned())
    }

    /// The events seen so far and not yet taken.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Waits for the event `name`; others are kept for [`Qmp::take_events`].
    pub fn wait_event(&mut self, name: &str, wait: Duration) -> Result<Event> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(at) = self.events.iter().position(|event| event.name == name) {
                return Ok(self.events.remove(at));
            }
            self.next_message(&format!("event {name}"), deadline)?;
        }
    }

    /// Reads one message; an event is also put on the list.
    fn next_message(&mut self, what: &str, deadline: Instant) -> Result<Value> {
        let line = self.socket.next_line(what, deadline)?;
        let message: Value = serde_json::from_str(&line)
            .map_err(|_| Error::Protocol { what: "QMP message", answer: line.chars().take(200).collect() })?;
        if let Some(name) = message.get("event").and_then(Value::as_str) {
            if self.events.len() >= MOST_EVENTS {
                self.events.remove(0);
            }
            self.events.push(Event {
                name: name.to_owned(),
                data: message.get("data").cloned().unwrap_or(Value::Null),
                at_us: at_us(&message),
            });
        }
        Ok(message)
    }
}

fn at_us(message: &Value) -> u64 {
    let part = |name: &str| message["timestamp"][name].as_u64().unwrap_or(0);
    part("seconds").saturating_mul(1_000_000).saturating_add(part("microseconds"))
}
