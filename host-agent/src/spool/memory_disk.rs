//! A disk in memory that fails, that dies, and that forgets what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::files::Files;

/// What happens at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    /// It fails with this errno; the next works again. What it would have written is there in part.
    Fails(i32),
    /// It and all after it fail: the agent was killed in it.
    Killed,
}

#[derive(Clone, Debug, Default)]
struct Node {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    synced: BTreeMap<PathBuf, usize>,
    left: Option<(u64, Mishap)>,
    dead: bool,
    room: Option<usize>,
    operations: u64,
}

/// One folder's worth of files.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<Inner>>);

impl MemoryDisk {
    /// Something happens at the operation after `after` more.
    pub(super) fn mishap(&self, after: u64, mishap: Mishap) {
        self.0.lock().unwrap().left = Some((after, mishap));
    }

    /// At most so many bytes fit; `None` for as many as one likes.
    pub(super) fn room(&self, bytes: Option<usize>) {
        self.0.lock().unwrap().room = bytes;
    }

    /// How many operations were asked for.
    pub(super) fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// Whether the mishap has not come yet.
    pub(super) fn is_pending(&self) -> bool {
        self.0.lock().unwrap().left.is_some()
    }

    /// The agent starts again: nothing is forgotten.
    pub(super) fn restart(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.dead = false;
        inner.left = None;
    }

    /// The host starts again: of what was not synced, `keep` says how much is there (0 nothing, 255 all).
    pub(super) fn power_cut(&self, mut keep: impl FnMut() -> u8) {
        self.restart();
        let mut inner = self.0.lock().unwrap();
        for node in &mut inner.nodes {
            if node.now != node.synced {
                let share = usize::from(keep());
                node.now = match share {
                    0..=80 => node.synced.clone(),
                    _ => {
                        let common = node.now.iter().zip(&node.synced).take_while(|(a, b)| a == b).count();
                        let more = (node.now.len() - common) * share / 255;
                        node.now[..common + more].to_vec()
                    }
                };
                node.synced = node.now.clone();
            }
        }
        let mut names = inner.synced.clone();
        let all: Vec<PathBuf> = inner.names.keys().chain(inner.synced.keys()).cloned().collect();
        for path in all {
            let (now, synced) = (inner.names.get(&path).copied(), inner.synced.get(&path).copied());
            if now != synced && keep() > 127 {
                match now {
                    Some(node) => drop(names.insert(path, node)),
                    None => drop(names.remove(&path)),
                }
            }
        }
        inner.synced = names.clone();
        inner.names = names;
    }

    pub(super) fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.0.lock().unwrap();
        let name = |it: &Path| it.file_name().unwrap().to_string_lossy().into_owned();
        inner.names.iter().map(|(path, node)| (name(path), inner.nodes[*node].now.clone())).collect()
    }

    /// Runs an operation; gives the inner state, and whether it is only half done.
    fn op<T>(&self, run: impl FnOnce(&mut Inner, bool) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.0.lock().unwrap();
        inner.operations += 1;
        if inner.dead {
            return Err(io::Error::other("killed"));
        }
        match inner.left {
            Some((0, mishap)) => {
                inner.left = None;
                drop(run(&mut inner, true));
                match mishap {
                    Mishap::Fails(errno) => Err(io::Error::from_raw_os_error(errno)),
                    Mishap::Killed => {
                        inner.dead = true;
                        Err(io::Error::other("killed"))
                    }
                }
            }
            Some((n, mishap)) => {
                inner.left = Some((n - 1, mishap));
                run(&mut inner, false)
            }
            None => run(&mut inner, false),
        }
    }
}

impl Inner {
    fn node(&mut self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn put(&mut self, node: usize, bytes: &[u8], half: bool) -> io::Result<()> {
        let used: usize = self.names.values().map(|it| self.nodes[*it].now.len()).sum();
        let fits = self.room.map_or(usize::MAX, |room| room.saturating_sub(used));
        let share = if half { bytes.len() / 2 } else { bytes.len() };
        let part = &bytes[..share.min(fits)];
        self.nodes[node].now.extend_from_slice(part);
        if part.len() < share { Err(io::Error::from_raw_os_error(nix::libc::ENOSPC)) } else { Ok(()) }
    }
}

impl Files for MemoryDisk {
    fn make_folder(&self, _: &Path) -> io::Result<()> {
        self.op(|_, _| Ok(()))
    }

    fn read(&self, path: &Path, _: u64) -> io::Result<Vec<u8>> {
        self.op(|inner, _| inner.node(path).map(|it| inner.nodes[it].now.clone()))
    }

    fn names(&self, _: &Path) -> io::Result<Vec<String>> {
        self.op(|inner, _| {
            Ok(inner.names.keys().map(|it| it.file_name().unwrap().to_string_lossy().into_owned()).collect())
        })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.op(|inner, half| {
            let node = match inner.node(path) {
                Ok(node) => node,
                Err(_) => {
                    inner.nodes.push(Node::default());
                    let node = inner.nodes.len() - 1;
                    inner.names.insert(path.to_owned(), node);
                    node
                }
            };
            inner.nodes[node].now.clear();
            inner.put(node, bytes, half)
        })
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.op(|inner, half| {
            let node = inner.node(path)?;
            if !half {
                inner.nodes[node].synced = inner.nodes[node].now.clone();
            }
            Ok(())
        })
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.op(|inner, half| {
            if !half {
                inner.synced = inner.names.clone();
            }
            Ok(())
        })
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.op(|inner, half| {
            let node = inner.node(path)?;
            inner.put(node, bytes, half)?;
            if !half {
                inner.nodes[node].synced = inner.nodes[node].now.clone();
            }
            Ok(())
        })
    }

    fn cut(&self, path: &Path, length: u64) -> io::Result<()> {
        self.op(|inner, half| {
            let node = inner.node(path)?;
            if !half {
                inner.nodes[node].now.truncate(usize::try_from(length).unwrap());
                inner.nodes[node].synced = inner.nodes[node].now.clone();
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.op(|inner, half| {
            let node = inner.node(from)?;
            if !half {
                inner.names.remove(from);
                inner.names.insert(to.to_owned(), node);
            }
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.op(|inner, half| {
            inner.node(path)?;
            if !half {
                inner.names.remove(path);
            }
            Ok(())
        })
    }
}
