//! Asks a Debian suite other than this machine's own, through a throw-away apt state folder.
//!
//! Nothing of the machine's apt is changed: lists, status and cache live below the fixtures cache.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::source;
use crate::cache::Cache;

/// A paragraph of Debian control data: lower-case field names, values with continuation lines joined.
pub(super) type Paragraph = BTreeMap<String, String>;

/// Lists younger than this are not fetched again, so that several groups of a suite share one update.
const LISTS_ARE_FRESH: Duration = Duration::from_secs(900);

/// One suite and architecture.
#[derive(Debug)]
pub(super) struct Apt {
    dir: PathBuf,
    arch: String,
}

impl Apt {
    /// Sets the state folder up and fetches the package lists.
    ///
    /// # Errors
    /// When the archive cannot be reached or has no such suite.
    pub(super) fn open(cache: &Cache, suite: &str, arch: &str) -> Result<Self> {
        let dir = cache.root().join("apt").join(format!("{suite}-{arch}"));
        for sub in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(dir.join(sub)).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let archive = source::archive()?;
        let line = format!("deb [signed-by={}] {archive} {suite} main\n", source::keyring()?.display());
        let it = Self { dir, arch: arch.into() };
        let stamp = it.dir.join("updated");
        let fresh = fs::read_to_string(it.dir.join("sources.list")).is_ok_and(|text| text == line)
            && fs::metadata(&stamp)
                .and_then(|meta| meta.modified())
                .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < LISTS_ARE_FRESH));
        if fresh {
            return Ok(it);
        }
        fs::write(it.dir.join("status"), "")?;
        fs::write(it.dir.join("sources.list"), line)?;
        it.run("apt-get", &it.dir, &["--error-on=any", "update"]).with_context(|| {
            format!(
                "the Debian archive of this machine's apt sources does not give suite {suite} ({arch}): \
                 check the network; a release that has left the mirrors needs the address of an archive \
                 that still has it in {}",
                source::ARCHIVE_VARIABLE
            )
        })?;
        fs::write(stamp, "")?;
        Ok(it)
    }

    /// What the suite says of `package`, newest version first; empty when it has none.
    ///
    /// # Errors
    /// When apt cannot be run.
    pub(super) fn show(&self, package: &str) -> Result<Vec<Paragraph>> {
        // `apt-cache show` fails for a name that it does not know: that is an answer, not an error.
        let output =
            self.command("apt-cache").args(["show", package]).output().context("cannot run apt-cache")?;
        Ok(paragraphs(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Fetches one `.deb` into `folder` and gives its path.
    ///
    /// # Errors
    /// When the download fails.
    pub(super) fn download(&self, name: &str, version: &str, folder: &Path) -> Result<PathBuf> {
        let spec = format!("{name}={version}");
        self.run("apt-get", folder, &["download", &spec])
            .with_context(|| format!("cannot download {spec} for {}", self.arch))?;
        let prefix = format!("{name}_");
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let is_it = path.file_name().and_then(|it| it.to_str()).is_some_and(|it| it.starts_with(&prefix));
            if is_it {
                return Ok(path);
            }
        }
        bail!("apt-get download {spec} left no file in {}", folder.display())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = |key: &str, name: &str| {
            let mut it = OsString::from(format!("{key}="));
            it.push(self.dir.join(name));
            it
        };
        for option in [
            path("Dir::State", ""),
            path("Dir::State::Lists", "lists"),
            path("Dir::State::status", "status"),
            path("Dir::Cache", "cache"),
            path("Dir::Etc::sourcelist", "sources.list"),
            path("Dir::Etc::sourceparts", "parts"),
            format!("APT::Architecture={}", self.arch).into(),
            format!("APT::Architectures={}", self.arch).into(),
            // Only the package list: no translations, no desktop metadata, no file lists.
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".into(),
            // Old suites are no longer signed anew; the lock file's digests decide what is used.
            "Acquire::Check-Valid-Until=false".into(),
            // The cache may be in a home folder that apt's own user cannot enter.
            "APT::Sandbox::User=root".into(),
            "Acquire::Retries=3".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command.env("LC_ALL", "C");
        command
    }

    fn run(&self, program: &str, folder: &Path, args: &[&str]) -> Result<()> {
        let output = self
            .command(program)
            .args(["-q"])
            .args(args)
            .current_dir(folder)
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// Splits Debian control data, see deb822(5).
pub(super) fn paragraphs(text: &str) -> Vec<Paragraph> {
    let mut all = Vec::new();
    let mut current = Paragraph::new();
    let mut field = String::new();
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            if !current.is_empty() {
                all.push(std::mem::take(&mut current));
            }
            continue;
        }
        if line.starts_with([' ', '\t']) {
            if let Some(value) = current.get_mut(&field) {
                value.push('\n');
                value.push_str(line.trim());
            }
            continue;
        }
        if let Some((name, value)) = line.split_once(':') {
            field = name.trim().to_ascii_lowercase();
            current.insert(field.clone(), value.trim().to_owned());
        }
    }
    if !current.is_empty() {
        all.push(current);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_data_is_split_into_paragraphs() {
        let text = "Package: a\nDescription: first\n second line\n\n\n# note\nPackage: b\n";
        let all = paragraphs(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0]["description"], "first\nsecond line");
        assert_eq!(all[1]["package"], "b");
    }
}
