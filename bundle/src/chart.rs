//! From a manifest and its case to the chart that is shown, the same on the host, on the controller and
//! for a file.

use std::sync::LazyLock;

use vmward_findings::catalogue::Catalogue;
use vmward_findings::{Case, Undecided};
use vmward_model::observed::Observed;
use vmward_model::{Finding, Manifest};
use vmward_report_view::{Chart, Lens, Sysrq, Words};

/// What a report without a case saw from outside.
static NOTHING: LazyLock<Observed> = LazyLock::new(Observed::default);

/// The chart of a report. Findings and class are those that the manifest holds, not made again; what of the
/// case is not there is shown as such.
pub fn chart<'a>(
    manifest: &'a Manifest,
    case: Option<&'a Case>,
    undecided: &[Undecided],
    catalogue: Option<&Catalogue>,
) -> Chart<'a> {
    let kernel = case.map(|it| &it.kernel);
    Chart {
        manifest,
        words: manifest.incident.findings.iter().map(|it| words(it, catalogue)).collect(),
        undecided: undecided.iter().map(|it| (it.rule.clone(), it.why.clone())).collect(),
        probes: case.map_or(&[], |it| &it.probes),
        events: case.map_or(&[], |it| &it.events),
        observed: case.map_or(&NOTHING, |it| &it.observed),
        blocked: kernel.and_then(|it| it.blocked.as_deref()),
        tasks: kernel.and_then(|it| it.tasks.as_deref()),
        cpus: kernel.and_then(|it| it.cpus.as_deref()),
        memory: kernel.and_then(|it| it.memory.as_ref()),
        sysrq: kernel.and_then(|it| it.sysrq.as_ref()).map(|it| Sysrq {
            answered: it.answered.clone(),
            refused: it.refused.clone(),
            silent: it.silent.clone(),
            path: it.path.clone(),
        }),
        lens: kernel.and_then(|it| it.look.as_ref()).map(|it| Lens {
            kernel: &it.kernel,
            waits: &it.waits,
            machine: &it.machine,
            problems: &it.problems,
            cost: it.cost,
        }),
        border: kernel.and_then(|it| it.border.as_ref()),
        kernel_log: None,
    }
}

/// Bytes of a kernel's log that a chart is given: far more than it shows.
const LOG_TAIL: usize = 256 << 10;

/// The end of a kernel's log, from the beginning of a line on.
pub fn log_tail(log: &[u8]) -> String {
    let tail = &log[log.len().saturating_sub(LOG_TAIL)..];
    let whole = if tail.len() < log.len() {
        let newline = tail.iter().position(|it| *it == b'\n').map_or(tail.len(), |at| at + 1);
        &tail[newline..]
    } else {
        tail
    };
    String::from_utf8_lossy(whole).into_owned()
}

/// The words about a finding; none without a catalogue.
pub fn words(finding: &Finding, catalogue: Option<&Catalogue>) -> Words {
    let Some(catalogue) = catalogue else { return Words::default() };
    let words = catalogue.words(finding);
    Words {
        sentence: words.sentence,
        detail: words.detail,
        causes: words.causes,
        next_steps: words.next_steps,
        links: words.links,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_begins_with_a_whole_line() {
        assert_eq!(log_tail(b"[ 1.0] a\n[ 2.0] b\n"), "[ 1.0] a\n[ 2.0] b\n");
        let line = "[    1.000000] 0123456789\n";
        let tail = log_tail(line.repeat(20_000).as_bytes());
        assert!(tail.len() <= LOG_TAIL && tail.starts_with("[    1.0") && tail.ends_with("9\n"));
        assert_eq!(log_tail(&vec![b'x'; LOG_TAIL + 1]), "");
    }
}
