//! `fuse-self`: a FUSE server that goes through its own mount and so waits for itself.
//!
//! `fuse-holder` makes a folder in the mount: it holds the root folder's inode lock while it waits for
//! the server. The server, asked for that name, looks into its own mount and queues on that very lock.
//! Two writers of the application queue behind. Nobody can go on until the server is killed.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use super::fuse_wire::Request;
use super::{Fault, PATIENCE, Start, app_waits};
use crate::proc;
use crate::role::{Role, spawn};

const MOUNT: &str = "/mnt/fuse";
const BAIT: &str = "bait";
const MOUNTED: &str = "/run/fuse.mounted";

/// See the file's header.
pub(super) const FAULT: Fault = Fault {
    name: "fuse-self",
    start,
    heal: None,
    roles: &[Role { name: "fuse-server", run: serve }, Role { name: "fuse-holder", run: make_folder }],
};

fn start(_: &[&str]) -> Result<Start> {
    let server = spawn("fuse-server", &[])?.id();
    let is_server = |it: &proc::Task| it.pid == server;
    proc::wait_for("the FUSE mount", 1, PATIENCE, is_server, |_| Path::new(MOUNTED).exists())?;
    spawn("fuse-holder", &[BAIT])?;
    proc::wait_for("fuse-server in D", 1, PATIENCE, is_server, |it| it.state == 'D')?;
    let path = format!("{MOUNT}/wanted");
    app_waits([&path, &path], &[server]).map(Start::Shown)
}

fn serve(_: &[String]) -> Result<()> {
    fs::create_dir_all(MOUNT)?;
    let device: File =
        OpenOptions::new().read(true).write(true).open("/dev/fuse").context("cannot open /dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    mount(Some("patient"), MOUNT, Some("fuse"), MsFlags::MS_NOSUID, Some(options.as_str()))
        .context("cannot mount FUSE")?;
    fs::write(MOUNTED, "")?;
    loop {
        let request = Request::read(&device)?;
        if request.is_about(BAIT) {
            // The mistake that this fault is about: a server that uses its own mount.
            let found = fs::symlink_metadata(format!("{MOUNT}/own")).is_ok();
            anyhow::bail!("the server's own look came back: {found}");
        }
        request.answer(&device)?;
    }
}

fn make_folder(arguments: &[String]) -> Result<()> {
    let name = arguments.first().context("no name")?;
    fs::create_dir(format!("{MOUNT}/{name}")).with_context(|| format!("cannot make folder {name}"))
}
