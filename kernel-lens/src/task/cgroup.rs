//! Which cgroups a task is in.

use std::cell::Cell;
use std::collections::HashMap;

use vmward_kernel_facts::CgroupV1;

use crate::{Kernel, ReadError};

/// How deep a cgroup may lie; a path of 4096 bytes is no deeper.
const MAX_DEPTH: usize = 2048;
/// Steps of all paths of one look: those of 10,000 cgroups are not longer.
const MAX_ALL_STEPS: u32 = 1 << 16;
/// Bytes of a path.
const MAX_PATH: usize = 4096;
/// Bytes of one name in it.
const MAX_NAME: usize = 255;
/// Hierarchies of version 1: there are no more controllers than bits.
const MAX_HIERARCHIES: usize = 64;
/// Bytes of a hierarchy's name (`MAX_CGROUP_ROOT_NAMELEN`).
const MAX_ROOT_NAME: usize = 64;

/// Paths of one `css_set`: many tasks share one.
#[derive(Debug, Clone, Default)]
pub(super) struct Membership {
    pub(super) path: Option<String>,
    pub(super) v1: Vec<CgroupV1>,
}

/// Reads each `css_set` once.
pub(super) struct Cgroups<'a, 'm> {
    kernel: &'a Kernel<'m>,
    known: HashMap<u64, Membership>,
    controllers: Option<Vec<String>>,
    /// `parent`, and `__parent` since commit 633488947ef6 (v6.15).
    parent: Option<u64>,
    /// Steps that are left for all paths together.
    left: Cell<u32>,
}

impl<'a, 'm> Cgroups<'a, 'm> {
    pub(super) fn new(kernel: &'a Kernel<'m>) -> Self {
        let parent = kernel.offset("kernfs_node", "__parent");
        let parent = parent.or_else(|| kernel.offset("kernfs_node", "parent"));
        Self { kernel, known: HashMap::new(), controllers: None, parent, left: Cell::new(MAX_ALL_STEPS) }
    }

    pub(super) fn of(&mut self, css_set: u64) -> Membership {
        if let Some(known) = self.known.get(&css_set) {
            return known.clone();
        }
        let default = self.kernel.word(css_set, "css_set", "dfl_cgrp");
        let membership = Membership {
            path: default.and_then(|it| self.path(it)).ok(),
            v1: self.hierarchies(css_set).unwrap_or_default(),
        };
        self.known.insert(css_set, membership.clone());
        membership
    }

    /// The names from a cgroup up to the root of its hierarchy.
    fn path(&self, cgroup: u64) -> Result<String, ReadError> {
        let wrong = ReadError::Inconsistent { what: "the path of a cgroup", virt: cgroup };
        let Some(parent) = self.parent else { return Err(wrong) };
        let mut node = self.kernel.word(cgroup, "cgroup", "kn")?;
        let mut names = Vec::new();
        let mut len = 0;
        for _ in 0..MAX_DEPTH {
            let Some(left) = self.left.get().checked_sub(1) else { break };
            self.left.set(left);
            let above = self.kernel.space.u64(node.wrapping_add(parent))?;
            if above == 0 {
                return Ok(rooted(&names));
            }
            let name = self.kernel.word(node, "kernfs_node", "name")?;
            names.push(self.kernel.space.text(name, MAX_NAME)?);
            len += names.last().map_or(0, String::len);
            if len > MAX_PATH {
                break;
            }
            node = above;
        }
        Err(wrong)
    }

    /// Version 1: `css_set.cgrp_links` lists a `cgrp_cset_link` for each hierarchy.
    fn hierarchies(&mut self, css_set: u64) -> Result<Vec<CgroupV1>, ReadError> {
        let kernel = self.kernel;
        let member = |of: &'static str, path| {
            kernel.offset(of, path).ok_or(ReadError::Inconsistent { what: of, virt: css_set })
        };
        let head = css_set.wrapping_add(member("css_set", "cgrp_links")?);
        let link = member("cgrp_cset_link", "cgrp_link")?;
        let mut found = Vec::new();
        let mut node = kernel.space.u64(head)?;
        for _ in 0..MAX_HIERARCHIES {
            if node == head {
                break;
            }
            let cgroup = kernel.word(node.wrapping_sub(link), "cgrp_cset_link", "cgrp")?;
            let root = kernel.word(cgroup, "cgroup", "root")?;
            let id = kernel.space.u32(root.wrapping_add(member("cgroup_root", "hierarchy_id")?))?;
            // 0 is the default hierarchy, the one of version 2.
            if id != 0 {
                let mask = kernel.space.u32(root.wrapping_add(member("cgroup_root", "subsys_mask")?))?;
                let name = root.wrapping_add(member("cgroup_root", "name")?);
                let name = kernel.space.text(name, MAX_ROOT_NAME)?;
                let mut controllers = self.controllers_of(mask);
                if !name.is_empty() {
                    controllers.push(format!("name={name}"));
                }
                found.push(CgroupV1 { hierarchy: id, controllers, path: self.path(cgroup)? });
            }
            node = kernel.space.u64(node)?;
        }
        found.sort_by_key(|it| it.hierarchy);
        Ok(found)
    }

    fn controllers_of(&mut self, mask: u32) -> Vec<String> {
        let kernel = self.kernel;
        let all = self.controllers.get_or_insert_with(|| controllers(kernel));
        all.iter().enumerate().filter(|(n, _)| mask & (1 << n) != 0).map(|(_, name)| name.clone()).collect()
    }
}

/// Names of the controllers by their bit: `cgroup_subsys` is a table of pointers.
fn controllers(kernel: &Kernel<'_>) -> Vec<String> {
    let Some(table) = kernel.symbol("cgroup_subsys") else { return Vec::new() };
    let count = kernel.types.array_len("css_set", "subsys").unwrap_or(0).min(32);
    let name = |n: u64| {
        let subsys = kernel.space.u64(table.wrapping_add(n * 8))?;
        kernel.space.text(kernel.word(subsys, "cgroup_subsys", "legacy_name")?, MAX_ROOT_NAME)
    };
    (0..count).map(|n| name(n).unwrap_or_else(|_| format!("controller {n}"))).collect()
}

/// A path of names that lead from the inside out.
pub(super) fn rooted(names: &[String]) -> String {
    if names.is_empty() {
        return "/".to_owned();
    }
    names.iter().rev().fold(String::new(), |path, name| path + "/" + name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_at_its_root() {
        assert_eq!(rooted(&[]), "/");
        assert_eq!(rooted(&["ssh.service".into(), "system.slice".into()]), "/system.slice/ssh.service");
    }
}
