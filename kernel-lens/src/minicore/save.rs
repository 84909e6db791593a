//! From an examination to a packed file: what goes in, and how much of it where there is a limit.

use std::io::{self, Write};

use thiserror::Error;
use vmward_kernel_facts::Examination;

use super::{Contents, Counts, wanted, windows, write_pages};
use crate::vmcoreinfo::{MAX_TEXT, VmcoreInfo};
use crate::{Cpu, Kernel, Opened};

/// How hard zstd tries: a minicore is written while a guest waits to be helped.
const LEVEL: i32 = 3;

/// Whose memory may go into a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The kernel's only. Of user space there are the command lines that the result names, and nothing else.
    #[default]
    Kernel,
    /// Also, of each process, the pages at its stack and instruction pointer.
    User,
}

/// Why a minicore was not written.
#[derive(Debug, Error)]
pub enum SaveError {
    /// Not even the pages that the result was made from have room.
    #[error("the pages that the result was made from take more than {limit} bytes")]
    TooLarge {
        /// Bytes that were allowed.
        limit: u64,
    },
    /// It could not be written.
    #[error("the minicore could not be written")]
    Io(#[from] io::Error),
}

/// Writes a minicore of an examination, packed by zstd, in at most `limit` bytes.
///
/// In it are the pages that the examination read, and what a debugger needs beside them: stacks, task
/// structures, code around live frames, the tree of process ids, then the kernel's variables, its modules and
/// its tables of memory. Where that is too much the latter are left out first. Nothing is read but through the examination's own record,
/// which grows by what is added here: nothing may be examined with it afterwards.
///
/// # Errors
/// [`SaveError`]; then nothing useful was written.
pub fn save(
    out: &mut impl Write,
    opened: &Opened<'_>,
    cpus: &[Cpu],
    found: &Examination,
    policy: Policy,
    limit: u64,
) -> Result<Counts, SaveError> {
    let kernel = &opened.kernel;
    let recorder = kernel.space.memory();
    let text = vmcoreinfo(kernel);
    let mut unreadable = 0;
    // Each stage is what the record holds then.
    let mut stages = vec![recorder.recorded()];
    let info = text.as_deref().and_then(|it| VmcoreInfo::parse(it).ok());
    for wanted in [wanted::near(kernel, found, policy), wanted::far(kernel, info.as_ref())] {
        unreadable += wanted.fetch(kernel);
        stages.push(recorder.recorded());
    }
    let windows = windows::of(opened, found);
    let contents =
        Contents { arch: kernel.arch, cpus, vmcoreinfo: text.as_deref(), windows: &windows, extra: &[] };
    let room = usize::try_from(limit).unwrap_or(usize::MAX);
    while let Some(mut pages) = stages.pop() {
        let n_all = pages.len();
        pages.retain(|it| policy == Policy::User || !recorder.is_user(*it));
        let left_out = (n_all - pages.len()) as u64;
        let mut packed = zstd::stream::write::Encoder::new(Bounded { bytes: Vec::new(), room }, LEVEL)?;
        packed.include_checksum(true)?;
        let counts = Counts { kept: 0, left_out, unreadable };
        let written = write_pages(&mut packed, recorder, &contents, &pages, counts);
        match written.and_then(|counts| Ok((counts, packed.finish()?))) {
            Ok((counts, packed)) => {
                out.write_all(&packed.bytes)?;
                out.flush()?;
                return Ok(counts);
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(SaveError::TooLarge { limit })
}

/// The text of VMCOREINFO where the kernel itself has it (`vmcoreinfo_data`, `vmcoreinfo_size`: kernel/
/// vmcore_info.c, up to v6.8 kernel/crash_core.c).
fn vmcoreinfo(kernel: &Kernel<'_>) -> Option<Vec<u8>> {
    let space = &kernel.space;
    let at = space.u64(kernel.symbol("vmcoreinfo_data")?).ok()?;
    let size = space.u64(kernel.symbol("vmcoreinfo_size")?).ok()?;
    let size = usize::try_from(size).ok().filter(|it| (1..=MAX_TEXT).contains(it))?;
    space.bytes(at, size).ok().filter(|it| it.starts_with(b"OSRELEASE="))
}

/// Bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    room: usize,
}

impl Write for Bounded {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(buf.len()) > self.room {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
