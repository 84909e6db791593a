//! A guest's console: every byte kept, nothing typed unless the rules allow it.
//!
//! [`Console::start`] gives a handle to an actor that owns the connection. Reading is by position
//! ([`Console::read_from`], [`Console::beyond`]), so any number of readers share one console and a slow
//! one only misses bytes. Typing is [`Console::ask`], under the rules of [`guard`]; a person attaches
//! with [`Console::attach`], which pauses `ask`. SysRq goes through `crate::transport::sysrq`.

mod actor;
pub mod guard;
mod link;
pub mod mux;
mod pace;
pub mod prompt;
pub mod question;
pub mod ring;
mod tail;
#[cfg(test)]
mod tests;
pub mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use actor::{Actor, Answered, Order, Tried};
pub use actor::{LinkState, NotConnected};
pub use guard::{Refusal, TypingGuard, Wake};
pub use link::Address;
pub use prompt::DeclaredPrompt;
use question::Question;
pub use ring::RingSettings;
use tail::Tail;
pub use tail::{Piece, TAIL};

use super::qmp::L3Permit;

/// What the caller knows of a console.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// True when QEMU's character device is `mux=on`: 0x01 is then escaped. When in doubt, true is the
    /// safe answer for an EVE or `-serial mon:` console.
    pub mux: bool,
    /// Where its bytes are kept; `None` keeps them in memory only (tests).
    pub ring: Option<RingSettings>,
    /// QEMU's chardev `logfile`, where there is one: it knows the text of before we came.
    pub qemu_log: Option<PathBuf>,
    /// Prompts that the guest's scenarios declare.
    pub prompts: Vec<DeclaredPrompt>,
}

/// A question for the shell on the console.
#[derive(Debug, Clone)]
pub struct Ask {
    /// One line of printable ASCII for a Bourne shell.
    pub command: String,
    /// The prompt that the scenario declares.
    pub prompt: DeclaredPrompt,
    /// Whether one CR may raise it.
    pub wake: Wake,
    /// All of it: waiting for the rules, typing, the answer.
    pub within: Duration,
}

/// The shell's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its output without kernel records, lines ended by `\n`; untrusted text.
    pub text: String,
    /// Exit status.
    pub status: Option<u8>,
    /// From typed to answered.
    pub took: Duration,
    /// Kernel records that stood in between.
    pub kernel_records: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The rules do not allow typing: nothing was typed, nothing is known of the guest.
    #[error("nothing was typed: {0}")]
    NotAllowed(Refusal),
    /// The console is not connected.
    #[error(transparent)]
    NotConnected(#[from] NotConnected),
    /// It was typed and nothing came back: the guest (or its shell) does not answer.
    #[error("typed, and no answer within {waited:?}")]
    NoAnswer {
        /// How long we waited after typing.
        waited: Duration,
    },
    /// An earlier command is still without an answer: typed no second one.
    #[error("an earlier command has had no answer since, {waited:?} more waited")]
    StillOpen {
        /// How long we waited for it this time.
        waited: Duration,
    },
    /// The guest does not read its console: the command never left.
    #[error("the console did not take the command within {waited:?}: the guest does not read it")]
    NotTaken {
        /// How long we waited.
        waited: Duration,
    },
    /// The answer was pushed out by other output. The shell lives.
    #[error("the answer came in a flood of other output and was lost")]
    Flooded,
    /// Not a command that may be typed.
    #[error("not a command of one line of printable ASCII: {0:?}")]
    BadCommand(String),
}

/// A handle to one console; clones share it. The actor ends when the last is gone.
#[derive(Debug, Clone)]
pub struct Console {
    orders: mpsc::Sender<Order>,
    tail: Arc<Tail>,
    state: watch::Receiver<LinkState>,
    mux: bool,
}

impl Console {
    /// Starts the actor; it connects by itself and keeps trying.
    ///
    /// # Errors
    /// When the ring's folder cannot be made or written.
    pub fn start(settings: Settings) -> std::io::Result<Self> {
        let earlier = earlier_line(&settings);
        let ring = settings.ring.as_ref().map(ring::RingWriter::open);
        let ring = ring.transpose()?;
        let tail = Arc::new(Tail::new());
        let (state, watcher) = watch::channel(LinkState::Connecting);
        let (orders, inbox) = mpsc::channel(64);
        let guard = TypingGuard::new(settings.prompts, earlier);
        let place = (settings.address, settings.mux);
        let actor = Actor::new(place, guard, ring, Arc::clone(&tail), state, inbox);
        tokio::spawn(actor.run());
        Ok(Self { orders, tail, state: watcher, mux: settings.mux })
    }

    /// How the connection stands.
    #[must_use]
    pub fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// Waits until the console is connected; false when `within` passes first.
    pub async fn connected(&self, within: Duration) -> bool {
        let mut watcher = self.state.clone();
        let up = watcher.wait_for(|s| *s == LinkState::Connected);
        matches!(timeout(within, up).await, Ok(Ok(_)))
    }

    /// True when 0x01 is escaped and a BREAK can be sent in-band.
    #[must_use]
    pub fn is_mux(&self) -> bool {
        self.mux
    }

    /// Position after the newest byte; positions count from the agent's start.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.tail.end()
    }

    /// The newest `max` bytes, raw and untrusted.
    #[must_use]
    pub fn newest(&self, max: usize) -> Vec<u8> {
        let from = self.tail.end().saturating_sub(max as u64);
        self.tail.read(from, max).bytes
    }

    /// At most `max` bytes from `position` on.
    #[must_use]
    pub fn read_from(&self, position: u64, max: usize) -> Piece {
        self.tail.read(position, max)
    }

    /// Waits for a byte after `position`; false when `within` passes first.
    pub async fn beyond(&self, position: u64, within: Duration) -> bool {
        self.tail.beyond(position, within).await
    }

    /// The guest was reset (a QMP event says so): forget what was known of prompts.
    pub async fn restarted(&self) {
        // The actor only ends with the last handle.
        let _ = self.orders.send(Order::Restarted).await;
    }

    /// Types a command where the rules allow it and waits for the answer.
    ///
    /// # Errors
    /// [`AskError`]; only `NoAnswer`, `StillOpen` and `NotTaken` say something about the guest.
    pub async fn ask(&self, ask: &Ask) -> Result<Answer, AskError> {
        let bad = || AskError::BadCommand(ask.command.clone());
        let question = Question::new(&ask.command).ok_or_else(bad)?;
        let began = Instant::now();
        let left = || ask.within.saturating_sub(began.elapsed());
        loop {
            let (tried, outcome) = oneshot::channel();
            let order =
                Order::Ask { question: question.clone(), prompt: ask.prompt.clone(), wake: ask.wake, tried };
            if self.orders.send(order).await.is_err() {
                return Err(NotConnected("its actor has ended".to_owned()).into());
            }
            let why = match timeout(left(), outcome).await {
                Ok(Ok(Tried::Typed(answer))) => return self.answer(answer, left()).await,
                Ok(Ok(Tried::SentCr(position))) => {
                    self.beyond(position, left().min(Duration::from_secs(2))).await;
                    // A prompt may come in two pieces.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Ok(Ok(Tried::Wait(time, why))) if time < left() => {
                    tokio::time::sleep(time).await;
                    tracing::trace!(%why, "waited before typing");
                    continue;
                }
                Ok(Ok(Tried::Wait(_, why))) => why,
                Ok(Ok(Tried::Refused(Refusal::QuestionOpen))) => {
                    if left() < Duration::from_millis(50) {
                        return Err(AskError::StillOpen { waited: began.elapsed() });
                    }
                    let position = self.position();
                    self.beyond(position, left().min(Duration::from_millis(100))).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                Ok(Ok(Tried::Refused(why))) => why,
                Ok(Ok(Tried::NotConnected(e))) => return Err(e.into()),
                Ok(Err(_)) | Err(_) => {
                    let state = self.state();
                    return Err(NotConnected(format!("no turn in time: {state:?}")).into());
                }
            };
            return Err(AskError::NotAllowed(why));
        }
    }

    async fn answer(
        &self,
        answer: oneshot::Receiver<Answered>,
        within: Duration,
    ) -> Result<Answer, AskError> {
        let typed = Instant::now();
        match timeout(within, answer).await {
            Ok(Ok(Answered::Found(found))) => Ok(Answer {
                text: found.text,
                status: found.status,
                took: typed.elapsed(),
                kernel_records: found.kernel_records,
            }),
            Ok(Ok(Answered::Flooded)) => Err(AskError::Flooded),
            // The guest started anew or the connection went while we waited.
            Ok(Err(_)) => Err(NotConnected(format!("{:?}", self.state())).into()),
            Err(_) => {
                let (done, taken_back) = oneshot::channel();
                let sent = self.orders.send(Order::TakeBack(done)).await.is_ok();
                let soon = Duration::from_secs(1);
                let back = sent && matches!(timeout(soon, taken_back).await, Ok(Ok(true)));
                let waited = typed.elapsed();
                Err(if back { AskError::NotTaken { waited } } else { AskError::NoAnswer { waited } })
            }
        }
    }

    /// Lets a person in; questions are refused until the attachment is dropped and for 60 s after.
    /// `raw` sends bytes as they are: on a mux Ctrl-A then reaches QEMU, which can end the guest.
    ///
    /// # Errors
    /// [`NotConnected`] when the actor has ended.
    pub async fn attach(&self, raw: bool) -> Result<Attachment, NotConnected> {
        let token = Arc::new(());
        let order = Order::Attach(Arc::downgrade(&token));
        let gone = |_| NotConnected("its actor has ended".to_owned());
        self.orders.send(order).await.map_err(gone)?;
        Ok(Attachment { position: self.position(), console: self.clone(), raw, _token: token })
    }

    /// Sends bytes that are no typed text (BREAK, SysRq keys); gives the position at that moment.
    pub(super) async fn control(&self, _permit: &L3Permit, bytes: Vec<u8>) -> Result<u64, NotConnected> {
        let (done, result) = oneshot::channel();
        let gone = || NotConnected("its actor has ended".to_owned());
        let order = Order::Control(bytes, done);
        let exchange = async {
            self.orders.send(order).await.map_err(|_| gone())?;
            result.await.map_err(|_| gone())?
        };
        timeout(Duration::from_secs(2), exchange)
            .await
            .map_err(|_| NotConnected("no turn in time".to_owned()))?
    }
}

/// A person on the console, through the agent.
#[derive(Debug)]
pub struct Attachment {
    console: Console,
    position: u64,
    raw: bool,
    _token: Arc<()>,
}

impl Attachment {
    /// The next bytes of the guest, at most 16 KiB; waits until there are some. Raw: the caller escapes
    /// them before a terminal sees them, unless the person asked otherwise.
    pub async fn next(&mut self) -> Piece {
        let long = Duration::from_secs(3600);
        while !self.console.beyond(self.position, long).await {}
        let piece = self.console.read_from(self.position, 16 << 10);
        self.position = piece.end();
        piece
    }

    /// Types what the person typed.
    ///
    /// # Errors
    /// [`NotConnected`] when the actor has ended.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), NotConnected> {
        let escape = self.console.mux && !self.raw;
        let bytes = mux::escaped(bytes, escape).into_owned();
        let gone = |_| NotConnected("its actor has ended".to_owned());
        let order = Order::Foreign(bytes);
        self.console.orders.send(order).await.map_err(gone)
    }
}

/// The last line of QEMU's own log of this console, else of our ring of an earlier run of this QEMU.
fn earlier_line(settings: &Settings) -> Option<String> {
    const LOOK_BACK: usize = 16 << 10;
    let log = settings.qemu_log.as_ref();
    let from_log = log.and_then(|path| ring::tail_of_file(path, LOOK_BACK).ok());
    let from_ring = || {
        let ring = settings.ring.as_ref()?;
        ring::read_back(&ring.dir, Some(&ring.incarnation), LOOK_BACK).ok()
    };
    text::last_line(&from_log.filter(|b| !b.is_empty()).or_else(from_ring)?)
}
