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
    }
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
