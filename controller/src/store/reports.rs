//! Reports: the manifest of each incident that was examined, and what the controller makes of it.

use sqlx::QueryBuilder;
use std::collections::BTreeSet;
use vmward_model::exchange::{HostId, Receipt};
use vmward_model::{Digest, IncidentId, Manifest};

use super::entries::IncomingReport;
use super::incident::Standing;
use super::incidents::{self, incident_row};
use super::row::{Columns, micros, text};
use super::sqlite::{Db, Tx};
use super::view::IncidentDetail;
use super::{Store, StoreError, artifacts};

impl Store {
    /// One incident with all that is known of it.
    ///
    /// # Errors
    /// When there is none, or the database says no.
    pub async fn incident(&self, id: IncidentId) -> Result<IncidentDetail, StoreError> {
        let mut query = QueryBuilder::<Db>::new(incidents::SELECT);
        query.push(" WHERE incidents.id = ").push_bind(id.to_string());
        let Some(row) = query.build().fetch_optional(&self.readers).await? else {
            return Err(StoreError::NotFound { what: "incident", name: id.to_string() });
        };
        let row = incident_row(&row)?;
        let report = sqlx::query(
            "SELECT manifest, withheld, conclusion, not_concluded FROM reports WHERE incident = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&self.readers)
        .await?;
        Ok(match report {
            Some(it) => IncidentDetail {
                row,
                manifest: Some(it.json("manifest")?),
                withheld: it.json("withheld")?,
                conclusion: it.json_or("conclusion")?,
                not_concluded: it.string("not_concluded")?,
            },
            None => IncidentDetail {
                row,
                manifest: None,
                withheld: Vec::new(),
                conclusion: None,
                not_concluded: String::new(),
            },
        })
    }
}

impl Store {
    /// The manifest of an incident's report, as JSON.
    ///
    /// # Errors
    /// When there is none, or the database says no.
    pub async fn manifest(&self, id: IncidentId) -> Result<String, StoreError> {
        let row = sqlx::query("SELECT manifest FROM reports WHERE incident = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        let none = || StoreError::NotFound { what: "report of incident", name: id.to_string() };
        row.ok_or_else(none)?.string("manifest")
    }
}

/// Keeps a report if its artifacts are here. The same one again is a duplicate, and so is an older
/// one; one that was written later takes its place.
pub(super) async fn put(tx: &mut Tx, host: HostId, it: &IncomingReport) -> Result<Receipt, StoreError> {
    let incident = &it.manifest.incident;
    let known = incidents::get_for(tx, incident.id, host).await?;
    if let Some(known) = &known
        && (known.host != host || known.guest != incident.guest)
    {
        return Ok(Receipt::Refused {
            why: format!("incident {} is another host's or guest's", incident.id),
        });
    }
    let written = micros(it.manifest.written.utc);
    let there = sqlx::query("SELECT written FROM reports WHERE incident = $1")
        .bind(incident.id.to_string())
        .fetch_optional(tx.connection()?)
        .await?;
    if let Some(there) = there
        && there.number("written")? >= written
    {
        return Ok(Receipt::Duplicate);
    }
    if let Some(not_whole) = lacking(tx, &it.manifest, &it.withheld).await? {
        return Ok(not_whole);
    }
    sqlx::query(
        "INSERT INTO reports (incident, written, manifest, withheld, conclusion, not_concluded)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (incident) DO UPDATE SET written = $2, manifest = $3, withheld = $4, conclusion = $5,
             not_concluded = $6",
    )
    .bind(incident.id.to_string())
    .bind(written)
    .bind(text(&it.manifest)?)
    .bind(text(&it.withheld)?)
    .bind(it.conclusion.as_ref().map(text).transpose()?)
    .bind(&it.not_concluded)
    .execute(tx.connection()?)
    .await?;
    let mut standing =
        known.unwrap_or_else(|| Standing::new(incident.id, host, incident.guest, incident.notice.at.utc));
    standing.read(&it.manifest, it.conclusion.as_ref().map(|it| it.class), &it.summary);
    incidents::put(tx, &standing).await?;
    Ok(Receipt::Stored)
}

/// Why a manifest cannot be stored yet, or ever.
async fn lacking(
    tx: &mut Tx,
    manifest: &Manifest,
    withheld: &BTreeSet<Digest>,
) -> Result<Option<Receipt>, StoreError> {
    let mut missing = BTreeSet::new();
    for artifact in manifest.artifacts.iter().filter(|it| !withheld.contains(&it.sha256)) {
        match artifacts::size_in(tx, &artifact.sha256).await? {
            Some(size) if size == artifact.size => {}
            Some(size) => {
                let why = format!("{} has {size} bytes, not {}", artifact.sha256, artifact.size);
                return Ok(Some(Receipt::Refused { why }));
            }
            None => {
                missing.insert(artifact.sha256.clone());
            }
        }
    }
    let digests: Vec<Digest> = missing.into_iter().collect();
    Ok(if digests.is_empty() { None } else { Some(Receipt::Missing { digests }) })
}
