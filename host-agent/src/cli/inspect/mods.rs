//! `mods`: modules that the kernel has loaded, as lsmod shows them.

use vmward_kernel_facts::Examination;

use super::super::Output;
use crate::word::word;

pub(super) fn show(found: &Examination, out: &mut Output) {
    let Some(modules) = &found.machine.modules else {
        out.line("The modules could not be read.");
        return;
    };
    let rows: Vec<[String; 7]> = modules
        .iter()
        .map(|it| {
            [
                it.name.clone(),
                it.bytes.to_string(),
                it.references.map_or_else(|| "-".to_owned(), |it| it.to_string()),
                word(&it.state),
                format!("{:#x}", it.address),
                it.taints.iter().map(|it| it.letter).collect(),
                it.used_by.join(", "),
            ]
        })
        .collect();
    out.table(["MODULE", "BYTES", "HELD", "STATE", "ADDRESS", "TAINTS", "USED BY"], &rows);
}
