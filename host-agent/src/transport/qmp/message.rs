//! What one QMP line says: greeting, answer, event, or garbage.
//!
//! Total: any bytes give a [`Message`]. Events that nobody knows are kept as raw JSON, because a
//! newer QEMU has events that our schema lacks and none of them may cost us the connection.

use serde_json::{Map, Value};

/// At most this much of a line is quoted in an error or a log.
const SAMPLE: usize = 160;
/// Characters of a name or a sentence of QEMU that are kept. Its own have a few hundred at most; what
/// only claims to be a QEMU could fill memory, and a report beyond what readers accept.
const MAX_TEXT: usize = 1000;

/// QEMU's greeting (QMP specification 2.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Greeting {
    /// `major.minor.micro` of QEMU, as it says.
    pub qemu: String,
    /// Distribution's package string, may be empty.
    pub package: String,
    /// True when out-of-band execution is offered.
    pub oob: bool,
}

/// A refusal by QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Error class, such as `GenericError` or `CommandNotFound`.
    pub class: String,
    /// QEMU's words.
    pub desc: String,
}

/// One line, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first line that QEMU sends.
    Greeting(Greeting),
    /// An answer; `id` is `None` when QEMU could not read our request or the peer is no QEMU.
    Answer {
        /// The id that we sent.
        id: Option<u64>,
        /// What came back.
        result: Result<Value, Refusal>,
    },
    /// An asynchronous event, known or not.
    Event {
        /// Its name, such as `STOP`.
        name: String,
        /// Its `data`, an empty object when there is none.
        data: Value,
        /// QEMU's own time stamp in microseconds since the epoch.
        qemu_time_us: Option<i64>,
    },
    /// Neither of these; the start of the line, escaped.
    Garbage(String),
}

/// Reads one line.
#[must_use]
pub fn parse(line: &[u8]) -> Message {
    let Ok(Value::Object(mut object)) = serde_json::from_slice::<Value>(line) else {
        return Message::Garbage(sample(line));
    };
    if let Some(Value::Object(qmp)) = object.get("QMP") {
        return Message::Greeting(greeting(qmp));
    }
    if let Some(name) = object.get("event").and_then(Value::as_str) {
        let name = short(name);
        let qemu_time_us = object.get("timestamp").and_then(time_us);
        let data = object.remove("data").unwrap_or_else(|| Value::Object(Map::new()));
        return Message::Event { name, data, qemu_time_us };
    }
    let id = object.get("id").and_then(Value::as_u64);
    if let Some(value) = object.remove("return") {
        return Message::Answer { id, result: Ok(value) };
    }
    if let Some(Value::Object(error)) = object.get("error") {
        let field = |name| text(error.get(name));
        return Message::Answer { id, result: Err(Refusal { class: field("class"), desc: field("desc") }) };
    }
    Message::Garbage(sample(line))
}

/// The start of a line as printable ASCII.
#[must_use]
pub fn sample(line: &[u8]) -> String {
    let part = line.get(..SAMPLE.min(line.len())).unwrap_or_default();
    part.escape_ascii().to_string()
}

fn greeting(qmp: &Map<String, Value>) -> Greeting {
    let version = qmp.get("version");
    let number = |name| version.and_then(|v| v.get("qemu")).and_then(|q| q.get(name)).and_then(Value::as_u64);
    let oob =
        qmp.get("capabilities").and_then(Value::as_array).is_some_and(|list| list.iter().any(|c| c == "oob"));
    let qemu = match (number("major"), number("minor"), number("micro")) {
        (Some(major), Some(minor), Some(micro)) => format!("{major}.{minor}.{micro}"),
        _ => String::new(),
    };
    Greeting { qemu, package: text(version.and_then(|v| v.get("package"))), oob }
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).map(short).unwrap_or_default()
}

/// The text, or its beginning.
#[must_use]
pub fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

fn time_us(stamp: &Value) -> Option<i64> {
    let seconds = stamp.get("seconds")?.as_i64()?;
    let micros = stamp.get("microseconds")?.as_i64()?;
    // QEMU sends -1 for both when the host's clock cannot be read.
    (seconds >= 0 && micros >= 0).then(|| seconds.checked_mul(1_000_000)?.checked_add(micros)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_peer_that_says_megabytes_where_a_word_is_due_is_cut_short() {
        let long = "x".repeat(3 << 20);
        let refused = serde_json::json!({ "id": 1, "error": { "class": long, "desc": long } });
        let Message::Answer { result: Err(refusal), .. } = parse(refused.to_string().as_bytes()) else {
            panic!("a refusal is an answer")
        };
        assert!(refusal.class.len() <= MAX_TEXT && refusal.desc.len() <= MAX_TEXT);
        let event = serde_json::json!({ "event": long, "data": {} });
        let Message::Event { name, .. } = parse(event.to_string().as_bytes()) else { panic!("an event") };
        assert_eq!(name.len(), MAX_TEXT);
    }

    #[test]
    fn the_greeting_of_qemu_7_2_is_read() {
        let line = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, "capabilities": ["oob"]}}"#;
        assert_eq!(
            parse(line),
            Message::Greeting(Greeting { qemu: "7.2.22".into(), package: "Debian 1:7.2".into(), oob: true })
        );
    }

    #[test]
    fn an_event_that_nobody_knows_is_kept_whole() {
        let line =
            br#"{"timestamp": {"seconds": 2, "microseconds": 5}, "event": "NEW_THING", "data": {"a": [1]}}"#;
        let Message::Event { name, data, qemu_time_us } = parse(line) else {
            panic!("no event");
        };
        assert_eq!(name, "NEW_THING");
        assert_eq!(data, serde_json::json!({"a": [1]}));
        assert_eq!(qemu_time_us, Some(2_000_005));
    }

    #[test]
    fn nested_brackets_do_not_overflow_the_stack() {
        assert!(matches!(parse(&[b'['; 100_000]), Message::Garbage(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_message(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_json_gives_a_message(key in "(QMP|event|return|error|id|timestamp|data)", value in "[-0-9a-z{}\\[\\]\":,]{0,40}") {
            let _ = parse(format!("{{\"{key}\": {value}}}").as_bytes());
        }
    }
}
