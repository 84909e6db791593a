//! Everything that is SQLite's own: how it is opened, what is durable, how it is copied while it is
//! in use, and what its errors mean. PostgreSQL would need a second file like this and no other.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlSafeStr, SqliteConnection};

use super::StoreError;

/// The kind of database.
pub type Db = sqlx::Sqlite;
/// A pool of connections to it.
pub type Pool = sqlx::Pool<Db>;
/// A row from it.
pub type Row = sqlx::sqlite::SqliteRow;

/// How long a connection waits for another process that writes (a command beside the server).
const BUSY: Duration = Duration::from_secs(10);
/// How long a caller waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(15);
/// Connections that read.
const READERS: u32 = 4;

/// Result codes that mean no room: SQLITE_FULL, and the IOERR_WRITE that a quota gives.
const FULL: [&str; 2] = ["13", "778"];

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What is acknowledged has to survive a power cut: NORMAL would lose the newest commits.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        // 2 MiB and no more a connection.
        .pragma("cache_size", "-2048")
        .pragma("journal_size_limit", "67108864")
}

/// Opens the database at `file`, makes it where it is not there, and brings it up to date. Gives
/// the one connection that writes and those that read.
///
/// # Errors
/// When it cannot be opened, or a newer program has changed it.
pub async fn open(file: &Path) -> Result<(Pool, Pool), StoreError> {
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE)
        .connect_with(options(file))
        .await?;
    migrator().run(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(ACQUIRE)
        .connect_with(options(file).pragma("query_only", "ON"))
        .await?;
    Ok((writer, readers))
}

fn migrator() -> Migrator {
    let step = |version, name, sql: &'static str| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![step(1, "begin", include_str!("../../migrations/0001_begin.sql"))])
}

/// A transaction that writes. Unless it is committed its connection is closed, which undoes it: after
/// a full disk SQLite has rolled back by itself, and sqlx's own transactions then count wrong for
/// ever ("attempted to call begin_with at non-zero transaction depth").
#[derive(Debug)]
pub struct Tx(Option<PoolConnection<Db>>);

/// Begins a transaction that will write. It takes the lock at once: one that read first could not
/// get it any more where another process has written since.
///
/// # Errors
/// When the lock cannot be had in time.
pub async fn begin(writer: &Pool) -> Result<Tx, StoreError> {
    let mut tx = Tx(Some(writer.acquire().await?));
    sqlx::query("BEGIN IMMEDIATE").execute(tx.connection()?).await?;
    Ok(tx)
}

impl Tx {
    /// What its statements are run on.
    ///
    /// # Errors
    /// Never: the connection is there until the end.
    pub fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        let ended = || StoreError::Broken("a transaction that has ended".to_owned());
        self.0.as_deref_mut().ok_or_else(ended)
    }

    /// Keeps what was written. It is synced when this returns.
    ///
    /// # Errors
    /// When there is no room; nothing of it is kept then.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.end("COMMIT").await
    }

    /// Keeps nothing.
    ///
    /// # Errors
    /// When the connection is broken, which keeps nothing either.
    pub async fn rollback(mut self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, how: &'static str) -> Result<(), StoreError> {
        sqlx::query(how).execute(self.connection()?).await?;
        // Only now may somebody else have it.
        self.0 = None;
        Ok(())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

/// Writes a copy of the database to `to`, as it is at this moment, while it is in use.
///
/// # Errors
/// When it cannot be read, or `to` is there already.
pub async fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut connection = SqliteConnection::connect_with(&options(from).create_if_missing(false)).await?;
    sqlx::query("VACUUM INTO $1").bind(to.to_string_lossy().into_owned()).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Whether the database found no room.
pub fn is_full(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|it| it.code()).is_some_and(|it| FULL.contains(&it.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Row as _;

    #[tokio::test]
    async fn what_is_committed_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, readers) = open(&dir.path().join("db")).await.unwrap();
        for pool in [&writer, &readers] {
            let row = sqlx::query("PRAGMA synchronous").fetch_one(pool).await.unwrap();
            assert_eq!(row.get::<i64, _>(0), 2, "FULL, as SQLite's documentation numbers it");
        }
        let row = sqlx::query("PRAGMA journal_mode").fetch_one(&writer).await.unwrap();
        assert_eq!(row.get::<String, _>(0), "wal");
    }

    #[tokio::test]
    async fn what_ends_without_a_commit_leaves_nothing_and_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, readers) = open(&dir.path().join("db")).await.unwrap();
        let insert = "INSERT INTO artifacts (sha256, size, stored) VALUES ('x', 1, 1)";
        for _ in 0..3 {
            let mut tx = begin(&writer).await.unwrap();
            sqlx::query(insert).execute(tx.connection().unwrap()).await.unwrap();
            // As after a full disk: SQLite has ended the transaction, and nobody has told sqlx.
            sqlx::query("ROLLBACK").execute(tx.connection().unwrap()).await.unwrap();
            assert!(tx.commit().await.is_err());
            let mut dropped = begin(&writer).await.unwrap();
            sqlx::query(insert).execute(dropped.connection().unwrap()).await.unwrap();
        }
        let count = || sqlx::query("SELECT COUNT(*) FROM artifacts").fetch_one(&readers);
        assert_eq!(count().await.unwrap().get::<i64, _>(0), 0);
        let mut tx = begin(&writer).await.unwrap();
        sqlx::query(insert).execute(tx.connection().unwrap()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count().await.unwrap().get::<i64, _>(0), 1);
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let (_, readers) = open(&dir.path().join("db")).await.unwrap();
        assert!(sqlx::query("DELETE FROM hosts").execute(&readers).await.is_err());
    }
}
