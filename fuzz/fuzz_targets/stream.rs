//! The console reader: any chunking gives the same events, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmward_console_log::{Event, LabelRule, Reader};

fn read(bytes: &[u8], chunk: usize) -> Vec<Event> {
    let mut reader = Reader::with_labels(vec![LabelRule::containing("tick", "tick ")]);
    let mut events = Vec::new();
    for part in bytes.chunks(chunk) {
        events.extend(reader.push(part));
        let _ = (reader.prompt(), reader.must_stay_silent(), reader.open_trouble().is_some());
    }
    events.extend(reader.push(b"\n"));
    events.extend(reader.flush());
    events
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let whole = read(rest, rest.len().max(1));
    assert_eq!(whole, read(rest, usize::from(*first).max(1)));
    for event in &whole {
        assert!(event.range.start <= event.range.end && event.range.end <= rest.len() as u64);
    }
});
