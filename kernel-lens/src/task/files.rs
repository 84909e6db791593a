//! Paths of open files.

use std::cell::Cell;
use std::collections::HashMap;

use super::cgroup::rooted;
use crate::{Kernel, ReadError};

/// Steps from a file up to the root, mounts among them.
const MAX_STEPS: usize = 512;
/// Steps of all paths of one look: the paths of 10,000 files are not half as long.
const MAX_ALL_STEPS: u32 = 1 << 17;
/// Bytes of a path.
const MAX_PATH: usize = 4096;
/// Bytes of one name in it.
const MAX_NAME: usize = 255;
/// Descriptors of a process at most (`NR_OPEN` and what root can raise it to).
const MAX_FDS: u64 = 1 << 30;

/// Descriptor that stands for the working directory (`AT_FDCWD`).
pub(super) const WORKING_DIRECTORY: i32 = -100;

/// Follows descriptors and paths.
pub(super) struct Files<'a, 'm> {
    kernel: &'a Kernel<'m>,
    /// Types of file systems, by super block.
    types: HashMap<u64, String>,
    /// Steps that are left for all paths together.
    left: Cell<u32>,
}

impl<'a, 'm> Files<'a, 'm> {
    pub(super) fn new(kernel: &'a Kernel<'m>) -> Self {
        Self { kernel, types: HashMap::new(), left: Cell::new(MAX_ALL_STEPS) }
    }

    /// The path of a descriptor; `None` for one that is not open.
    ///
    /// # Errors
    /// Whatever on the way could not be read.
    pub(super) fn path(&mut self, files: u64, fs: u64, fd: i32) -> Result<Option<String>, ReadError> {
        let kernel = self.kernel;
        let path = if fd == WORKING_DIRECTORY {
            self.inside(fs, "fs_struct", "pwd")?
        } else {
            let Ok(fd) = u64::try_from(fd) else { return Ok(None) };
            let table = kernel.word(files, "files_struct", "fdt")?;
            let max = kernel.word(table, "fdtable", "max_fds")? & 0xffff_ffff;
            if fd >= max.min(MAX_FDS) {
                return Ok(None);
            }
            let array = kernel.word(table, "fdtable", "fd")?;
            let file = kernel.space.u64(array.wrapping_add(fd * 8))?;
            if file == 0 {
                return Ok(None);
            }
            self.inside(file, "file", "f_path")?
        };
        let mount = kernel.word(path, "path", "mnt")?;
        let dentry = kernel.word(path, "path", "dentry")?;
        self.name(mount, dentry).map(Some)
    }

    fn inside(&self, at: u64, of: &'static str, member: &str) -> Result<u64, ReadError> {
        let offset = self.kernel.offset(of, member);
        Ok(at.wrapping_add(offset.ok_or(ReadError::Inconsistent { what: of, virt: at })?))
    }

    /// The name of a place in the tree of mounts, as `/proc/PID/fd` has it: `d_path` in `fs/d_path.c`.
    fn name(&mut self, mount: u64, dentry: u64) -> Result<String, ReadError> {
        let kernel = self.kernel;
        let parent = kernel.word(dentry, "dentry", "d_parent")?;
        if parent == dentry && kernel.word(mount, "vfsmount", "mnt_root")? != dentry {
            return self.outside(dentry);
        }
        let mut path = self.climb(mount, dentry)?;
        // A name that is in no directory's hash any more was deleted.
        if parent != dentry && kernel.word(dentry, "dentry", "d_hash.pprev")? == 0 {
            path.push_str(" (deleted)");
        }
        Ok(path)
    }

    /// Names up to the root of the mount, of the mount that it is in, and so on.
    fn climb(&self, mut mount: u64, mut dentry: u64) -> Result<String, ReadError> {
        let kernel = self.kernel;
        let own = kernel.offset("mount", "mnt");
        let own = own.ok_or(ReadError::Inconsistent { what: "mount", virt: mount })?;
        let (mut names, mut len) = (Vec::new(), 0);
        for _ in 0..MAX_STEPS {
            let Some(left) = self.left.get().checked_sub(1) else { break };
            self.left.set(left);
            let outer = mount.wrapping_sub(own);
            if kernel.word(mount, "vfsmount", "mnt_root")? == dentry {
                let above = kernel.word(outer, "mount", "mnt_parent")?;
                if above == outer || above == 0 {
                    return Ok(rooted(&names));
                }
                dentry = kernel.word(outer, "mount", "mnt_mountpoint")?;
                mount = above.wrapping_add(own);
                continue;
            }
            let parent = kernel.word(dentry, "dentry", "d_parent")?;
            if parent == dentry {
                return Ok(rooted(&names));
            }
            names.push(self.dentry_name(dentry)?);
            len += names.last().map_or(0, String::len);
            if len > MAX_PATH {
                break;
            }
            dentry = parent;
        }
        Err(ReadError::Inconsistent { what: "the path of a file", virt: dentry })
    }

    fn dentry_name(&self, dentry: u64) -> Result<String, ReadError> {
        let name = self.kernel.word(dentry, "dentry", "d_name.name")?;
        self.kernel.space.text(name, MAX_NAME)
    }

    /// A file in no directory: a pipe, a socket, an anonymous inode.
    fn outside(&mut self, dentry: u64) -> Result<String, ReadError> {
        let kernel = self.kernel;
        let kind = self.file_system(kernel.word(dentry, "dentry", "d_sb")?)?;
        let inode = || {
            let inode = kernel.word(dentry, "dentry", "d_inode")?;
            kernel.word(inode, "inode", "i_ino")
        };
        Ok(match kind.as_str() {
            "pipefs" => format!("pipe:[{}]", inode()?),
            "sockfs" => format!("socket:[{}]", inode()?),
            "anon_inodefs" => format!("anon_inode:{}", self.dentry_name(dentry)?),
            // A file made of memory (`memfd_create`, shared memory).
            "tmpfs" | "hugetlbfs" => format!("/{} (deleted)", self.dentry_name(dentry)?),
            other => format!("{other}:[{}]", inode()?),
        })
    }

    fn file_system(&mut self, super_block: u64) -> Result<String, ReadError> {
        if let Some(known) = self.types.get(&super_block) {
            return Ok(known.clone());
        }
        let kind = self.kernel.word(super_block, "super_block", "s_type")?;
        let name = self.kernel.word(kind, "file_system_type", "name")?;
        let name = self.kernel.space.text(name, MAX_NAME)?;
        self.types.insert(super_block, name.clone());
        Ok(name)
    }
}
