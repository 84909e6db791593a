//! The spool's folder: a file for each entry that waits, and the ledger.
//!
//! An entry's file is on disk before the ledger speaks of it, and is removed after the ledger says that
//! it waits no more. What the ledger does not know is a leftover and goes at the next start. When a file
//! operation fails, the folder is read anew before the next: what the disk holds is the truth.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use vmward_model::exchange::Dropped;

use super::bound::{self, Bound, Wanted};
use super::files::Files;
use super::ledger::{self, Fate, Op, State, Waiting};
use super::record::{self, Body, Record};

/// The ledger's name.
pub(super) const LEDGER: &str = "ledger";
const PART: &str = "ledger.part";
/// More than any ledger of ours: it is written anew when it is long.
pub(super) const MAX_LEDGER: u64 = 64 << 20;
/// The longest file of an entry.
pub(super) const MAX_RECORD: u64 = 4 << 20;
/// A ledger shorter than this is never written anew.
const REWRITE: u64 = 1 << 20;
/// Numbers go on this much later after a ledger that was damaged: some that were used may be unknown.
const GAP: u64 = 1 << 20;

/// The spool cannot be used just now.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system refused.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// An entry has no JSON form.
    #[error("cannot write an entry as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SpoolError + 'a {
    move |source| SpoolError::Io { doing, path: path.to_owned(), source }
}

/// Something that wants to become an entry.
#[derive(Clone, Debug)]
pub(super) struct New {
    pub(super) severity: vmward_model::Severity,
    pub(super) source: ledger::Source,
    pub(super) body: Body,
    /// Bytes besides the entry's own file.
    pub(super) more_bytes: u64,
}

/// The spool on its disk. One a folder.
#[derive(Debug)]
pub(super) struct Spool<F> {
    files: F,
    folder: PathBuf,
    bound: Bound,
    state: State,
    /// Bytes of the ledger.
    length: u64,
    /// Length at which the ledger is written anew.
    rewrite: u64,
    /// Something failed: what the disk holds is not known.
    stale: bool,
    /// Drops that nobody was told of.
    pub(super) untold: Dropped,
}

impl<F: Files> Spool<F> {
    /// Opens the folder, which is made where it is not there.
    pub(super) fn open(files: F, folder: &Path, bound: Bound) -> Result<Spool<F>, SpoolError> {
        files.make_folder(folder).map_err(io_error("make", folder))?;
        let mut spool = Spool {
            files,
            folder: folder.to_owned(),
            bound,
            state: State::default(),
            length: 0,
            rewrite: REWRITE,
            stale: true,
            untold: Dropped::default(),
        };
        spool.fresh()?;
        let plan = bound::plan(&spool.state, bound, &[]);
        spool.end(&plan.victims.iter().map(|it| (*it, Fate::Dropped)).collect::<Vec<_>>())?;
        Ok(spool)
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Makes entries of what wants in, in this order, all at once; the bound may drop some, of them or of
    /// those that wait.
    pub(super) fn add(&mut self, new: Vec<New>) -> Result<(), SpoolError> {
        self.fresh()?;
        let first = self.state.next();
        let mut texts = Vec::with_capacity(new.len());
        let mut wanted = Vec::with_capacity(new.len());
        for (seq, it) in (first..).zip(&new) {
            let record = Record { seq, severity: it.severity, body: it.body.clone() };
            let mut text = serde_json::to_vec_pretty(&record)?;
            text.push(b'\n');
            let bytes = it.more_bytes.saturating_add(text.len() as u64);
            wanted.push(Wanted { severity: it.severity, bytes, source: it.source.clone() });
            texts.push((record.body.kind(), text));
        }
        let plan = bound::plan(&self.state, self.bound, &wanted);
        let mut ops: Vec<Op> =
            plan.victims.iter().map(|it| Op::End { seq: *it, fate: Fate::Dropped }).collect();
        let mut made = Vec::new();
        for (((seq, want), (kind, text)), enters) in (first..).zip(wanted).zip(texts).zip(plan.enters) {
            let Wanted { severity, bytes, source } = want;
            if enters {
                let entry = Waiting { seq, severity, kind, bytes, source, aside: None };
                made.push((self.folder.join(entry.file_name()), text));
                ops.push(Op::Add(entry));
            } else {
                ops.push(Op::Turn { seq, severity, source });
            }
        }
        if let Err(error) = self.write_all(&made) {
            // Best effort, so that a full disk is not made fuller; what stays is a leftover.
            for (path, _) in &made {
                drop(self.files.remove(path));
            }
            return Err(error);
        }
        let victims = self.paths(&plan.victims);
        self.commit(&ops)?;
        self.remove(&victims);
        Ok(())
    }

    fn write_all(&self, made: &[(PathBuf, Vec<u8>)]) -> Result<(), SpoolError> {
        for (path, text) in made {
            self.files.write(path, text).map_err(io_error("write", path))?;
        }
        for (path, _) in made {
            self.files.sync(path).map_err(io_error("sync", path))?;
        }
        if made.is_empty() {
            return Ok(());
        }
        self.files.sync_folder(&self.folder).map_err(io_error("sync", &self.folder))
    }

    /// Ends entries. Those that do not wait (any more) are left out.
    pub(super) fn end(&mut self, fates: &[(u64, Fate)]) -> Result<(), SpoolError> {
        self.fresh()?;
        let known: Vec<(u64, Fate)> =
            fates.iter().copied().filter(|(seq, _)| self.state.get(*seq).is_some()).collect();
        if known.is_empty() {
            return Ok(());
        }
        let gone = self.paths(&known.iter().map(|(seq, _)| *seq).collect::<Vec<_>>());
        self.commit(&known.iter().map(|(seq, fate)| Op::End { seq: *seq, fate: *fate }).collect::<Vec<_>>())?;
        self.remove(&gone);
        Ok(())
    }

    /// Writes down why an entry was set aside.
    pub(super) fn aside(&mut self, seq: u64, why: &str) -> Result<(), SpoolError> {
        self.fresh()?;
        match self.state.get(seq) {
            Some(it) if it.aside.as_deref() != Some(why) => {
                self.commit(&[Op::Aside { seq, why: why.to_owned() }])
            }
            _ => Ok(()),
        }
    }

    /// Takes it that only these bundles are still there: one that waited is dropped, since nothing of it can
    /// be sent any more.
    pub(super) fn only(&mut self, bundles: &BTreeSet<String>) -> Result<(), SpoolError> {
        self.fresh()?;
        let mut ops = Vec::new();
        let mut dropped = Vec::new();
        for (name, seq) in self.state.bundles().iter().filter(|(it, _)| !bundles.contains(*it)) {
            if self.state.get(*seq).is_some() {
                ops.push(Op::End { seq: *seq, fate: Fate::Dropped });
                dropped.push(*seq);
            }
            ops.push(Op::Forget { bundle: name.clone() });
        }
        if ops.is_empty() {
            return Ok(());
        }
        let gone = self.paths(&dropped);
        self.commit(&ops)?;
        self.remove(&gone);
        Ok(())
    }

    /// The record of an entry that waits.
    pub(super) fn record(&self, entry: &Waiting) -> io::Result<Record> {
        let bytes = self.files.read(&self.folder.join(entry.file_name()), MAX_RECORD)?;
        let record: Record = serde_json::from_slice(&bytes).map_err(io::Error::from)?;
        if record.seq != entry.seq || record.severity != entry.severity {
            return Err(io::Error::other("its file speaks of another entry"));
        }
        Ok(record)
    }

    /// One step: its line is on disk when this returns well, and then it is done.
    fn commit(&mut self, ops: &[Op]) -> Result<(), SpoolError> {
        let line = ledger::line(ops)?;
        let path = self.folder.join(LEDGER);
        if let Err(source) = self.files.append(&path, &line) {
            // Half a line must not stay in the way of the next; if this fails too, reading anew cuts it.
            drop(self.files.cut(&path, self.length));
            self.stale = true;
            return Err(io_error("write", &path)(source));
        }
        self.length = self.length.saturating_add(line.len() as u64);
        let before = self.state.counters().dropped;
        ops.iter().for_each(|it| self.state.apply(it));
        let after = self.state.counters().dropped;
        for severity in record::ALL {
            let new = after.clone().of(severity).saturating_sub(*before.clone().of(severity));
            let untold = self.untold.of(severity);
            *untold = untold.saturating_add(new);
        }
        if self.length > self.rewrite {
            self.rewrite();
        }
        Ok(())
    }

    /// Writes the ledger anew as one line. When that fails the old one stays good.
    fn rewrite(&mut self) {
        let (path, part) = (self.folder.join(LEDGER), self.folder.join(PART));
        let written = ledger::line(&[self.state.whole()]).map_err(SpoolError::from).and_then(|line| {
            self.files.write(&part, &line).map_err(io_error("write", &part))?;
            self.files.sync(&part).map_err(io_error("sync", &part))?;
            self.files.rename(&part, &path).map_err(io_error("rename", &part))?;
            // From here on it is not known which of the two a power cut would leave.
            self.stale = true;
            self.files.sync_folder(&self.folder).map_err(io_error("sync", &self.folder))?;
            self.stale = false;
            Ok(line.len() as u64)
        });
        match written {
            Ok(length) => {
                self.length = length;
                self.rewrite = length.saturating_mul(4).max(REWRITE);
            }
            Err(error) => {
                tracing::warn!("the spool's ledger stays long: {error}");
                self.rewrite = self.length.saturating_add(REWRITE);
            }
        }
    }

    /// Reads what the disk holds, where that is not known.
    fn fresh(&mut self) -> Result<(), SpoolError> {
        if !self.stale {
            return Ok(());
        }
        let path = self.folder.join(LEDGER);
        // A ledger that was renamed must be on disk under its name before anything is added to it.
        self.files.sync_folder(&self.folder).map_err(io_error("sync", &self.folder))?;
        let bytes = match self.files.read(&path, MAX_LEDGER) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.files.write(&path, b"").map_err(io_error("make", &path))?;
                self.files.sync(&path).map_err(io_error("sync", &path))?;
                self.files.sync_folder(&self.folder).map_err(io_error("sync", &self.folder))?;
                Vec::new()
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let read = ledger::read(&bytes);
        if read.whole < bytes.len() as u64 {
            self.files.cut(&path, read.whole).map_err(io_error("cut", &path))?;
        }
        let names = self.files.names(&self.folder).map_err(io_error("list", &self.folder))?;
        self.state = read.state;
        self.length = read.whole;
        self.stale = false;
        if read.damaged {
            tracing::error!("the spool's ledger was damaged: entries after the damage are made again");
            let next = self.state.next().saturating_add(GAP);
            self.commit(&[Op::Skip { next }])?;
        }
        self.tidy(&names)
    }

    /// Removes leftovers, and drops entries whose file somebody took away.
    fn tidy(&mut self, names: &[String]) -> Result<(), SpoolError> {
        let there: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let known: BTreeSet<String> = self.state.waiting().map(Waiting::file_name).collect();
        let lost: Vec<Op> = self
            .state
            .waiting()
            .filter(|it| !there.contains(it.file_name().as_str()))
            .map(|it| Op::End { seq: it.seq, fate: Fate::Dropped })
            .collect();
        if !lost.is_empty() {
            tracing::error!("{} entries of the spool have no file any more and are dropped", lost.len());
            self.commit(&lost)?;
        }
        let leftover = |it: &&String| {
            it.as_str() == PART || record::number(it).is_some() && !known.contains(it.as_str())
        };
        let left: Vec<PathBuf> = names.iter().filter(leftover).map(|it| self.folder.join(it)).collect();
        self.remove(&left);
        Ok(())
    }

    fn paths(&self, seqs: &[u64]) -> Vec<PathBuf> {
        seqs.iter().filter_map(|it| Some(self.folder.join(self.state.get(*it)?.file_name()))).collect()
    }

    /// Removes files that count no more. One that stays is a leftover, which the next start removes.
    fn remove(&self, paths: &[PathBuf]) {
        for path in paths {
            match self.files.remove(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!("cannot remove {}: {error}", path.display());
                }
                _ => {}
            }
        }
    }
}
