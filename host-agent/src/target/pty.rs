//! Which ptys a process has made: the kernel tells the number beside each descriptor of `/dev/ptmx`
//! (`tty-index` in `/proc/PID/fdinfo`, Linux `drivers/tty/pty.c`, `pty_show_fdinfo`).

use std::path::{Path, PathBuf};

/// Most descriptors that are looked at.
const MAX_FDS: usize = 10_000;

/// The ptys of the process whose `/proc` folder is `folder`, in the order of their descriptors.
pub(super) fn of(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let denied = |e: std::io::Error| {
        format!(
            "its descriptors cannot be read ({e}): run as its user or with CAP_SYS_PTRACE, or give console.tty"
        )
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder.join("fd")).map_err(denied)?.take(MAX_FDS) {
        let entry = entry.map_err(denied)?;
        let Some(fd) = entry.file_name().to_str().and_then(|it| it.parse::<u32>().ok()) else { continue };
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        if target.file_name().is_none_or(|it| it != "ptmx") {
            continue;
        }
        let info = std::fs::read_to_string(folder.join("fdinfo").join(fd.to_string())).map_err(denied)?;
        match index(&info) {
            Some(index) => found.push((fd, PathBuf::from(format!("/dev/pts/{index}")))),
            None => return Err("this kernel does not tell which pty it is: give console.tty".to_owned()),
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn index(info: &str) -> Option<u32> {
    info.lines().find_map(|line| line.strip_prefix("tty-index:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_ptys_are_found_in_order() {
        let a = nix::pty::openpty(None, None).unwrap();
        let b = nix::pty::openpty(None, None).unwrap();
        let mut want: Vec<(i32, PathBuf)> = [&a, &b]
            .into_iter()
            .map(|pty| {
                use std::os::fd::AsRawFd;
                (pty.master.as_raw_fd(), nix::unistd::ttyname(&pty.slave).unwrap())
            })
            .collect();
        want.sort();
        let all = of(Path::new("/proc/self")).unwrap();
        let ours: Vec<&PathBuf> = all.iter().filter(|it| want.iter().any(|(_, path)| path == *it)).collect();
        assert_eq!(ours, want.iter().map(|(_, path)| path).collect::<Vec<_>>());
    }
}
