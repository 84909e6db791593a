//! Host network interfaces of a guest: tap by the descriptor's interface, macvtap by its number.

use std::path::Path;

use vmward_model::observed::HostTap;

use super::fds::Fd;
use super::read;

/// Interfaces listed at most.
const MAX_TAPS: usize = 64;

/// The interfaces behind `fds`. `net` is `/sys/class/net`. Blocking.
pub fn list(fds: &[Fd], net: &Path) -> Vec<HostTap> {
    let mut names: Vec<String> = Vec::new();
    for fd in fds {
        let by_number = fd.link.strip_prefix("/dev/tap").and_then(|n| n.parse::<u32>().ok());
        let name = match (&fd.interface, by_number) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(index)) => name_of(net, index),
            (None, None) => None,
        };
        let Some(name) = name.filter(|it| !it.contains('/') && it != "." && it != "..") else { continue };
        // A multi-queue interface has one descriptor a queue.
        if !names.contains(&name) && names.len() < MAX_TAPS {
            names.push(name);
        }
    }
    names.into_iter().map(|name| read_one(net, name)).collect()
}

fn name_of(net: &Path, index: u32) -> Option<String> {
    for entry in std::fs::read_dir(net).ok()?.flatten().take(4096) {
        let found = read::text(entry.path().join("ifindex"), 32).ok().and_then(|it| it.parse::<u32>().ok());
        if found == Some(index) {
            return entry.file_name().into_string().ok();
        }
    }
    None
}

fn read_one(net: &Path, name: String) -> HostTap {
    let folder = net.join(&name);
    let count = |file: &str| {
        let text = read::text(folder.join("statistics").join(file), 64).ok();
        text.and_then(|it| it.parse::<u64>().ok()).unwrap_or(0)
    };
    HostTap {
        state: read::text(folder.join("operstate"), 64).unwrap_or_else(|_| "unreadable".to_owned()),
        rx_packets: count("rx_packets"),
        tx_packets: count("tx_packets"),
        dropped: count("rx_dropped").saturating_add(count("tx_dropped")),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_and_macvtaps_are_found_once_each_and_a_path_is_no_name() {
        let dir = tempfile::tempdir().unwrap();
        for (name, index) in [("vnet0", "7"), ("macvtap0", "9")] {
            let statistics = dir.path().join(name).join("statistics");
            std::fs::create_dir_all(&statistics).unwrap();
            std::fs::write(dir.path().join(name).join("ifindex"), index).unwrap();
            std::fs::write(dir.path().join(name).join("operstate"), "up\n").unwrap();
            for (file, n) in
                [("rx_packets", "11"), ("tx_packets", "12"), ("rx_dropped", "1"), ("tx_dropped", "2")]
            {
                std::fs::write(statistics.join(file), n).unwrap();
            }
        }
        let tun =
            |name: &str| Fd { link: "/dev/net/tun".into(), interface: Some(name.into()), ..Fd::default() };
        let macvtap = Fd { link: "/dev/tap9".into(), ..Fd::default() };
        let taps = list(&[tun("vnet0"), tun("vnet0"), macvtap, tun("../x")], dir.path());
        let names: Vec<&str> = taps.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["vnet0", "macvtap0"]);
        assert_eq!((taps[0].rx_packets, taps[0].tx_packets, taps[0].dropped), (11, 12, 3));
        assert_eq!(taps[0].state, "up");
    }
}
