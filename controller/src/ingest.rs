//! Takes in what agents and imports bring, once it is complete and makes sense.

use vmward_model::exchange::{Receipt, ReportCommit};

use crate::AppState;
use crate::problem::Answer;

/// Stores a report whose artifacts are kept already ([`crate::artifacts::Artifacts::keep`]). The
/// engine is run again on its case. Durable when this returns `Stored` or `Duplicate`.
///
/// # Errors
/// When the store does not work.
pub async fn report(state: &AppState, commit: &ReportCommit) -> Answer<Receipt> {
    let _ = (state, commit);
    Ok(Receipt::Refused { why: "not there yet".to_owned() })
}
