//! The task that owns one console: connects again and again, reads in bounded turns, keeps every byte,
//! types only what the [`TypingGuard`] lets it.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::guard::{Decision, Refusal, TypingGuard, Wake};
use super::link::{Address, Link};
use super::mux::escaped;
use super::pace::{Pace, READ_PER_TURN};
use super::prompt::DeclaredPrompt;
use super::question::{Found, MAX_ANSWER, Question};
use super::ring::RingWriter;
use super::tail::Tail;
use super::text::{plain, without_kernel_records};
use crate::transport::holders::{Holder, occupancy};

/// How much of the end of the text the guard looks at.
const NEAR: usize = 4 << 10;
/// Bytes that may wait to be written.
const MAX_UNSENT: usize = 64 << 10;
const CONNECT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(1);

/// How the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Not tried yet.
    Connecting,
    /// Connected; of a unix socket: and accepted, as far as the kernel says.
    Connected,
    /// The socket serves somebody else; we wait in its backlog.
    Busy(Holder),
    /// Lost or never had; tried again every second.
    Down(String),
}

pub(super) enum Order {
    Ask {
        question: Question,
        prompt: DeclaredPrompt,
        wake: Wake,
        tried: oneshot::Sender<Tried>,
    },
    /// Take back a question that was not sent; false when it (or part of it) was.
    TakeBack(oneshot::Sender<bool>),
    Attach(Weak<()>),
    Foreign(Vec<u8>),
    /// Bytes that are not typed text: BREAK, SysRq keys.
    Control(Vec<u8>, oneshot::Sender<Result<u64, NotConnected>>),
    Restarted,
}

/// What became of an [`Order::Ask`].
pub(super) enum Tried {
    Typed(oneshot::Receiver<Answered>),
    SentCr(u64),
    Wait(Duration, Refusal),
    Refused(Refusal),
    NotConnected(NotConnected),
}

pub(super) enum Answered {
    Found(Found),
    /// The end was seen, the beginning was pushed out by a flood.
    Flooded,
}

/// The console is not connected.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the console is not connected: {0}")]
pub struct NotConnected(pub String);

struct OpenQuestion {
    question: Question,
    heard: VecDeque<u8>,
    reply: Option<oneshot::Sender<Answered>>,
}

pub(super) struct Actor {
    pub address: Address,
    pub mux: bool,
    pub guard: TypingGuard,
    pub ring: Option<RingWriter>,
    pub tail: Arc<Tail>,
    pub state: watch::Sender<LinkState>,
    pub orders: mpsc::Receiver<Order>,
    began: Instant,
    unsent: VecDeque<u8>,
    attached: Vec<Weak<()>>,
    open: Option<OpenQuestion>,
    search_at: Option<Instant>,
    /// The unfinished last line, for the guard.
    line: Vec<u8>,
}

type Lookout = JoinHandle<Option<(Option<bool>, Option<Holder>)>>;

impl Actor {
    pub(super) fn new(
        (address, mux): (Address, bool),
        guard: TypingGuard,
        ring: Option<RingWriter>,
        tail: Arc<Tail>,
        state: watch::Sender<LinkState>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        Self {
            address,
            mux,
            guard,
            ring,
            tail,
            state,
            orders,
            began: Instant::now(),
            unsent: VecDeque::new(),
            attached: Vec::new(),
            open: None,
            search_at: None,
            line: Vec::new(),
        }
    }

    /// Runs until all handles are gone.
    pub(super) async fn run(mut self) {
        loop {
            let opened = Link::open(&self.address, CONNECT).await;
            let why = match opened {
                Ok(link) => {
                    self.note("connected");
                    self.state.send_replace(LinkState::Connected);
                    match self.serve(link).await {
                        Some(why) => why,
                        None => return,
                    }
                }
                Err(e) => e.to_string(),
            };
            self.unsent.clear();
            let down = LinkState::Down(why);
            if self.state.send_replace(down.clone()) != down {
                self.note("not connected");
            }
            let retry = tokio::time::Instant::now() + RETRY;
            loop {
                tokio::select! {
                    order = self.orders.recv() => match order {
                        Some(order) => self.take(order, false),
                        None => return,
                    },
                    () = sleep_until(retry) => break,
                }
            }
        }
    }

    /// Serves one connection; `None` when all handles are gone, else why it ended.
    async fn serve(&mut self, link: Link) -> Option<String> {
        let mut heard = false;
        let mut pace = Pace::new(tokio::time::Instant::now());
        let mut lookout: Option<Lookout> = None;
        let mut look_at = tokio::time::Instant::now() + Duration::from_millis(300);
        loop {
            let search_at = self.search_at.map(tokio::time::Instant::from_std);
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.take(order, true),
                    None => return None,
                },
                ready = link.ready(!self.unsent.is_empty()) => {
                    let step = ready.and_then(|()| self.write(&link)).and_then(|()| self.read(&link));
                    let count = match step {
                        Ok(count) => count,
                        Err(e) => return Some(e.to_string()),
                    };
                    if count > 0 && !heard {
                        heard = true;
                        self.state.send_replace(LinkState::Connected);
                    }
                    // A console that floods gives way to all others after each turn.
                    match pace.after(count, tokio::time::Instant::now()) {
                        Some(breath) => tokio::time::sleep(breath).await,
                        None => tokio::task::yield_now().await,
                    }
                }
                () = sleep_until(search_at.unwrap_or(look_at)), if search_at.is_some() => self.search(),
                () = sleep_until(look_at), if !heard && lookout.is_none() => {
                    look_at += Duration::from_secs(2);
                    lookout = self.look_out(&link);
                }
                seen = async { match lookout.as_mut() { Some(l) => l.await.ok().flatten(), None => std::future::pending().await } } => {
                    lookout = None;
                    if let Some((accepted, holder)) = seen && !heard {
                        let state = match (accepted, holder) {
                            (Some(false), Some(holder)) => LinkState::Busy(holder),
                            _ => LinkState::Connected,
                        };
                        self.state.send_replace(state);
                    }
                }
            }
        }
    }

    /// A second client of a QEMU socket waits unheard in the backlog: ask the kernel whether that is us.
    fn look_out(&self, link: &Link) -> Option<Lookout> {
        let Address::Unix(path) = &self.address else {
            return None;
        };
        let (path, inode): (PathBuf, _) = (path.clone(), link.unix_inode());
        Some(tokio::task::spawn_blocking(move || {
            let seen = occupancy(&path, inode).ok()?;
            Some((seen.ours_accepted, seen.holders.into_iter().next()))
        }))
    }

    fn take(&mut self, order: Order, connected: bool) {
        let now = self.began.elapsed();
        self.prune(now);
        let state = self.state.borrow().clone();
        let not_connected = || NotConnected(format!("{state:?}"));
        match order {
            Order::Ask { tried, .. } if !connected => {
                let _ = tried.send(Tried::NotConnected(not_connected()));
            }
            Order::Ask { question, prompt, wake, tried } => {
                let outcome = self.ask(question, &prompt, wake, now);
                // The asker may have given up meanwhile; its question then stays open.
                let _ = tried.send(outcome);
            }
            Order::TakeBack(done) => {
                let whole = self.open.as_ref().is_some_and(|o| self.unsent.len() >= o.question.typed().len());
                if whole {
                    self.unsent.clear();
                    self.open = None;
                    self.guard.answered();
                }
                let _ = done.send(whole);
            }
            Order::Attach(token) => {
                self.attached.push(token);
                self.guard.attach(now);
                self.note("a person attached");
            }
            Order::Foreign(bytes) => {
                self.guard.foreign(now);
                if connected {
                    self.queue(&bytes);
                }
            }
            Order::Control(bytes, done) => {
                let result =
                    if connected && self.queue(&bytes) { Ok(self.tail.end()) } else { Err(not_connected()) };
                let _ = done.send(result);
            }
            Order::Restarted => {
                self.open = None;
                self.guard.restarted();
            }
        }
    }

    fn ask(&mut self, question: Question, prompt: &DeclaredPrompt, wake: Wake, now: Duration) -> Tried {
        match self.guard.decide(now, prompt, wake) {
            Decision::Type => {
                let typed = question.typed();
                self.queue(&escaped(typed.as_bytes(), self.mux));
                self.guard.asked();
                self.note(&format!("typed: {}", question.command()));
                let (reply, answer) = oneshot::channel();
                self.open = Some(OpenQuestion { question, heard: VecDeque::new(), reply: Some(reply) });
                Tried::Typed(answer)
            }
            Decision::SendCr => {
                self.queue(b"\r");
                self.guard.sent_cr();
                self.note("typed: one CR to raise a prompt");
                Tried::SentCr(self.tail.end())
            }
            Decision::Wait(time, why) => Tried::Wait(time, why),
            Decision::Refuse(why) => Tried::Refused(why),
        }
    }

    fn prune(&mut self, now: Duration) {
        let before = self.attached.len();
        self.attached.retain(|token| token.strong_count() > 0);
        for _ in self.attached.len()..before {
            self.guard.detach(now);
            self.note("a person left");
        }
    }

    fn queue(&mut self, bytes: &[u8]) -> bool {
        let fits = self.unsent.len() + bytes.len() <= MAX_UNSENT;
        if fits {
            self.unsent.extend(bytes);
        } else {
            self.note("what was to be typed was dropped: the guest does not read");
        }
        fits
    }

    fn write(&mut self, link: &Link) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let (front, _) = self.unsent.as_slices();
            match link.try_write(front) {
                Ok(count) => {
                    self.unsent.drain(..count);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads one bounded turn; gives the number of bytes.
    fn read(&mut self, link: &Link) -> io::Result<usize> {
        let mut buffer = [0u8; 16 << 10];
        let mut turn = 0;
        while turn < READ_PER_TURN {
            match link.try_read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("closed by the other end")),
                Ok(count) => {
                    turn += count;
                    self.heard(buffer.get(..count).unwrap_or_default());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(turn)
    }

    fn heard(&mut self, bytes: &[u8]) {
        if let Some(ring) = &mut self.ring {
            ring.push(bytes);
        }
        self.tail.push(bytes);
        if let Some(open) = &mut self.open {
            open.heard.extend(bytes);
            let excess = open.heard.len().saturating_sub(MAX_ANSWER);
            open.heard.drain(..excess);
            self.search_at.get_or_insert(Instant::now() + Duration::from_millis(10));
        }
        self.tell_guard(bytes);
    }

    fn tell_guard(&mut self, bytes: &[u8]) {
        let whole = starts_anew(bytes);
        let bytes = whole.and_then(|at| bytes.get(at + 1..)).unwrap_or(bytes);
        // In a flood only the end of each read is looked at: prompts wait at the end.
        let near = bytes.get(bytes.len().saturating_sub(NEAR)..).unwrap_or_default();
        // The words may also be cut by the end of a read.
        let start = bytes.get(..bytes.len().min(32)).unwrap_or_default();
        if whole.is_some() || starts_anew(&[&*self.line, start].concat()).is_some() {
            self.line.clear();
            self.open = None;
            self.guard.restarted();
        }
        self.line.extend_from_slice(near);
        self.line.drain(..self.line.len().saturating_sub(NEAR));
        let (text, _) = without_kernel_records(&plain(&self.line));
        let lines: Vec<String> = text
            .split(|b| *b == b'\n')
            .map(<[u8]>::trim_ascii_end)
            .filter(|line| !line.is_empty())
            .map(|line| String::from_utf8_lossy(&both_ends(line)).into_owned())
            .collect();
        let finished = text.last() == Some(&b'\n');
        self.guard.output(self.began.elapsed(), &lines, finished);
        let rest = self.line.iter().rposition(|b| *b == b'\n');
        if let Some(at) = rest {
            self.line.drain(..=at);
        }
    }

    fn search(&mut self) {
        self.search_at = None;
        let Some(open) = &mut self.open else {
            return;
        };
        let heard = open.heard.make_contiguous();
        let answered = match open.question.find(heard) {
            Some(found) => Answered::Found(found),
            None if heard.len() >= MAX_ANSWER && open.question.ended(heard) => Answered::Flooded,
            None => return,
        };
        if let Some(reply) = open.reply.take() {
            // A late answer only closes the question.
            let _ = reply.send(answered);
        }
        self.open = None;
        self.guard.answered();
    }

    fn note(&self, words: &str) {
        if let Some(ring) = &self.ring {
            ring.note(words);
        }
    }
}

/// Of a long line the beginning, which a prompt may be, and the end, where one waits: what redraws itself
/// by carriage returns makes one long line before it asks.
fn both_ends(line: &[u8]) -> Vec<u8> {
    const END: usize = 256;
    match (line.get(..END), line.get(line.len().saturating_sub(END)..)) {
        (Some(head), Some(tail)) if line.len() > 2 * END => [head, b" ", tail].concat(),
        _ => line.to_vec(),
    }
}

/// Where the last first words of firmware, a bootloader or a kernel stand: what was known of prompts
/// before them is past.
fn starts_anew(bytes: &[u8]) -> Option<usize> {
    const FIRST_WORDS: [&[u8]; 5] =
        [b"] Linux version ", b"SeaBIOS (version", b"BdsDxe: ", b"Welcome to GRUB", b"U-Boot 20"];
    FIRST_WORDS.iter().filter_map(|words| memchr::memmem::rfind(bytes, words)).max()
}
