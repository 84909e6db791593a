//! What the guest does once it runs, picked by `mode=` on its command line.

use crate::cpu;
use crate::serial::Com1;
use crate::virtio;
use alloc::format;
use alloc::string::String;
use core::fmt::Write;

const PROMPT: &str = "unikernel> ";
/// How much the flood prints before it rests: more than any reader should keep.
const FLOOD: usize = 128 << 20;
/// A typed line longer than this loses its end.
const LONGEST_LINE: usize = 256;

/// Runs the mode that `command_line` names; without one, idle.
pub fn run(command_line: &str) -> ! {
    let mode = command_line.split_whitespace().find_map(|word| word.strip_prefix("mode=")).unwrap_or("idle");
    let mut console = virtio::console();
    let mut out = Com1;
    let _ = writeln!(out, "UNIKERNEL READY mode={mode}");
    match mode {
        "spin" => cpu::spin(),
        "triple-fault" => cpu::triple_fault(),
        "flood" => flood(),
        _ => {}
    }
    let mut shell = Shell::new();
    let mut next_label = 1;
    loop {
        if mode == "heartbeat" && cpu::seconds() >= next_label {
            let label = format!("app: label {next_label}\n");
            let _ = out.write_str(&label);
            if let Some(console) = console.as_mut() {
                let _ = console.send_bytes(label.as_bytes());
            }
            next_label += 1;
        }
        while let Some(byte) = Com1::receive() {
            shell.typed(byte);
        }
        cpu::halt();
    }
}

fn flood() {
    let mut line = [b'#'; 64];
    line[62..].copy_from_slice(b"\r\n");
    for _ in 0..FLOOD / line.len() {
        Com1::send(&line);
    }
}

/// Reads lines with echo and answers the few words it knows.
struct Shell {
    line: String,
}

impl Shell {
    fn new() -> Self {
        let _ = Com1.write_str(PROMPT);
        Self { line: String::new() }
    }

    fn typed(&mut self, byte: u8) {
        let mut out = Com1;
        match byte {
            b'\r' | b'\n' => {
                let _ = out.write_str("\n");
                // Commands one after the other, as an agent frames its question.
                for command in self.line.split(';') {
                    answer(command.trim());
                }
                self.line.clear();
                let _ = out.write_str(PROMPT);
            }
            0x20..=0x7e if self.line.len() < LONGEST_LINE => {
                self.line.push(char::from(byte));
                Com1::send(&[byte]);
            }
            _ => {}
        }
    }
}

/// The few words that the shell knows.
fn answer(command: &str) {
    let mut out = Com1;
    let seconds = cpu::seconds();
    match command.split_once(' ').unwrap_or((command, "")) {
        ("", _) => {}
        // Quotes vanish, and what went before always went well.
        ("echo", words) => {
            for part in words.split('\'') {
                match part.strip_suffix("$?") {
                    Some(head) => {
                        let _ = write!(out, "{head}0");
                    }
                    None => {
                        let _ = out.write_str(part);
                    }
                }
            }
            let _ = out.write_str("\n");
        }
        // The shape of uptime(1), so that the same probe fits.
        ("uptime", _) => {
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let _ = writeln!(
                out,
                " up {hours}:{minutes:02}:{:02},  load average: 0.00, 0.00, 0.00",
                seconds % 60
            );
        }
        _ => {
            let _ = writeln!(out, "unikernel: not found: {command}");
        }
    }
}
