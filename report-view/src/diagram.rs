//! The steps of a diagnosis as a drawing: one lane a rung of the safety ladder, the lowest at the
//! bottom, so that a diagnosis climbs from left to right; one row a step, as long as it took.
//!
//! Geometry only; `templates/ladder.html` draws it. Outcomes differ by shape and by word, so that
//! nothing is told by colour alone.

use vmward_model::Rung;

use crate::escape::Text;
use crate::value::{Tone, Value};

/// The steps, in the order in which they were begun.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name of the capture.
    pub name: Text,
    /// The rung it needs.
    pub rung: Rung,
    /// The way it went, where the report tells.
    pub transport: Text,
    /// When it was begun, in milliseconds after the moment of notice.
    pub begin_ms: i64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long the guest was paused for it, in microseconds.
    pub paused_us: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Why not better.
    pub why: Text,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It gave what it is for.
    Done,
    /// It gave some of it.
    Partial,
    /// It was tried and gave nothing.
    Failed,
    /// The guest or QEMU refused.
    Refused,
    /// It was not tried.
    Skipped,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 5] =
        [Outcome::Done, Outcome::Partial, Outcome::Failed, Outcome::Refused, Outcome::Skipped];

    /// Its word; also its name in style sheets.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Partial => "partial",
            Outcome::Failed => "failed",
            Outcome::Refused => "refused",
            Outcome::Skipped => "skipped",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Outcome::Done => Tone::Good,
            Outcome::Partial | Outcome::Refused => Tone::Warn,
            Outcome::Failed => Tone::Alarm,
            Outcome::Skipped => Tone::Quiet,
        }
    }
}

/// Width of a drawing.
const WIDTH: i64 = 900;
/// Where the time axis begins: right of the lanes' names.
const LEFT: i64 = 128;
/// Where it ends.
const RIGHT: i64 = WIDTH - 12;
/// Height of one step's row.
const ROW: i64 = 22;
/// Height of a bar.
const BAR: i64 = 14;
/// Room above and below the rows of a lane.
const PAD: i64 = 7;
/// Room for the axis.
const AXIS: i64 = 26;
/// Room for the legend.
const LEGEND: i64 = 30;
/// Steps that are drawn; the table has all.
const MOST_STEPS: usize = 64;
/// Characters of a name that are drawn.
const MOST_CHARS: usize = 28;
/// Width of a character, as far as one can know.
const CHAR: i64 = 7;

/// A lane: one rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Upper edge.
    pub y: i64,
    /// Height.
    pub height: i64,
    /// `L0`.
    pub rung: &'static str,
    /// What the rung stands for.
    pub what: &'static str,
}

/// A step's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Left edge.
    pub x: i64,
    /// Upper edge.
    pub y: i64,
    /// Width; zero for what was not tried.
    pub width: i64,
    /// What became of it.
    pub outcome: Outcome,
    /// Name, time and, unless all went well, the outcome.
    pub label: Text,
    /// Where the label begins, or ends.
    pub label_x: i64,
    /// Whether `label_x` is its end.
    pub ends: bool,
}

/// A mark of the time axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Where.
    pub x: i64,
    /// Seconds after the moment of notice.
    pub label: String,
}

/// A word of the legend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where.
    pub x: i64,
    /// What it explains.
    pub outcome: Outcome,
}

/// Everything that is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    /// Width of the view box.
    pub width: i64,
    /// Height of the view box.
    pub height: i64,
    /// Lanes, the highest rung first.
    pub lanes: Vec<Lane>,
    /// Rows.
    pub bars: Vec<Bar>,
    /// The axis.
    pub ticks: Vec<Tick>,
    /// Where the axis lies.
    pub axis_y: i64,
    /// Where the moment of notice lies, where it is near enough.
    pub notice_x: Option<i64>,
    /// The shapes that occur.
    pub legend: Vec<Key>,
    /// Steps that are only in the table.
    pub left_out: usize,
}

const LANES: [(Rung, &str, &str); 4] = [
    (Rung::L3, "L3", "changes the guest"),
    (Rung::L2, "L2", "pauses the guest"),
    (Rung::L1, "L1", "asks QEMU"),
    (Rung::L0, "L0", "host's view"),
];

impl Ladder {
    /// Puts every step in its place.
    pub fn draw(&self) -> Drawing {
        let shown = &self.steps[..self.steps.len().min(MOST_STEPS)];
        let axis = Axis::of(shown);
        let mut drawing =
            Drawing { width: WIDTH, left_out: self.steps.len() - shown.len(), ..Drawing::default() };
        let mut y = AXIS;
        for (rung, name, what) in LANES {
            let steps: Vec<&Step> = shown.iter().filter(|it| it.rung == rung).collect();
            let rows = i64::try_from(steps.len()).unwrap_or(0).max(1);
            let height = rows * ROW + 2 * PAD;
            drawing.lanes.push(Lane { y, height, rung: name, what });
            // The first step lies lowest, so that a lane climbs as the ladder does.
            for (step, row) in steps.into_iter().zip(1..) {
                let top = y + height - PAD - row * ROW + (ROW - BAR) / 2;
                drawing.bars.push(bar(step, &axis, top));
            }
            y += height;
        }
        drawing.axis_y = y;
        drawing.ticks = axis.ticks();
        drawing.notice_x = axis.has_notice.then(|| axis.x(0.0));
        let mut x = LEFT;
        for outcome in Outcome::ALL {
            if shown.iter().any(|it| it.outcome == outcome) {
                drawing.legend.push(Key { x, outcome });
                x += 100;
            }
        }
        drawing.height = y + AXIS + LEGEND;
        drawing
    }

    /// The highest rung on which anything was tried.
    pub fn highest(&self) -> Option<Rung> {
        self.steps.iter().filter(|it| it.outcome != Outcome::Skipped).map(|it| it.rung).max()
    }

    /// The drawing in a sentence.
    pub fn summary(&self) -> String {
        let count = |outcome| self.steps.iter().filter(|it| it.outcome == outcome).count();
        let mut parts = Vec::new();
        for outcome in Outcome::ALL {
            match count(outcome) {
                0 => {}
                n => parts.push(format!("{n} {}", outcome.name())),
            }
        }
        let highest = match self.highest() {
            Some(rung) => format!(", up to rung {rung:?}"),
            None => String::new(),
        };
        let steps = if self.steps.len() == 1 { "step" } else { "steps" };
        format!("{} {steps}{highest}: {}", self.steps.len(), parts.join(", "))
    }

    /// Headings of [`Ladder::rows`].
    pub fn head() -> Vec<&'static str> {
        vec!["step", "rung", "by", "after notice", "took", "outcome", "why"]
    }

    /// The drawing as a table.
    pub fn rows(&self) -> Vec<Vec<Value>> {
        let row = |it: &Step| {
            let mut took = format!("{} ms", it.took_ms);
            if it.paused_us > 0 {
                took.push_str(&format!(", guest paused {} us", it.paused_us));
            }
            vec![
                it.name.clone().into(),
                Value::from(format!("{:?}", it.rung)),
                it.transport.clone().into(),
                Value::number(format!("{:+.1} s", it.begin_ms as f64 / 1000.0)),
                Value::number(took),
                Value::badge(it.outcome.name(), it.outcome.tone()),
                it.why.clone().into(),
            ]
        };
        self.steps.iter().map(row).collect()
    }
}

fn bar(step: &Step, axis: &Axis, y: i64) -> Bar {
    let begin = step.begin_ms as f64;
    let x = axis.x(begin);
    let end = axis.x(begin + step.took_ms as f64);
    let width = if step.outcome == Outcome::Skipped { 0 } else { (end - x).max(4) };
    let mut label: String = step.name.as_str().chars().take(MOST_CHARS).collect();
    if step.name.as_str().chars().count() > MOST_CHARS {
        label.push('…');
    }
    match step.outcome {
        Outcome::Done => label.push_str(&format!(" {}", took(step.took_ms))),
        other => label.push_str(&format!(" {}", other.name())),
    }
    let wide = i64::try_from(label.chars().count()).unwrap_or(0) * CHAR;
    // Beside the bar where there is room, else within it.
    let gap = if width == 0 { 15 } else { 6 };
    let (label_x, ends) = if x + width + gap + wide <= RIGHT {
        (x + width + gap, false)
    } else if x - gap - wide >= LEFT {
        (x - gap, true)
    } else {
        (x + 5, false)
    };
    Bar { x, y, width, outcome: step.outcome, label: Text::new(label), label_x, ends }
}

fn took(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{:.1} s", ms as f64 / 1000.0) }
}

/// What part of time is shown, in milliseconds after the moment of notice.
struct Axis {
    from: f64,
    to: f64,
    has_notice: bool,
}

impl Axis {
    fn of(steps: &[Step]) -> Axis {
        let first = steps.iter().map(|it| it.begin_ms as f64).fold(f64::INFINITY, f64::min);
        let last =
            steps.iter().map(|it| it.begin_ms as f64 + it.took_ms as f64).fold(f64::NEG_INFINITY, f64::max);
        if !first.is_finite() || !last.is_finite() {
            return Axis { from: 0.0, to: 1.0, has_notice: true };
        }
        let span = (last - first).max(1.0);
        // A second examination of an old incident is shown without the hours before it.
        let has_notice = first <= 3.0 * span && last >= 0.0;
        let from = if has_notice { first.min(0.0) } else { first };
        Axis { from, to: last.max(from + 1.0), has_notice }
    }

    fn x(&self, ms: f64) -> i64 {
        let part = ((ms - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        LEFT + (part * (RIGHT - LEFT) as f64).round() as i64
    }

    /// At most ten marks at round seconds.
    fn ticks(&self) -> Vec<Tick> {
        let span = self.to - self.from;
        let rough = span / 8.0;
        let ten = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|it| it * ten).find(|it| *it >= rough).unwrap_or(span);
        let decimals = if step >= 1000.0 {
            0
        } else if step >= 100.0 {
            1
        } else {
            2
        };
        let first = (self.from / step).ceil();
        (0..10)
            .map(|n| (first + f64::from(n)) * step)
            .take_while(|ms| *ms <= self.to)
            .map(|ms| Tick { x: self.x(ms), label: format!("{:.decimals$} s", ms / 1000.0 + 0.0) })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(name: &str, rung: Rung, begin_ms: i64, took_ms: u64, outcome: Outcome) -> Step {
        Step {
            name: name.into(),
            rung,
            transport: "qmp".into(),
            begin_ms,
            took_ms,
            paused_us: 0,
            outcome,
            why: Text::default(),
        }
    }

    #[test]
    fn a_diagnosis_climbs_from_the_lower_left_to_the_upper_right() {
        let ladder = Ladder {
            steps: vec![
                step("host-threads", Rung::L0, 1000, 1000, Outcome::Done),
                step("host-disks", Rung::L0, 1200, 10, Outcome::Done),
                step("registers", Rung::L1, 2000, 1000, Outcome::Done),
                step("sysrq-w", Rung::L3, 3000, 1000, Outcome::Refused),
            ],
        };
        let drawing = ladder.draw();
        let named = |name: &str| drawing.bars.iter().find(|it| it.label.as_str().starts_with(name)).unwrap();
        let climb = ["host-threads", "host-disks", "registers", "sysrq-w"].map(named);
        assert!(climb.windows(2).all(|it| it[0].x < it[1].x && it[0].y > it[1].y));
        // 4 s from the moment of notice to the end: one second is a quarter of the axis.
        assert_eq!(named("registers").width, (RIGHT - LEFT) / 4);
        assert_eq!(drawing.notice_x, Some(LEFT));
        assert_eq!(ladder.highest(), Some(Rung::L3));
        assert_eq!(ladder.summary(), "4 steps, up to rung L3: 3 done, 1 refused");
    }

    #[test]
    fn what_was_not_tried_has_no_length_and_does_not_count_as_climbed() {
        let ladder = Ladder {
            steps: vec![
                step("registers", Rung::L1, 0, 10, Outcome::Failed),
                step("registers-gdb", Rung::L2, 10, 0, Outcome::Skipped),
            ],
        };
        assert_eq!(ladder.highest(), Some(Rung::L1));
        let drawing = ladder.draw();
        assert_eq!(drawing.bars.iter().find(|it| it.outcome == Outcome::Skipped).unwrap().width, 0);
        assert_eq!(
            drawing.legend.iter().map(|it| it.outcome.name()).collect::<Vec<_>>(),
            ["failed", "skipped"]
        );
    }

    #[test]
    fn ticks_are_at_round_seconds() {
        let axis = Axis { from: 0.0, to: 7400.0, has_notice: true };
        let labels: Vec<String> = axis.ticks().into_iter().map(|it| it.label).collect();
        assert_eq!(labels, ["0 s", "1 s", "2 s", "3 s", "4 s", "5 s", "6 s", "7 s"]);
        let axis = Axis { from: -50.0, to: 900.0, has_notice: true };
        assert_eq!(axis.ticks()[1].label, "0.2 s");
    }

    #[test]
    fn an_old_incident_is_drawn_without_the_hours_before() {
        let ladder = Ladder { steps: vec![step("registers", Rung::L1, 3_600_000, 500, Outcome::Done)] };
        assert_eq!(ladder.draw().notice_x, None);
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let rung = prop::sample::select(vec![Rung::L0, Rung::L1, Rung::L2, Rung::L3]);
        let outcome = prop::sample::select(Outcome::ALL.to_vec());
        (any::<String>(), rung, any::<i64>(), any::<u64>(), outcome)
            .prop_map(|(name, rung, begin, took, outcome)| step(&name, rung, begin, took, outcome))
    }

    proptest! {
        #[test]
        fn nothing_leaves_the_drawing_and_no_two_rows_share_a_place(
            steps in prop::collection::vec(any_step(), 0..90)
        ) {
            let drawing = Ladder { steps: steps.clone() }.draw();
            prop_assert_eq!(drawing.bars.len() + drawing.left_out, steps.len());
            for it in &drawing.bars {
                prop_assert!(it.x >= LEFT && it.x <= RIGHT && it.x + it.width <= RIGHT + 4);
                prop_assert!(it.y >= AXIS && it.y + BAR <= drawing.axis_y);
                prop_assert!(it.label_x >= LEFT - 12 && it.label_x <= WIDTH);
            }
            let mut rows: Vec<i64> = drawing.bars.iter().map(|it| it.y).collect();
            rows.sort_unstable();
            prop_assert!(rows.windows(2).all(|it| it[1] - it[0] >= ROW));
            prop_assert!(drawing.ticks.len() <= 10 && drawing.ticks.iter().all(|it| it.x >= LEFT && it.x <= RIGHT));
        }
    }
}
