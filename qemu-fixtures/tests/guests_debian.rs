//! The `debian` guest is what it says: systemd, getty, Debian's SysRq mask, labels, the guest agent.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vmward_qemu_fixtures::debian;

#[test]
fn all_debian_boots_to_a_login_with_its_default_sysrq_mask() -> Result<()> {
    let mut guest = debian::guest("debian")?.boot()?;
    guest.wait_console("app: label", Duration::from_secs(30))?;

    let agent = UnixStream::connect(guest.folder().join(debian::AGENT_SOCKET))?;
    agent.set_read_timeout(Some(Duration::from_secs(60)))?;
    writeln!(&agent, "{}", json!({ "execute": "guest-get-osinfo" }))?;
    let mut line = String::new();
    BufReader::new(&agent).read_line(&mut line)?;
    let info: Value = serde_json::from_str(&line)?;
    ensure!(info["return"]["id"] == "debian", "{info}");

    // BREAK and a key: `t` is not in mask 438, and the kernel says so.
    let mut console = UnixStream::connect(guest.console_path()?)?;
    guest.qmp()?.execute("chardev-send-break", json!({ "id": "console" }))?;
    console.write_all(b"t")?;
    guest.wait_console("This sysrq operation is disabled", Duration::from_secs(30))?;
    Ok(())
}
