//! From a bundle to a document that can be shown: the words are looked up, the engine is asked again
//! for what it could not tell.

use vmward_findings::catalogue::Catalogue;
use vmward_findings::conclude;
use vmward_report_view::{Document, LOG_KIND, document};

use super::{Bundle, OpenError};

/// The chart of a bundle. Findings and class are those that the manifest holds, not made again.
///
/// # Errors
/// When the bundle's case cannot be read or is not what its digest says.
pub fn chart(bundle: &Bundle, catalogue: &Catalogue) -> Result<Document, OpenError> {
    let case = bundle.case()?;
    let undecided = case.as_ref().map(|it| conclude(it).undecided).unwrap_or_default();
    let mut chart = vmward_bundle::chart(bundle.manifest(), case.as_ref(), &undecided, Some(catalogue));
    chart.kernel_log = bundle.artifact_of_kind(LOG_KIND)?.map(|it| vmward_bundle::log_tail(&it));
    Ok(document(&chart))
}
