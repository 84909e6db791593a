//! Character devices: where the other end of a monitor or a console is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::options::{Options, is_on, options};

/// One character device of a QEMU command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chardev {
    pub(super) id: Option<String>,
    pub(super) backend: Backend,
    pub(super) mux: bool,
    pub(super) logfile: Option<PathBuf>,
}

/// What it is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Unix(PathBuf),
    Tcp(SocketAddr),
    Tty(PathBuf),
    /// A pty that QEMU made; which one the command line does not say.
    Pty,
    /// Nothing that anybody but its owner can use; says what and why.
    Useless {
        what: String,
        why: &'static str,
    },
}

const BY_FD: &str = "the guest's manager opened it and keeps it (passed as a descriptor): add a second one for \
                     vmward, such as -qmp unix:/run/NAME/vmward.qmp,server=on,wait=off";
const CLIENT: &str = "QEMU connects out here and listens to nobody: use server=on,wait=off";
const NOT_OURS: &str = "it belongs to whoever started QEMU: use a unix socket with server=on,wait=off";
const ONE_WAY: &str = "it is written and never read: a unix socket with server=on,wait=off can do both";
const HOST_NAME: &str = "only addresses are connected to, no names: write the address";

impl Chardev {
    /// `-chardev BACKEND,id=...,key=value` or its JSON form.
    pub(super) fn from_option(text: &str) -> Self {
        let all = options(text, "backend");
        let get = |key: &str| all.get(key).map(String::as_str);
        let backend = match get("backend").unwrap_or_default() {
            "socket" => socket(&all),
            "pty" => Backend::Pty,
            "serial" | "tty" => match get("path") {
                Some(path) => Backend::Tty(path.into()),
                None => Backend::Useless { what: "serial".to_owned(), why: NOT_OURS },
            },
            "file" => one_way(get("path").unwrap_or("file")),
            other => Backend::Useless { what: other.to_owned(), why: NOT_OURS },
        };
        Self { id: get("id").map(str::to_owned), backend, mux: is_on(&all, "mux"), logfile: logfile(&all) }
    }

    /// The short form of `-serial` and `-qmp`: `unix:/x,server=on`, `tcp:127.0.0.1:4444,server`, `pty`, ...
    pub(super) fn from_short(text: &str) -> Self {
        let (mux, text) = match text.strip_prefix("mon:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let all = options(text, "it");
        let it = all.get("it").map(String::as_str).unwrap_or_default();
        let backend = match it.split_once(':') {
            Some(("unix", path)) => listening(&all, Backend::Unix(path.into()), it),
            Some(("tcp" | "telnet", address)) => match address_of(address) {
                Some(address) => listening(&all, Backend::Tcp(address), it),
                None => Backend::Useless { what: it.to_owned(), why: HOST_NAME },
            },
            Some(("file", path)) => one_way(path),
            _ if it == "pty" => Backend::Pty,
            _ if it.starts_with("/dev/") => Backend::Tty(it.into()),
            _ => Backend::Useless { what: it.to_owned(), why: NOT_OURS },
        };
        Self { id: None, backend, mux: mux || is_on(&all, "mux"), logfile: logfile(&all) }
    }
}

fn socket(all: &Options) -> Backend {
    // QAPI's nested form has `addr.type`, libvirt's and the plain form do not.
    let get = |key: &str| all.get(key).or_else(|| all.get(&format!("addr.{key}"))).map(String::as_str);
    if let Some(fd) = get("fd") {
        return Backend::Useless { what: format!("descriptor {fd}"), why: BY_FD };
    }
    if let Some(path) = get("path") {
        if is_on(all, "abstract") {
            return Backend::Useless { what: format!("abstract socket {path}"), why: NOT_OURS };
        }
        return listening(all, Backend::Unix(path.into()), path);
    }
    let text = format!("{}:{}", get("host").unwrap_or_default(), get("port").unwrap_or_default());
    match address_of(&text) {
        Some(address) => listening(all, Backend::Tcp(address), &text),
        None => Backend::Useless { what: text, why: HOST_NAME },
    }
}

fn listening(all: &Options, backend: Backend, what: &str) -> Backend {
    if is_on(all, "server") { backend } else { Backend::Useless { what: what.to_owned(), why: CLIENT } }
}

fn one_way(path: &str) -> Backend {
    Backend::Useless { what: path.to_owned(), why: ONE_WAY }
}

/// The log file, unless it was passed as a descriptor.
fn logfile(all: &Options) -> Option<PathBuf> {
    all.get("logfile").filter(|it| !it.starts_with("/dev/fdset")).map(PathBuf::from)
}

/// `host:port`; no host and `localhost` are this host, wildcards are reached at the loopback address.
fn address_of(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let host: IpAddr = match host.trim_start_matches('[').trim_end_matches(']') {
        "" | "localhost" | "0.0.0.0" => Ipv4Addr::LOCALHOST.into(),
        "::" => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other.parse().ok()?,
    };
    Some(SocketAddr::new(host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_qemu_listens_on_can_be_used() {
        let it = Chardev::from_option("socket,id=c0,path=/run/a,,b,server=on,wait=off,mux=on,logfile=/l");
        assert_eq!(it.backend, Backend::Unix("/run/a,b".into()));
        assert_eq!((it.id.as_deref(), it.mux, it.logfile), (Some("c0"), true, Some("/l".into())));
        let old = Chardev::from_short("unix:/run/q,server,nowait");
        assert_eq!(old.backend, Backend::Unix("/run/q".into()));
        let tcp = Chardev::from_option("socket,id=c,host=localhost,port=4555,server=on");
        assert_eq!(tcp.backend, Backend::Tcp("127.0.0.1:4555".parse().unwrap()));
        assert_eq!(
            Chardev::from_short("mon:pty"),
            Chardev { id: None, backend: Backend::Pty, mux: true, logfile: None }
        );
        assert_eq!(Chardev::from_short("/dev/ttyS1").backend, Backend::Tty("/dev/ttyS1".into()));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (it, want) in [
            (Chardev::from_option("socket,id=charmonitor,fd=27,server=on,wait=off"), "descriptor"),
            (Chardev::from_option("socket,id=c,path=/x"), "connects out"),
            (Chardev::from_short("tcp:db.example:4444,server=on"), "no names"),
            (Chardev::from_short("mon:stdio"), "whoever started QEMU"),
            (Chardev::from_option("file,id=c,path=/log"), "never read"),
            (Chardev::from_short(""), "whoever started QEMU"),
        ] {
            let Backend::Useless { why, .. } = &it.backend else { panic!("{it:?} can be used") };
            assert!(why.contains(want), "{why:?}, not {want:?}");
        }
    }
}
