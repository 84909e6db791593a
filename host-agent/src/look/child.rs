//! The child: shuts itself in, takes one order, looks, writes its result, ends.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use serde::Serialize;
use vmward_kernel_facts::Examination;
use vmward_kernel_lens::{Options, Recorder, examine};

use super::order::Request;
use super::{sandbox, source};
use crate::descriptor;
use crate::transport::memory::registers;

/// Bytes of an order.
pub(super) const MAX_ORDER: usize = 8 << 20;
/// Descriptors of an order that are not the guest's: its text, and the files for the result and the
/// minicore.
pub(super) const OWN_FILES: usize = 3;

/// What is written into the result's file.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Wrote<'a> {
    /// It was looked at.
    Found(&'a Examination),
    /// It cannot be.
    Not(&'a str),
}

/// The child's `main`. Its socket is stdin.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // stderr is the parent's; there is no other place for a child that cannot work.
            drop(writeln!(io::stderr(), "vmward look: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    sandbox::enter().map_err(|it| source::chain(&it))?;
    let mut byte = [0];
    let (length, mut files) =
        descriptor::receive(&io::stdin(), &mut byte).map_err(|it| format!("cannot take an order: {it}"))?;
    if length == 0 {
        // The agent ended without one.
        return Ok(());
    }
    if files.len() < OWN_FILES {
        return Err("the order came without its files".to_owned());
    }
    let guest = files.split_off(OWN_FILES);
    let mut own = files.into_iter().map(File::from);
    let (Some(order), Some(result), Some(minicore)) = (own.next(), own.next(), own.next()) else {
        return Err("the order came without its files".to_owned());
    };
    let request = read_order(&order)?;
    let mut out = BufWriter::with_capacity(64 << 10, result);
    let done = look(&request, guest, minicore, |it| {
        serde_json::to_writer(&mut out, &Wrote::Found(it)).map_err(|it| format!("cannot write: {it}"))
    });
    if let Err(why) = done {
        serde_json::to_writer(&mut out, &Wrote::Not(&why)).map_err(|it| it.to_string())?;
    }
    out.flush().map_err(|it| format!("cannot write the result: {it}"))
}

fn read_order(file: &File) -> Result<Request, String> {
    let said = |it: io::Error| format!("cannot read the order: {it}");
    let length = usize::try_from(file.metadata().map_err(said)?.len()).unwrap_or(usize::MAX);
    if length > MAX_ORDER {
        return Err(format!("the order is of {length} bytes"));
    }
    let mut text = vec![0; length];
    file.read_exact_at(&mut text, 0).map_err(said)?;
    serde_json::from_slice(&text).map_err(|it| format!("the order has an unknown form: {it}"))
}

/// Looks and hands over what was found.
fn look(
    request: &Request,
    guest: Vec<OwnedFd>,
    minicore: File,
    mut found: impl FnMut(&Examination) -> Result<(), String>,
) -> Result<(), String> {
    let opened = source::open(&request.memory, guest)?;
    let (mut cpus, mut odd) = (opened.cpus, Vec::new());
    if let Some(text) = &request.registers {
        (cpus, odd) = registers::from_text(text);
    }
    let memory = Recorder::new(&*opened.memory);
    let mut seen = examine(&memory, &cpus, Options::default()).map_err(|it| source::chain(&it))?;
    seen.problems.extend(odd.into_iter().map(|it| format!("registers: {it}")));
    found(&seen)?;
    let _ = (minicore, opened.vmcoreinfo);
    Ok(())
}
