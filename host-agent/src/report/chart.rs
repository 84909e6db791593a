//! From a bundle to a document that can be shown: the words are looked up, the engine is asked again
//! for what it could not tell.

use vmward_findings::catalogue::Catalogue;
use vmward_findings::conclude;
use vmward_report_view::{Chart, Document, Sysrq, Words, document};

use super::{Bundle, OpenError};

/// The chart of a bundle. Findings and class are those that the manifest holds, not made again.
///
/// # Errors
/// When the bundle's case cannot be read or is not what its digest says.
pub fn chart(bundle: &Bundle, catalogue: &Catalogue) -> Result<Document, OpenError> {
    let case = bundle.case()?;
    let incident = &bundle.manifest().incident;
    let words = incident.findings.iter().map(|it| {
        let words = catalogue.words(it);
        Words {
            sentence: words.sentence,
            detail: words.detail,
            causes: words.causes,
            next_steps: words.next_steps,
            links: words.links,
        }
    });
    let undecided = case.as_ref().map(|it| conclude(it).undecided).unwrap_or_default();
    let nothing = Default::default();
    let kernel = case.as_ref().map(|it| &it.kernel);
    Ok(document(&Chart {
        manifest: bundle.manifest(),
        words: words.collect(),
        undecided: undecided.into_iter().map(|it| (it.rule, it.why)).collect(),
        probes: case.as_ref().map_or(&[], |it| &it.probes),
        events: case.as_ref().map_or(&[], |it| &it.events),
        observed: case.as_ref().map_or(&nothing, |it| &it.observed),
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
    }))
}
