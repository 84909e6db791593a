//! Files of the guest as an answer in the form of `grep -H ''` holds them.

use std::collections::BTreeMap;

/// Files by path.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Files(BTreeMap<String, String>);

impl Files {
    /// Reads `PATH:LINE` lines. What has no path in front belongs to the line before it: a file's own text
    /// may hold a line feed that `grep` was not told of.
    pub fn parse(text: &str) -> Self {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for line in text.lines() {
            let Some((path, rest)) = line.split_once(':').filter(|it| it.0.starts_with('/')) else {
                continue;
            };
            let file = files.entry(path.to_owned()).or_default();
            file.push_str(rest);
            file.push('\n');
        }
        Self(files)
    }

    /// A file's text. None when it was not there, or empty.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// All of them, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Process and thread ids of the `/proc/PID/task/TID` that are there, ascending.
    pub fn threads(&self) -> Vec<(u32, u32)> {
        let ids = |path: &str| {
            let mut words = path.strip_prefix("/proc/")?.split('/');
            let pid = words.next()?.parse().ok()?;
            let tid = words.nth(1)?.parse().ok()?;
            Some((pid, tid))
        };
        let mut all: Vec<_> = self.0.keys().filter_map(|path| ids(path)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// A file of one thread, such as `stack`.
    pub fn of_thread(&self, (pid, tid): (u32, u32), name: &str) -> Option<&str> {
        self.get(&format!("/proc/{pid}/task/{tid}/{name}"))
    }

    /// The `stat` of every thread, one line each.
    pub(super) fn stat(&self) -> String {
        self.threads().into_iter().filter_map(|it| self.of_thread(it, "stat")).collect()
    }

    /// The `status` of every process.
    pub(super) fn status(&self) -> String {
        self.leaders().filter_map(|it| self.of_thread(it, "status")).collect()
    }

    /// Of every process its folder, `syscall` and `wchan` in one line.
    pub(super) fn syscall(&self) -> String {
        let line = |id: (u32, u32)| {
            let word = |name| self.of_thread(id, name).unwrap_or_default().trim_end();
            format!("/proc/{} {} {}\n", id.0, word("syscall"), word("wchan"))
        };
        self.leaders().map(line).collect()
    }

    /// The first thread of each process.
    fn leaders(&self) -> impl Iterator<Item = (u32, u32)> {
        self.threads().into_iter().filter(|(pid, tid)| pid == tid)
    }

    /// A thread's context switches of both kinds, from its `status`.
    pub fn switches(&self, thread: (u32, u32)) -> Option<u64> {
        let status = self.of_thread(thread, "status")?;
        let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        let counts: Option<Vec<u64>> = counts.map(|(_, count)| count.trim().parse().ok()).collect();
        counts.filter(|it| it.len() == 2).map(|it| it.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_to_their_files() {
        let files = Files::parse(
            "/proc/7/task/9/status:Name:\tapp\n/proc/7/task/9/status:voluntary_ctxt_switches:\t40\n\
             /proc/7/task/9/status:nonvoluntary_ctxt_switches:\t2\n/proc/7/task/9/wchan:0\n\
             /proc/loadavg:0.1 0.2 0.3 1/60 99\n",
        );
        assert_eq!(files.get("/proc/loadavg"), Some("0.1 0.2 0.3 1/60 99\n"));
        assert_eq!(files.threads(), [(7, 9)]);
        assert_eq!(files.of_thread((7, 9), "wchan"), Some("0\n"));
        assert_eq!(files.switches((7, 9)), Some(42));
        assert_eq!(files.switches((7, 10)), None);
        assert_eq!(files.iter().count(), 3);
    }

    #[test]
    fn what_is_known_of_processes_can_be_had_in_lines() {
        let files = Files::parse(
            "/proc/7/task/9/stat:9 (b) S\n/proc/7/task/7/stat:7 (a) S\n/proc/7/task/7/wchan:poll\n\
             /proc/7/task/7/syscall:7 0x1\n/proc/7/task/7/status:Name:\ta\n/proc/7/task/9/status:Name:\tb\n",
        );
        assert_eq!(files.stat(), "7 (a) S\n9 (b) S\n");
        assert_eq!(files.status(), "Name:\ta\n");
        assert_eq!(files.syscall(), "/proc/7 7 0x1 poll\n");
    }
}
