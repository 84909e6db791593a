//! Whether an address can be used from here, and if not, why and what would help. Looks, never connects.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

/// Why a unix socket cannot be connected to; none when it can, as far as can be seen.
pub(super) fn socket_problem(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(it) if !it.file_type().is_socket() => Some("is no socket".to_owned()),
        Ok(_) => writable_problem(path),
        Err(e) => Some(missing(&e)),
    }
}

/// Why a terminal device cannot be opened.
pub(super) fn tty_problem(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(it) if !it.file_type().is_char_device() => Some("is no terminal device".to_owned()),
        Ok(_) => writable_problem(path),
        Err(e) => Some(missing(&e)),
    }
}

fn writable_problem(path: &Path) -> Option<String> {
    let error = access(path, AccessFlags::R_OK | AccessFlags::W_OK).err()?;
    Some(format!(
        "may not be opened ({error}): give vmward's user read and write access, for instance by its group"
    ))
}

fn missing(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            "is not there: removed, or in another mount namespace than vmward's".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => {
            "lies in a folder that vmward's user may not enter".to_owned()
        }
        _ => format!("cannot be looked at: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_told_from_a_file_and_from_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(socket_problem(&socket), None);
        let file = dir.path().join("f");
        std::fs::write(&file, "").unwrap();
        assert_eq!(socket_problem(&file).as_deref(), Some("is no socket"));
        assert!(socket_problem(&dir.path().join("none")).unwrap().contains("is not there"));
        assert_eq!(tty_problem(&file).as_deref(), Some("is no terminal device"));
    }
}
