//! Which host this is: a number made at random when it is first needed, kept in the state folder.

use std::io;
use std::path::Path;

use uuid::Uuid;
use vmward_model::exchange::HostId;

use crate::agent::durable;

/// Reads it, or makes it.
///
/// # Errors
/// When it can be neither read nor written, or what is there is something else: a host that changed its
/// identity would send everything again as another's.
pub(super) fn identity(path: &Path) -> io::Result<HostId> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            text.trim().parse::<Uuid>().map(HostId).map_err(|error| {
                io::Error::other(format!("{} does not name a host: {error}", path.display()))
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = HostId(Uuid::new_v4());
            durable::write(path, format!("{made}\n").as_bytes())?;
            Ok(made)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_keeps_its_identity_and_never_takes_another_for_a_broken_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host");
        let made = identity(&path).unwrap();
        assert_eq!(identity(&path).unwrap(), made);
        std::fs::write(&path, "not a uuid").unwrap();
        assert!(identity(&path).is_err());
    }
}
