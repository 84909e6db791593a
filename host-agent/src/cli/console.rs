//! `vmward console GUEST [--raw]`: attaches a person to a guest's console through the agent. Probes pause
//! meanwhile. Ctrl-] leaves.
//!
//! Bytes of the guest are escaped, line breaks and tabs aside; with `--raw` they reach the terminal as
//! they are, which a hostile guest can use against whoever looks.

use std::io::{IsTerminal, Read, Write};

use anyhow::{Context as _, Result};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use vmward_report_view::escape::Text;

use super::output::{StdoutError, complain};
use super::{Context, Exit};
use crate::agent::control::client;
use crate::agent::paths;

/// Ctrl-].
const LEAVE: u8 = 0x1d;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name or UUID of the guest
    guest: String,
    /// Pass bytes as they are, both ways
    #[arg(long)]
    raw: bool,
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let socket = paths::control(&cx.load()?.config.state);
    if args.raw {
        complain(
            "vmward: warning: --raw lets the guest send control sequences to this terminal and passes QEMU's escape \
             byte (Ctrl-A) on: Ctrl-A x on a multiplexed console ends the guest",
        );
    }
    super::agent::runtime()?.block_on(async {
        let stream = client::attach(&socket, &args.guest, args.raw).await?;
        complain("vmward: attached; Ctrl-] leaves");
        let (mut from_guest, mut to_guest) = tokio::io::split(stream);
        let _terminal = RawTerminal::enter()?;
        let mut typed = keyboard()?;
        let mut escaper = Escaper::default();
        let mut bytes = vec![0u8; 4096];
        loop {
            tokio::select! {
                count = from_guest.read(&mut bytes) => {
                    let count = count.context("while reading from the agent")?;
                    if count == 0 {
                        complain("\nvmward: the agent ended the connection");
                        return Ok(Exit::Well);
                    }
                    let piece = bytes.get(..count).unwrap_or_default();
                    let shown = if args.raw { piece.to_vec() } else { escaper.escape(piece).into_bytes() };
                    let mut stdout = std::io::stdout().lock();
                    let written = stdout.write_all(&shown).and_then(|()| stdout.flush());
                    written.map_err(StdoutError).context("while writing")?;
                }
                piece = typed.recv() => match piece {
                    None => return Ok(Exit::Well),
                    Some(piece) => {
                        let end = piece.iter().position(|it| *it == LEAVE);
                        let send = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
                        to_guest.write_all(send).await.context("while writing to the agent")?;
                        to_guest.flush().await.context("while writing to the agent")?;
                        if end.is_some() {
                            return Ok(Exit::Well);
                        }
                    }
                },
            }
        }
    })
}

/// What is typed. A thread of its own reads it: a read of a terminal cannot be taken back.
fn keyboard() -> Result<mpsc::Receiver<Vec<u8>>> {
    let (send, receive) = mpsc::channel(16);
    let read = move || {
        let mut bytes = [0u8; 1024];
        while let Ok(count) = std::io::stdin().lock().read(&mut bytes) {
            let piece = bytes.get(..count).unwrap_or_default().to_vec();
            if piece.is_empty() || send.blocking_send(piece).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("keyboard".to_owned())
        .spawn(read)
        .context("while starting to read keys")?;
    Ok(receive)
}

/// Makes a console's bytes harmless, piece by piece.
#[derive(Debug, Default)]
struct Escaper {
    /// The start of a character whose end is still to come.
    rest: Vec<u8>,
}

impl Escaper {
    fn escape(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(piece);
        if let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            self.rest = bytes.split_off(error.valid_up_to());
        }
        let mut shown = String::new();
        for part in bytes.split_inclusive(|it| matches!(it, b'\n' | b'\t' | b'\r')) {
            let (text, end) = match part.split_last() {
                // In raw mode a line feed alone does not go back to the first column.
                Some((b'\n', text)) => (text, "\r\n"),
                Some((b'\t', text)) => (text, "\t"),
                Some((b'\r', text)) => (text, ""),
                _ => (part, ""),
            };
            shown.push_str(Text::from_bytes(text).as_str());
            shown.push_str(end);
        }
        shown
    }
}

/// The terminal without echo and line editing, for as long as this lives.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn enter() -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(std::io::stdin()).context("while asking for the terminal's settings")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).context("while setting the terminal")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0
            && let Err(error) = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before)
        {
            complain(&format!(
                "vmward: the terminal's settings could not be put back ({error}): try `reset`"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_that_comes_in_two_pieces_is_whole() {
        let mut it = Escaper::default();
        let (a, b) = "ü".as_bytes().split_at(1);
        assert_eq!((it.escape(a), it.escape(b)), (String::new(), "ü".to_owned()));
        assert_eq!(it.escape(b"a\r\nb\tc"), "a\r\nb\tc");
    }

    proptest! {
        #[test]
        fn no_bytes_reach_the_terminal_that_it_would_act_on(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)
        ) {
            let mut it = Escaper::default();
            for piece in pieces {
                let shown = it.escape(&piece);
                let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
                prop_assert!(!shown.contains(bad), "{shown:?}");
                prop_assert!(it.rest.len() < 4);
            }
        }
    }
}
