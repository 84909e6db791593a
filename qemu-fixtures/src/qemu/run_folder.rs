//! The folder of one guest's sockets and files, and the promise that nothing stays behind.
//!
//! Three nets, because each has a hole: dropping the handle kills QEMU and removes the folder
//! (misses SIGKILL and `exit`); the child's death signal (`spawn.rs`) kills QEMU when we die
//! (leaves the folder); and a reaper process, which waits at the end of a pipe that only we hold,
//! kills and removes whatever is left when that pipe closes, however we ended.

use super::{Error, Result};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest folder path: socket addresses hold 108 bytes and names inside need their share.
const LONGEST_FOLDER: usize = 60;

/// Waits for the end of its input. `forget` ends it without harm; otherwise it kills the
/// processes it was told of, if their command line still names the folder (a process id may have
/// been used again), and removes the folder.
const REAPER: &str = r#"trap '' INT TERM HUP
pids=
while read -r verb pid; do
  case $verb in watch) pids="$pids $pid" ;; forget) exit 0 ;; esac
done
for pid in $pids; do
  if grep -qF "$1" "/proc/$pid/cmdline" 2>/dev/null; then kill -9 "$pid"; fi
done
rm -rf "$1"
"#;

static OPEN: Mutex<BTreeMap<PathBuf, Vec<i32>>> = Mutex::new(BTreeMap::new());

fn open_folders() -> MutexGuard<'static, BTreeMap<PathBuf, Vec<i32>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A private folder (0700) with a short path, removed on drop and by the reaper.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    reaper: Child,
    to_reaper: Option<ChildStdin>,
}

impl RunFolder {
    /// Makes the folder under the temporary directory, or under `/tmp` when that path is too long
    /// for sockets, and starts its reaper.
    pub fn new() -> Result<Self> {
        let temp = std::env::temp_dir();
        let parent = if temp.as_os_str().len() + 12 > LONGEST_FOLDER { PathBuf::from("/tmp") } else { temp };
        let path = tempfile::Builder::new()
            .prefix("vw-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(Error::io("cannot make a folder in", &parent))?
            .keep();
        let mut reaper = Command::new("/bin/sh")
            .args(["-c", REAPER, "vmward-reaper"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .map_err(Error::io("cannot start a reaper for", &path))?;
        let to_reaper = reaper.stdin.take();
        open_folders().insert(path.clone(), Vec::new());
        Ok(Self { path, reaper, to_reaper })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or socket in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Puts process `pid` under the reaper's watch. Its command line must name the folder.
    ///
    /// # Errors
    /// When the reaper cannot be told.
    pub fn watch(&mut self, pid: u32) -> Result<()> {
        self.list(pid);
        self.tell(&format!("watch {pid}\n"))
    }

    /// Puts `pid` on the list of [`clean_up_all`].
    pub(super) fn list(&mut self, pid: u32) {
        if let Some(pids) = open_folders().get_mut(&self.path) {
            pids.push(pid.cast_signed());
        }
    }

    /// Takes `pid` off the list of [`clean_up_all`]; call it before the process is waited for,
    /// since afterwards the number may belong to somebody else.
    pub fn unlist(&mut self, pid: u32) {
        if let Some(pids) = open_folders().get_mut(&self.path) {
            pids.retain(|it| *it != pid.cast_signed());
        }
    }

    fn tell(&mut self, words: &str) -> Result<()> {
        let Some(pipe) = self.to_reaper.as_mut() else {
            return Ok(());
        };
        pipe.write_all(words.as_bytes()).map_err(Error::io("cannot reach the reaper of", &self.path))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.path).is_ok() || !self.path.exists();
        open_folders().remove(&self.path);
        // A folder that could not be removed is left to the reaper, which tries once more.
        if removed {
            let _told = self.tell("forget\n");
        }
        self.to_reaper = None;
        let _status = self.reaper.wait();
    }
}

/// Kills every QEMU that this process started and removes their folders: for signal handlers'
/// threads and other ways out that drop nothing. Calling it twice does no harm.
pub fn clean_up_all() {
    for (path, pids) in std::mem::take(&mut *open_folders()) {
        for pid in pids {
            // A child of ours that nobody waited for: the number cannot belong to another.
            let _gone =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _gone = std::fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_folder_is_private_short_and_goes_with_its_handle() {
        let folder = RunFolder::new().unwrap();
        let path = folder.path().to_path_buf();
        assert!(path.as_os_str().len() <= LONGEST_FOLDER, "{path:?}");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(folder.file("x"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn the_reaper_kills_and_removes_when_its_pipe_closes() {
        let mut folder = RunFolder::new().unwrap();
        let path = folder.path().to_path_buf();
        // A process whose command line names the folder, as QEMU's does.
        let mut child = Command::new("/bin/sleep").arg0(&path).arg("600").spawn().unwrap();
        folder.watch(child.id()).unwrap();
        // What the end of this process would do to the pipe.
        folder.to_reaper = None;
        let deadline = Instant::now() + Duration::from_secs(10);
        while path.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!path.exists());
        assert!(!child.wait().unwrap().success());
    }
}
