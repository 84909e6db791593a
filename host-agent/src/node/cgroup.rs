//! The cgroup of a process and the pressure in it (PSI, Documentation/accounting/psi.rst).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::read;

const RESOURCES: [&str; 3] = ["cpu", "io", "memory"];

/// Path in the unified hierarchy (cgroup v2) from `/proc/PID/cgroup`, else the first controller's path
/// that is not the root (v1).
pub fn path_of(text: &str) -> Option<String> {
    let mut legacy = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if controllers.is_empty() && path != "/" {
            return Some(path.to_owned());
        }
        if path != "/" && legacy.is_none() {
            legacy = Some(path.to_owned());
        }
    }
    legacy.or_else(|| text.lines().next().map(|_| "/".to_owned()))
}

/// Pressure of one cgroup or of the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pressure {
    /// `cpu.some.avg10` and so on, in percent.
    pub values: BTreeMap<String, f64>,
    /// Whether it is the whole host's, because the cgroup has none of its own.
    pub of_host: bool,
}

/// Pressure of the cgroup at `path`, else of the host. Blocking. `root` is where cgroups are mounted
/// (`/sys/fs/cgroup`), `host` where the host's pressure is (`/proc/pressure`).
pub fn pressure(root: &Path, host: &Path, path: &str) -> Pressure {
    // A path that begins with `/..` is outside of our cgroup namespace.
    let inside = !path.split('/').any(|part| part == "..") && path != "/";
    if inside {
        for base in [root.to_owned(), root.join("unified")] {
            let folder = base.join(path.trim_start_matches('/'));
            let values = collect(|resource| folder.join(format!("{resource}.pressure")));
            if !values.is_empty() {
                return Pressure { values, of_host: false };
            }
        }
    }
    Pressure { values: collect(|resource| host.join(resource)), of_host: true }
}

fn collect(file: impl Fn(&str) -> PathBuf) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for resource in RESOURCES {
        if let Ok(text) = read::text(file(resource), 4096) {
            parse(resource, &text, &mut values);
        }
    }
    values
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`
fn parse(resource: &str, text: &str, values: &mut BTreeMap<String, f64>) {
    for line in text.lines().take(2) {
        let mut words = line.split_ascii_whitespace();
        let Some(kind) = words.next().filter(|it| matches!(*it, "some" | "full")) else { continue };
        for (name, value) in words.filter_map(|it| it.split_once('=')) {
            if let Some(percent) =
                value.parse::<f64>().ok().filter(|it| it.is_finite() && name.starts_with("avg"))
            {
                values.insert(format!("{resource}.{kind}.{name}"), percent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_path_wins_over_the_legacy_ones() {
        let hybrid = "4:memory:/m\n0::/machine.slice/vm.scope\n";
        assert_eq!(path_of(hybrid).as_deref(), Some("/machine.slice/vm.scope"));
        assert_eq!(path_of("4:memory:/eve/app:1\n2:cpuacct:/\n0::/\n").as_deref(), Some("/eve/app:1"));
        assert_eq!(path_of("0::/\n").as_deref(), Some("/"));
        assert_eq!(path_of(""), None);
    }

    #[test]
    fn a_cgroup_with_pressure_of_its_own_is_used_and_one_without_falls_back_to_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let vm = dir.path().join("vm.scope");
        let host = dir.path().join("pressure");
        std::fs::create_dir_all(&vm).unwrap();
        std::fs::create_dir_all(&host).unwrap();
        let line = |n: &str| {
            format!(
                "some avg10={n} avg60=1.00 avg300=0.00 total=9\nfull avg10=0.50 avg60=0 avg300=0 total=1\n"
            )
        };
        std::fs::write(vm.join("io.pressure"), line("73.10")).unwrap();
        std::fs::write(host.join("io"), line("2.00")).unwrap();

        let own = pressure(dir.path(), &host, "/vm.scope");
        assert!(!own.of_host);
        assert_eq!(own.values.get("io.some.avg10"), Some(&73.1));
        assert_eq!(own.values.get("io.full.avg10"), Some(&0.5));
        assert!(!own.values.contains_key("io.some.total"));
        for outside in ["/", "/../vm.scope", "/none"] {
            let of_host = pressure(dir.path(), &host, outside);
            assert!(of_host.of_host, "{outside}");
            assert_eq!(of_host.values.get("io.some.avg10"), Some(&2.0));
        }
    }
}
