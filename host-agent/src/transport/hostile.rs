//! All readers of foreign bytes in the transports behind one door: for the fuzz target `transport` and
//! the replay of its corpus. Nothing here is of use otherwise.

use super::console::question::Question;
use super::console::{mux, text};
use super::qmp::session::Session;
use super::rsp::layout::{Layout, includes};
use super::rsp::messages;
use super::rsp::packet::{Decoder, Event, MAX_PACKET, encode};

/// Gives `bytes` to every reader. The first byte chooses where a stream is cut.
///
/// # Panics
/// When a reader breaks one of its promises: that is what it is for.
pub fn read(bytes: &[u8]) {
    let cut = bytes.first().map_or(1, |b| usize::from(*b).max(1));
    qmp(bytes, cut);
    rsp(bytes, cut);
    let plain = text::plain(bytes);
    assert!(plain.len() <= bytes.len() && !plain.contains(&0x1b));
    let _ = (text::without_kernel_records(&plain), text::last_line(bytes));
    if let Some(question) = Question::new("uptime") {
        let _ = (question.find(bytes), question.ended(bytes));
    }
    assert!(mux::escaped(bytes, true).len() <= bytes.len() * 2);
    let _ = crate::guardian::dump::read(bytes);
}

fn qmp(bytes: &[u8], cut: usize) {
    let outputs = |size: usize| {
        let mut session = Session::new();
        let sent = session.command("query-status", &serde_json::Value::Null);
        assert!(sent.is_ok());
        let parts = bytes.chunks(size.max(1));
        parts.flat_map(|part| session.received(part, |_| {})).collect::<Vec<_>>()
    };
    assert_eq!(outputs(bytes.len()), outputs(cut), "the cut must not matter");
}

fn rsp(bytes: &[u8], cut: usize) {
    let mut decoder = Decoder::default();
    let mut packets = Vec::new();
    for part in bytes.chunks(cut) {
        decoder.push(part, |event| {
            if let Event::Packet(packet) = event {
                packets.push(packet);
            }
        });
    }
    packets.push(bytes.to_vec());
    for packet in packets {
        let mut again = Vec::new();
        Decoder::default().push(&encode(&packet), |event| again.push(event));
        assert!(packet.len() > MAX_PACKET / 2 || again == [Event::Packet(packet.clone())]);
        let _ = (messages::ok(&packet), messages::control::offers(&packet));
        let _ = messages::physical::mode(&packet);
        let _ = messages::threads::page(&packet, &mut Vec::new());
        let _ = messages::features::page(&packet, &mut Vec::new());
        let xml = String::from_utf8_lossy(&packet);
        let mut layout = Layout::default();
        layout.add(&xml);
        let _ = includes(&xml);
        if let Ok(bytes) = messages::registers::bytes(&packet) {
            let _ = layout.cut(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_fuzz_corpus_is_read_without_a_broken_promise() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/transport");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            super::read(&bytes);
            // Every prefix too: most trouble is at an end that comes too early.
            for end in 0..bytes.len() {
                super::read(&bytes[..end]);
            }
            count += 1;
        }
        assert!(count >= 4, "the corpus is missing");
    }
}
