//! The child: shuts itself in, takes one order, looks, writes its result, ends.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use vmward_kernel_facts::{Examination, Sampler, Samples};
use vmward_kernel_lens::btf::Types;
use vmward_kernel_lens::cache::Entry;
use vmward_kernel_lens::minicore::{self, Policy};
use vmward_kernel_lens::{Options, Recorder, answer, examine_opened, open_known, sample};

use super::order::{Learned, Request};
use super::source::Source;
use super::{sandbox, source};
use crate::descriptor;
use crate::transport::memory::registers;

/// Bytes of an order.
pub(super) const MAX_ORDER: usize = 8 << 20;
/// Bytes of the registers of one moment: 512 vCPUs.
pub(super) const MAX_REGISTERS: usize = 4 << 20;
/// Descriptors of an order that are not the guest's: its text, and the files for the result and the
/// minicore.
pub(super) const OWN_FILES: usize = 3;
/// With this byte the child asks for the registers of a moment.
pub(super) const ASKS: u8 = b'r';

/// What is written into the result's file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Wrote {
    /// It was looked at.
    Found {
        /// What it told.
        examination: Box<Examination>,
        /// What was learned of the kernel.
        learned: Option<Learned>,
        /// Why there is no minicore, where one was ordered.
        no_minicore: Option<String>,
    },
    /// A picture over time.
    Sampled {
        /// The picture.
        samples: Samples,
        /// As above.
        learned: Option<Learned>,
    },
    /// It cannot be.
    Not(String),
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
    let mut guest = files.split_off(OWN_FILES);
    let mut own = files.into_iter().map(File::from);
    let (Some(order), Some(result), Some(minicore)) = (own.next(), own.next(), own.next()) else {
        return Err("the order came without its files".to_owned());
    };
    let request = read_order(&order)?;
    let btf = if request.btf { guest.pop().map(File::from) } else { None };
    let done = source::open(&request.memory, guest).and_then(|source| match request.moments {
        Some(moments) => over_time(&request, &source, moments),
        None => look(&request, &source, minicore, btf),
    });
    let mut out = BufWriter::with_capacity(64 << 10, result);
    serde_json::to_writer(&mut out, &done.unwrap_or_else(Wrote::Not)).map_err(|it| it.to_string())?;
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

fn known(request: &Request) -> Vec<Entry> {
    request.known.iter().filter_map(Learned::entry).collect()
}

fn look(request: &Request, source: &Source, mut file: File, btf: Option<File>) -> Result<Wrote, String> {
    let began = Instant::now();
    let (cpus, odd) = match &request.registers {
        Some(text) => registers::from_text(text),
        None => (source.cpus.clone(), Vec::new()),
    };
    let memory = Recorder::new(&*source.memory);
    let mut opened = open_known(&memory, &cpus, &known(request)).map_err(|it| source::chain(&it))?;
    if let Some(mut file) = btf {
        let types = Types::from_file(&mut file);
        opened.kernel.types = types.map_err(|it| format!("the file of types: {}", source::chain(&it)))?;
    }
    let mut seen = examine_opened(&opened, &cpus, Options::default(), began);
    seen.answers = answer(&opened.kernel, &request.asks);
    seen.problems.extend(odd.into_iter().map(|it| format!("registers: {it}")));
    let no_minicore = request.minicore.and_then(|it| {
        let policy = if it.user_pages { Policy::User } else { Policy::Kernel };
        minicore::save(&mut file, &opened, &cpus, &seen, policy, it.limit).err()
    });
    Ok(Wrote::Found {
        examination: Box::new(seen),
        learned: opened.learned().as_ref().map(Learned::of),
        no_minicore: no_minicore.map(|it| source::chain(&it)),
    })
}

/// Asks for the registers of each moment and reads memory right after.
fn over_time(request: &Request, source: &Source, moments: u32) -> Result<Wrote, String> {
    let mut known = known(request);
    let (mut sampler, mut learned) = (Sampler::default(), None);
    let began = Instant::now();
    let mut why = None;
    for _ in 0..moments {
        let Some(text) = next_registers()? else { break };
        let (cpus, _) = registers::from_text(&text);
        // Nothing that was read for one moment holds for the next.
        let memory = Recorder::new(&*source.memory);
        match open_known(&memory, &cpus, &known) {
            Ok(opened) if !cpus.is_empty() => {
                sampler.add(&sample(&opened, &cpus));
                if let Some(entry) = opened.learned() {
                    learned = Some(Learned::of(&entry));
                    known = vec![entry];
                }
            }
            Ok(_) => {
                why = Some("no vCPU's registers can be read".to_owned());
                sampler.miss();
            }
            Err(error) => {
                why = Some(source::chain(&error));
                sampler.miss();
            }
        }
    }
    let samples = sampler.done(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    match why {
        Some(why) if samples.taken == 0 => Err(why),
        _ => Ok(Wrote::Sampled { samples, learned }),
    }
}

/// The registers of the next moment; none when there will be no more.
fn next_registers() -> Result<Option<String>, String> {
    let said = |it: io::Error| format!("the agent left: {it}");
    let socket = io::stdin();
    descriptor::send(&socket, &[ASKS], &[]).map_err(said)?;
    let mut socket = socket.lock();
    let mut length = [0; 4];
    socket.read_exact(&mut length).map_err(said)?;
    let length = u32::from_le_bytes(length) as usize;
    if length == 0 {
        return Ok(None);
    }
    if length > MAX_REGISTERS {
        return Err(format!("registers of {length} bytes"));
    }
    let mut text = vec![0; length];
    socket.read_exact(&mut text).map_err(said)?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}
