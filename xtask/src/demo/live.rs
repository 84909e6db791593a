//! The rounds as they happen: follows the agent's file of round figures.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vmward::agent::rounds::RoundFigures;

/// A view of the rounds: redrawn in place on a terminal, a line for each change elsewhere.
pub struct Live {
    file: PathBuf,
    read: u64,
    torn: String,
    last: BTreeMap<String, RoundFigures>,
    counts: BTreeMap<String, u64>,
    drawn: usize,
}

impl Live {
    /// Follows the agent whose state is in this folder.
    pub fn of(state: &Path) -> Live {
        Live {
            file: state.join("rounds.jsonl"),
            read: 0,
            torn: String::new(),
            last: BTreeMap::new(),
            counts: BTreeMap::new(),
            drawn: 0,
        }
    }

    /// Shows rounds for this long.
    pub fn watch_for(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        self.drawn = 0;
        loop {
            for round in self.fresh()? {
                *self.counts.entry(round.scenario.clone()).or_default() += 1;
                let changed =
                    self.last.get(&round.scenario).is_none_or(|before| before.answer != round.answer);
                if changed && !std::io::stdout().is_terminal() {
                    println!("  {}", line(&round));
                }
                self.last.insert(round.scenario.clone(), round);
            }
            if std::io::stdout().is_terminal() {
                self.redraw()?;
            }
            if Instant::now() >= until {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn redraw(&mut self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.drawn > 0 {
            write!(out, "\x1b[{}A", self.drawn).context("while drawing")?;
        }
        for (scenario, round) in &self.last {
            let rounds = self.counts.get(scenario).copied().unwrap_or_default();
            writeln!(out, "\x1b[2K  {}   {rounds} rounds", line(round)).context("while drawing")?;
        }
        self.drawn = self.last.len();
        out.flush().context("while drawing")
    }

    /// Rounds that were written since the last look.
    fn fresh(&mut self) -> Result<Vec<RoundFigures>> {
        let Ok(mut file) = std::fs::File::open(&self.file) else { return Ok(Vec::new()) };
        let length = file.metadata().context("while looking at the rounds")?.len();
        if length < self.read {
            // The agent began a new file.
            self.read = 0;
            self.torn.clear();
        }
        file.seek(SeekFrom::Start(self.read)).context("while following the rounds")?;
        let mut text = std::mem::take(&mut self.torn);
        self.read += file.read_to_string(&mut text).context("while reading the rounds")? as u64;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        self.torn = text.split_off(whole);
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

fn line(round: &RoundFigures) -> String {
    format!(
        "{:<16} {:<8} {:>7.1} ms",
        round.scenario,
        round.answer,
        Duration::from_micros(round.took_us).as_secs_f64() * 1e3
    )
}
