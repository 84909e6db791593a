//! How values stand in the database, and back.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use uuid::Uuid;
use vmward_model::{IncidentState, Severity};

use super::StoreError;
use super::sqlite::Row;

/// A moment as it stands in the database.
pub fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A moment from the database.
pub fn moment(micros: i64) -> Timestamp {
    // Not `from_microsecond`, which refuses the last second that there is.
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or(0);
    Timestamp::new(micros.div_euclid(1_000_000), nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A severity as it stands in the database; the order is that of the enum.
pub fn severity_rank(severity: Severity) -> i64 {
    match severity {
        Severity::Debug => 0,
        Severity::Info => 1,
        Severity::Warn => 2,
        Severity::Error => 3,
        Severity::Crit => 4,
    }
}

/// A severity from the database.
pub fn severity(rank: i64) -> Severity {
    match rank {
        0 => Severity::Debug,
        1 => Severity::Info,
        2 => Severity::Warn,
        3 => Severity::Error,
        _ => Severity::Crit,
    }
}

/// An incident's state as it stands in the database; a later one is the larger.
pub fn state_rank(state: IncidentState) -> i64 {
    match state {
        IncidentState::Open => 0,
        IncidentState::Examining => 1,
        IncidentState::Reported => 2,
        IncidentState::Closed => 3,
    }
}

/// An incident's state from the database.
pub fn state(rank: i64) -> IncidentState {
    match rank {
        0 => IncidentState::Open,
        1 => IncidentState::Examining,
        2 => IncidentState::Reported,
        _ => IncidentState::Closed,
    }
}

/// A value as JSON text.
pub fn text<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Broken(error.to_string()))
}

/// The name of an enum's variant, as it goes over the wire.
pub fn name<T: Serialize>(value: &T) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(it)) => Ok(it),
        other => Err(StoreError::Broken(format!("not a name: {other:?}"))),
    }
}

/// Columns that are not plain numbers or text.
pub trait Columns {
    /// A UUID.
    fn uuid(&self, column: &str) -> Result<Uuid, StoreError>;
    /// A moment.
    fn moment(&self, column: &str) -> Result<Timestamp, StoreError>;
    /// A moment that may be absent.
    fn moment_or(&self, column: &str) -> Result<Option<Timestamp>, StoreError>;
    /// JSON text.
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError>;
    /// JSON text that may be absent.
    fn json_or<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError>;
    /// A name that may be absent, or that a newer program wrote and this one does not know.
    fn named_or<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError>;
    /// A number.
    fn number(&self, column: &str) -> Result<i64, StoreError>;
    /// A text.
    fn string(&self, column: &str) -> Result<String, StoreError>;
}

impl Columns for Row {
    fn uuid(&self, column: &str) -> Result<Uuid, StoreError> {
        let text: &str = self.try_get(column)?;
        Uuid::parse_str(text).map_err(|error| StoreError::Broken(format!("{column}: {error}")))
    }

    fn moment(&self, column: &str) -> Result<Timestamp, StoreError> {
        Ok(moment(self.try_get(column)?))
    }

    fn moment_or(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.try_get::<Option<i64>, _>(column)?.map(moment))
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let text: &str = self.try_get(column)?;
        serde_json::from_str(text).map_err(|error| StoreError::Broken(format!("{column}: {error}")))
    }

    fn json_or<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let text: Option<&str> = self.try_get(column)?;
        text.map(serde_json::from_str)
            .transpose()
            .map_err(|error| StoreError::Broken(format!("{column}: {error}")))
    }

    fn named_or<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.try_get(column)?;
        Ok(text.and_then(|it| serde_json::from_value(serde_json::Value::String(it)).ok()))
    }

    fn number(&self, column: &str) -> Result<i64, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn string(&self, column: &str) -> Result<String, StoreError> {
        Ok(self.try_get(column)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_keep_the_order_of_dropping_and_come_back() {
        let all = [Severity::Debug, Severity::Info, Severity::Warn, Severity::Error, Severity::Crit];
        for pair in all.windows(2) {
            assert!(severity_rank(pair[0]) < severity_rank(pair[1]));
        }
        assert!(all.iter().all(|it| severity(severity_rank(*it)) == *it));
        assert!(IncidentState::ALL.iter().all(|it| state(state_rank(*it)) == *it));
    }

    #[test]
    fn the_oldest_and_newest_moments_can_be_kept() {
        for it in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            assert_eq!(moment(micros(it)).as_microsecond(), it.as_microsecond());
        }
    }
}
