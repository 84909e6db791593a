//! Control groups (version 2), as much as the faults need.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup";

/// A group below the root.
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the group `name`, with `controller` switched on when one is named.
    pub(super) fn make(name: &str, controller: Option<&str>) -> Result<Self> {
        if let Some(controller) = controller {
            fs::write(format!("{ROOT}/cgroup.subtree_control"), format!("+{controller}"))
                .with_context(|| format!("this kernel gives no cgroup controller {controller}"))?;
        }
        let path = PathBuf::from(ROOT).join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make cgroup {name}"))?;
        Ok(Self { path })
    }

    /// Writes a control file.
    pub(super) fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value).with_context(|| format!("cannot write {value:?} to {}", path.display()))
    }

    /// Reads a control file.
    pub(super) fn get(&self, file: &str) -> Result<String> {
        let path = self.path.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Moves a process into the group.
    pub(super) fn add(&self, pid: u32) -> Result<()> {
        self.set("cgroup.procs", &pid.to_string())
    }
}
