//! A session with a gdb stub on a unix socket.
//!
//! **Connecting pauses the guest** (QEMU stops at `CHR_EVENT_OPENED`); closing without [`Gdb::detach`]
//! leaves it paused for ever. So it takes an [`L2Permit`], and the guardian process must have been told
//! before (see `crate::guardian`).

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::layout::{Layout, Register, includes};
use super::messages::{AnswerError, control, features, memory, ok, physical, registers, threads};
use super::packet::{Decoder, Event, encode};
use crate::transport::qmp::L2Permit;

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum RspError {
    /// The socket failed or was closed.
    #[error("the gdb stub's socket failed")]
    Io(#[from] std::io::Error),
    /// A step took too long.
    #[error("the gdb stub did not answer {0} in time")]
    Timeout(String),
    /// Three packets in a row were damaged.
    #[error("the gdb stub sends damaged packets: {0}")]
    Damaged(&'static str),
    /// An answer made no sense or was a refusal.
    #[error("{packet}: {source}")]
    Answer {
        /// What was asked.
        packet: String,
        /// What came.
        source: AnswerError,
    },
}

/// Registers of one vCPU.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VcpuRegisters {
    /// The vCPU's index, in the order in which QEMU lists them.
    pub index: usize,
    /// Its registers.
    pub registers: Vec<Register>,
}

impl VcpuRegisters {
    /// The value of a register by name, when it fits 64 bits.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u64> {
        self.registers.iter().find(|r| r.name == name)?.value()
    }
}

/// System registers of aarch64 that are worth a `p` each (QEMU's names).
const SYSTEM: &[&str] = &[
    "SP_EL0",
    "SP_EL1",
    "ELR_EL1",
    "SPSR_EL1",
    "ESR_EL1",
    "FAR_EL1",
    "VBAR",
    "VBAR_EL1",
    "SCTLR",
    "SCTLR_EL1",
    "TCR_EL1",
    "TTBR0_EL1",
    "TTBR1_EL1",
    "TPIDR_EL0",
    "TPIDR_EL1",
    "TPIDR_EL2",
    "MAIR_EL1",
    "CONTEXTIDR_EL1",
    "MPIDR_EL1",
    "MIDR_EL1",
];

/// An attached session. The guest is paused while it lasts.
#[derive(Debug)]
pub struct Gdb {
    stream: UnixStream,
    decoder: Decoder,
    packets: VecDeque<Result<Vec<u8>, &'static str>>,
    packet_size: usize,
    step: Duration,
}

impl Gdb {
    /// Connects, which pauses the guest. `step` bounds each exchange.
    ///
    /// # Errors
    /// [`RspError`].
    pub async fn attach(path: &Path, _permit: &L2Permit, step: Duration) -> Result<Self, RspError> {
        let connecting = timeout(step, UnixStream::connect(path));
        let late = |_| RspError::Timeout("connect".to_owned());
        let stream = connecting.await.map_err(late)??;
        let mut gdb =
            Self { stream, decoder: Decoder::default(), packets: VecDeque::new(), packet_size: 0x400, step };
        let answer = gdb.ask(control::SUPPORTED).await?;
        gdb.packet_size = control::offers(&answer).packet_size;
        Ok(gdb)
    }

    /// The layout that the target describes.
    ///
    /// # Errors
    /// [`RspError`].
    pub async fn layout(&mut self) -> Result<Layout, RspError> {
        let target = self.file("target.xml").await?;
        let mut layout = Layout::default();
        layout.add(&target);
        for name in includes(&target) {
            let file = self.file(&name).await?;
            layout.add(&file);
        }
        Ok(layout)
    }

    /// Registers of all vCPUs: the `g` group, and of aarch64 the system registers that matter.
    ///
    /// # Errors
    /// [`RspError`].
    pub async fn registers(&mut self, layout: &Layout) -> Result<Vec<VcpuRegisters>, RspError> {
        let mut list = Vec::new();
        let mut page = threads::FIRST;
        while !self.told(page, |answer| threads::page(answer, &mut list)).await? {
            page = threads::NEXT;
        }
        let extra: Vec<_> =
            layout.registers().iter().filter(|r| SYSTEM.contains(&r.name.as_str())).cloned().collect();
        let mut out = Vec::with_capacity(list.len());
        for (index, thread) in list.iter().enumerate() {
            self.told(&thread.select(), ok).await?;
            let bytes = self.told(registers::ALL, registers::bytes).await?;
            let mut all = layout.cut(&bytes);
            for register in &extra {
                if all.iter().any(|r| r.name == register.name) {
                    continue;
                }
                // One that the machine does not have is no failure of the whole.
                let asked = registers::one(register.number);
                if let Ok(bytes) = self.told(&asked, registers::bytes).await
                    && let Some(bytes_le) = bytes.into_iter().collect()
                {
                    all.push(Register { name: register.name.clone(), bytes_le });
                }
            }
            out.push(VcpuRegisters { index, registers: all });
        }
        Ok(out)
    }

    /// Sets or clears physical mode. It outlives the session: tell the guardian before setting it.
    ///
    /// # Errors
    /// [`RspError`].
    pub async fn physical_mode(&mut self, on: bool) -> Result<(), RspError> {
        self.told(physical::set(on), ok).await
    }

    /// Asks for the mode; `None` when the stub does not say.
    ///
    /// # Errors
    /// [`RspError`].
    pub async fn is_physical(&mut self) -> Result<Option<bool>, RspError> {
        Ok(physical::mode(&self.ask(physical::QUERY).await?))
    }

    /// Fills `buf` with the bytes at an address: guest-physical in physical mode, else of the selected
    /// thread. Beyond RAM QEMU answers with zeros, and reads devices.
    ///
    /// # Errors
    /// [`RspError`].
    pub async fn read_memory(&mut self, address: u64, buf: &mut [u8]) -> Result<(), RspError> {
        // Two digits a byte.
        let length = (self.packet_size / 2).saturating_sub(16).clamp(16, 2048);
        let mut at = address;
        for part in buf.chunks_mut(length) {
            self.told(&memory::read(at, part.len()), |answer| memory::bytes(answer, part)).await?;
            at = at.saturating_add(part.len() as u64);
        }
        Ok(())
    }

    /// Detaches. QEMU then lets the guest run, **even one that was paused before**: only call it for a
    /// guest that ran.
    ///
    /// # Errors
    /// [`RspError`]; the guest may then still be paused.
    pub async fn detach(mut self) -> Result<(), RspError> {
        self.told(control::DETACH, ok).await
    }

    async fn file(&mut self, name: &str) -> Result<String, RspError> {
        let mut text = Vec::new();
        // Every byte of a page may be escaped.
        let length = (self.packet_size / 2).saturating_sub(16).max(64);
        loop {
            let asked = features::read(name, text.len(), length);
            if self.told(&asked, |answer| features::page(answer, &mut text)).await? {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
        }
    }

    async fn told<T>(
        &mut self,
        packet: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, AnswerError>,
    ) -> Result<T, RspError> {
        let answer = self.ask(packet).await?;
        read(&answer).map_err(|source| RspError::Answer { packet: words(packet), source })
    }

    /// One exchange, with a retransmission after a damaged packet.
    async fn ask(&mut self, packet: &[u8]) -> Result<Vec<u8>, RspError> {
        let step = self.step;
        let exchange = timeout(step, async {
            self.stream.write_all(&encode(packet)).await?;
            let mut damaged = 0;
            loop {
                match self.next().await? {
                    // QEMU 7.2 reports the stop that our connecting made, unasked.
                    Ok(answer) if is_stop_report(&answer) => self.stream.write_all(b"+").await?,
                    Ok(answer) => {
                        self.stream.write_all(b"+").await?;
                        return Ok(answer);
                    }
                    Err(why) => {
                        damaged += 1;
                        if damaged == 3 {
                            return Err(RspError::Damaged(why));
                        }
                        self.stream.write_all(b"-").await?;
                    }
                }
            }
        });
        exchange.await.map_err(|_| RspError::Timeout(words(packet)))?
    }

    async fn next(&mut self) -> Result<Result<Vec<u8>, &'static str>, RspError> {
        let mut buffer = [0u8; 8 << 10];
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(packet);
            }
            let count = self.stream.read(&mut buffer).await?;
            if count == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            let packets = &mut self.packets;
            self.decoder.push(buffer.get(..count).unwrap_or_default(), |event| match event {
                Event::Packet(packet) => packets.push_back(Ok(packet)),
                Event::Bad(why) => packets.push_back(Err(why)),
                // Our packets go over a local socket: a NACK would be the stub's own fault, and the
                // deadline ends that.
                Event::Ack | Event::Nack => {}
            });
        }
    }
}

/// `T05thread:p01.01;` and the like; no answer to any question that we ask begins so.
fn is_stop_report(answer: &[u8]) -> bool {
    matches!(answer, [b'T' | b'S', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

fn words(packet: &[u8]) -> String {
    packet.get(..packet.len().min(60)).unwrap_or_default().escape_ascii().to_string()
}
