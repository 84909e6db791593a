//! The files of the bundle: what they are, how they were got, who may see them, and where they are.

use vmward_model::{Artifact, Sensitivity};

use super::section as make;
use crate::chart::{Chart, Place, Raw};
use crate::document::{Block, Section};
use crate::value::{Form, Href, Tone, Value};

/// Artifacts shown.
const MAX_ARTIFACTS: usize = 400;

pub(super) fn section(chart: &Chart<'_>, place: &Place) -> Section {
    let all = &chart.manifest.artifacts;
    if all.is_empty() {
        return make("artifacts", "Raw artifacts", Vec::new());
    }
    let rows = all.iter().take(MAX_ARTIFACTS).map(|it| {
        let sensitivity = match it.sensitivity {
            Sensitivity::Status => Value::badge("status", Tone::Quiet),
            Sensitivity::Text => Value::badge("text", Tone::Quiet),
            Sensitivity::Memory => Value::badge("memory", Tone::Warn),
        };
        let cut = if it.truncated { " (cut)" } else { "" };
        let from = &it.provenance;
        vec![
            Value::from(format!("{}/{}", from.capture, it.kind)),
            Value::number(format!("{}{cut}", bytes(it.size))),
            sensitivity,
            Value::from(format!("{}, {:?}", from.transport.name(), from.rung)),
            Value::time(from.at.utc),
            file(it, &place.raw),
        ]
    });
    let head = vec!["artifact", "size", "sensitivity", "got by", "begun", "file"];
    let mut blocks = vec![Block::Table { head, rows: rows.collect() }];
    if all.len() > MAX_ARTIFACTS {
        let text = format!("{} more are in the manifest.", all.len() - MAX_ARTIFACTS);
        blocks.push(Block::Para(text.into()));
    }
    make("artifacts", "Raw artifacts", blocks)
}

pub(super) fn file(artifact: &Artifact, raw: &Raw) -> Value {
    let name = artifact.sha256.as_str();
    match raw {
        Raw::InBundle => Value::code(format!("artifacts/{name}")),
        Raw::OnController { withheld } if withheld.contains(&artifact.sha256) => {
            "withheld by the host's configuration".into()
        }
        Raw::OnController { .. } => {
            let to = Href::to("/api/v1/artifacts").join(name);
            Value { text: format!("{}…", name.get(..12).unwrap_or(name)).into(), form: Form::Download(to) }
        }
    }
}

/// `17 B`, `1.5 KiB`, `2.0 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const KIB: f64 = 1024.0;
    let size = count as f64;
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", size / KIB),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", size / KIB / KIB),
        _ => format!("{:.1} GiB", size / KIB / KIB / KIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_binary_units() {
        let told = [17, 1536, 2 << 20, 5 << 30].map(bytes);
        assert_eq!(told, ["17 B", "1.5 KiB", "2.0 MiB", "5.0 GiB"]);
    }
}
