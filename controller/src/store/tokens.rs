//! Tokens: who may send and who may read. Only their SHA-256 is kept: 256 random bits need no salt.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use sqlx::Row as _;

use super::row::{Columns, micros};
use super::{Store, StoreError};

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To send.
    Agent,
    /// To read.
    Reader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Agent => "agent",
            Role::Reader => "reader",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        match text {
            "agent" => Ok(Role::Agent),
            "reader" => Ok(Role::Reader),
            other => Err(format!("no role is called {other:?}: agent, reader")),
        }
    }
}

/// A token, without itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
}

impl Store {
    /// Whether there is any token.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn any_token(&self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) FROM (SELECT 1 FROM tokens LIMIT 1) AS any_token")
            .fetch_one(&self.readers)
            .await?;
        Ok(row.try_get::<i64, _>(0)? > 0)
    }

    /// The token with this SHA-256.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn token(&self, sha256: &str) -> Result<Option<Token>, StoreError> {
        let row = sqlx::query("SELECT name, role, created FROM tokens WHERE sha256 = $1")
            .bind(sha256)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(token_row).transpose()
    }

    /// Whether a token is still good. A new one of the same name is another.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn has_token(&self, token: &Token) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM tokens WHERE name = $1 AND created = $2")
            .bind(&token.name)
            .bind(micros(token.created))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.is_some())
    }

    /// Every token, by name.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let rows = sqlx::query("SELECT name, role, created FROM tokens ORDER BY name")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(token_row).collect()
    }

    /// Makes a token known; gives whether the name was free.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn token_add(&self, name: &str, role: Role, sha256: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO tokens (name, role, sha256, created) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(role.to_string())
        .bind(sha256)
        .bind(micros(Timestamp::now()))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes a token back; gives whether it was there.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn token_remove(&self, name: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM tokens WHERE name = $1").bind(name).execute(&self.writer).await?;
        Ok(done.rows_affected() == 1)
    }
}

fn token_row(it: &super::sqlite::Row) -> Result<Token, StoreError> {
    let role = it.string("role")?.parse().map_err(StoreError::Broken)?;
    Ok(Token { name: it.string("name")?, role, created: it.moment("created")? })
}
