//! What a controller has stored, asked through its API.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::controller::Controller;

/// What it answers to a GET, which must be JSON.
///
/// # Errors
/// When it answers with an error or something else.
pub fn get(controller: &Controller, path: &str) -> Result<Value> {
    let answer = controller.get(path)?;
    ensure!(answer.status == 200, "{path}: status {}: {:?}", answer.status, answer.json());
    answer.json()
}

/// Numbers of the events that it has, in rising order; all are of one host.
///
/// # Errors
/// When it does not answer.
pub fn event_numbers(controller: &Controller) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    let mut before = String::new();
    loop {
        let page = get(controller, &format!("/api/v1/events?limit=500{before}"))?;
        for row in page["rows"].as_array().context("no rows")? {
            found.push(row["event"]["seq"].as_u64().with_context(|| format!("no number: {row}"))?);
        }
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether it has the report of an incident.
///
/// # Errors
/// When it does not answer.
pub fn has_report(controller: &Controller, incident: &str) -> Result<bool> {
    let answer = controller.get(&format!("/api/v1/incidents/{incident}"))?;
    Ok(answer.status == 200 && answer.json()?["manifest"].is_object())
}
