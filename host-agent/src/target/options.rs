//! QEMU's option strings: `key=value,key=value` with `,,` for a comma, or JSON.

use std::collections::BTreeMap;

/// Deepest JSON that is followed.
const MAX_DEPTH: usize = 8;

/// Keys and values of one option. A later key wins, as in QEMU.
pub(super) type Options = BTreeMap<String, String>;

/// Splits `text`. The first part without `=` is the value of `implied` where the option has such a key
/// (`-name web`), any other is a flag that is on (`server`) or, with `no` before it, off (`nowait`).
pub(super) fn options(text: &str, implied: &str) -> Options {
    let trimmed = text.trim_start();
    if trimmed.starts_with('{') {
        return json(trimmed);
    }
    let mut all = Options::new();
    for (n, part) in split_commas(text).into_iter().enumerate() {
        match part.split_once('=') {
            Some((key, value)) => all.insert(key.to_owned(), value.to_owned()),
            None if n == 0 && !implied.is_empty() => all.insert(implied.to_owned(), part),
            None => match part.strip_prefix("no") {
                Some(flag) if !flag.is_empty() => all.insert(flag.to_owned(), "off".to_owned()),
                _ => all.insert(part, "on".to_owned()),
            },
        };
    }
    all
}

/// Parts between single commas; a double one is a comma of the part.
pub(super) fn split_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.retain(|it| !it.is_empty());
    parts
}

/// A JSON object, flattened: `{"server":{"path":"/x"}}` gives `server.path`.
fn json(text: &str) -> Options {
    let mut all = Options::new();
    if let Ok(value) = serde_json::from_str(text) {
        flatten("", &value, 0, &mut all);
    }
    all
}

fn flatten(prefix: &str, value: &serde_json::Value, depth: usize, all: &mut Options) {
    use serde_json::Value;
    let key = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
    match value {
        _ if depth > MAX_DEPTH => {}
        Value::Object(map) => map.iter().for_each(|(name, it)| flatten(&key(name), it, depth + 1, all)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, it)| flatten(&key(&n.to_string()), it, depth + 1, all));
        }
        Value::Bool(on) => drop(all.insert(prefix.to_owned(), if *on { "on" } else { "off" }.to_owned())),
        Value::String(text) => drop(all.insert(prefix.to_owned(), text.clone())),
        Value::Number(number) => drop(all.insert(prefix.to_owned(), number.to_string())),
        Value::Null => {}
    }
}

/// Whether a flag is on, in any of QEMU's spellings.
pub(super) fn is_on(options: &Options, key: &str) -> bool {
    options.get(key).is_some_and(|it| matches!(it.as_str(), "on" | "yes" | "true" | "y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(options: &'a Options, key: &str) -> &'a str {
        options.get(key).map_or("", String::as_str)
    }

    #[test]
    fn a_double_comma_is_a_comma_of_the_value() {
        let it = options("guest=a,,b,debug-threads=on", "guest");
        assert_eq!(get(&it, "guest"), "a,b");
        assert_eq!(get(&it, "debug-threads"), "on");
        assert_eq!(get(&options("web,process=x", "guest"), "guest"), "web");
    }

    #[test]
    fn old_flags_mean_on_and_off() {
        let it = options("socket,path=/x,server,nowait", "backend");
        assert!(is_on(&it, "server"));
        assert_eq!(get(&it, "wait"), "off");
    }

    #[test]
    fn json_is_read_like_dotted_keys() {
        let it =
            options(r#"{"driver":"nbd","server":{"type":"unix","path":"/n"},"read-only":true}"#, "driver");
        assert_eq!((get(&it, "server.path"), is_on(&it, "read-only")), ("/n", true));
        assert!(options("{broken", "driver").is_empty());
    }
}
