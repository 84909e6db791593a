//! `vmward-controller token`: makes, lists and takes back tokens.

use std::io::{Read as _, Write};

use anyhow::Context as _;

use crate::auth::hash;
use crate::store::Store;
use crate::store::tokens::Role;

/// Random bytes of a token.
const BYTES: usize = 32;
/// Longest name.
const NAME: usize = 64;

/// Makes a token and prints it, which happens this once.
///
/// # Errors
/// When the name is taken or none, or the database says no.
pub async fn add(store: &Store, name: &str, role: Role, out: &mut impl Write) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    anyhow::ensure!(
        (1..=NAME).contains(&name.len()) && name.chars().all(plain),
        "a token's name has 1 to {NAME} letters, digits, dots, dashes and underscores"
    );
    let token = fresh()?;
    if !store.token_add(name, role, &hash(&token)).await? {
        anyhow::bail!("there is a token {name} already: remove it first");
    }
    writeln!(out, "{token}")?;
    Ok(())
}

/// Lists tokens, without themselves.
///
/// # Errors
/// When the database says no.
pub async fn list(store: &Store, out: &mut impl Write) -> anyhow::Result<()> {
    for it in store.tokens().await? {
        writeln!(out, "{:<24} {:<8} {}", it.name, it.role, it.created.strftime("%Y-%m-%dT%H:%M:%SZ"))?;
    }
    Ok(())
}

/// Takes a token back, at once.
///
/// # Errors
/// When there is none of this name, or the database says no.
pub async fn remove(store: &Store, name: &str) -> anyhow::Result<()> {
    anyhow::ensure!(store.token_remove(name).await?, "there is no token {name}");
    Ok(())
}

fn fresh() -> anyhow::Result<String> {
    let mut bytes = [0; BYTES];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut it| it.read_exact(&mut bytes))
        .context("while asking the kernel for random bytes")?;
    // Recognisable, so that one that was published by mistake is found.
    Ok(format!("vmward_{}", vmward_model::Digest::from_bytes(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_printed_once_and_only_its_hash_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let mut said = Vec::new();
        add(&store, "host-1", Role::Agent, &mut said).await.unwrap();
        let token = String::from_utf8(said).unwrap().trim().to_owned();
        assert_eq!(token.len(), "vmward_".len() + 64);
        assert_eq!(store.token(&hash(&token)).await.unwrap().unwrap().role, Role::Agent);
        assert!(add(&store, "host-1", Role::Reader, &mut Vec::new()).await.is_err(), "the name is taken");
        store.close().await;
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(token.len()).any(|it| it == token.as_bytes()));
        }
    }

    #[tokio::test]
    async fn a_token_that_was_taken_back_is_known_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        add(&store, "me", Role::Reader, &mut Vec::new()).await.unwrap();
        assert!(store.any_token().await.unwrap());
        remove(&store, "me").await.unwrap();
        assert!(!store.any_token().await.unwrap());
        assert!(remove(&store, "me").await.is_err());
    }
}
