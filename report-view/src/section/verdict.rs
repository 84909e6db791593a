//! What is wrong, how sure that is, what speaks for and against it, and what to do.

use vmward_model::{Confidence, Evidence, Finding};

use super::section as make;
use crate::chart::{Chart, Words};
use crate::document::{Block, Section, Sign};
use crate::escape::Text;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let incident = &chart.manifest.incident;
    let opening = &incident.opening;
    let mut blocks = vec![Block::Facts(vec![
        ("final class".into(), Text::new(incident.class.name())),
        (
            "opening verdict".into(),
            Text::new(format!(
                "{} ({}) by scenario {}",
                opening.class,
                sure(opening.confidence),
                opening.scenario
            )),
        ),
        ("guest state".into(), Text::new(format!("{:?}", incident.guest_state).to_lowercase())),
    ])];
    let none = Words::default();
    for (n, finding) in incident.findings.iter().enumerate() {
        let words = chart.words.get(n).unwrap_or(&none);
        let inner = one(finding, words);
        if n == 0 {
            blocks.extend(inner);
        } else {
            let sentence = if words.sentence.is_empty() { &finding.rule } else { &words.sentence };
            let summary = Text::new(format!("also: {sentence} ({})", finding.code));
            blocks.push(Block::Fold { summary, open: false, blocks: inner });
        }
    }
    if !opening.evidence.is_empty() {
        let signs = Block::Evidence(signs(&opening.evidence));
        let summary = "what the opening verdict rested on".into();
        blocks.push(Block::Fold { summary, open: incident.findings.is_empty(), blocks: vec![signs] });
    }
    if !chart.undecided.is_empty() {
        let items = chart.undecided.iter().map(|(rule, why)| Text::new(format!("{rule}: {why}"))).collect();
        let summary = "what could not be told".into();
        blocks.push(Block::Fold { summary, open: false, blocks: vec![Block::Items(items)] });
    }
    make("verdict", "Verdict", blocks)
}

fn one(finding: &Finding, words: &Words) -> Vec<Block> {
    let mut blocks = vec![Block::Facts(vec![(
        "finding".into(),
        Text::new(format!("{} {} ({})", finding.code, finding.rule, sure(finding.confidence))),
    )])];
    if !words.detail.is_empty() {
        blocks.push(Block::Para(Text::new(&words.detail)));
    }
    blocks.push(Block::Evidence(signs(&finding.evidence)));
    for (title, texts) in
        [("usual causes", &words.causes), ("next steps", &words.next_steps), ("read on", &words.links)]
    {
        if !texts.is_empty() {
            blocks.push(Block::Para(Text::new(format!("{title}:"))));
            blocks.push(Block::Items(texts.iter().map(Text::new).collect()));
        }
    }
    blocks
}

fn signs(evidence: &[Evidence]) -> Vec<Sign> {
    let mut signs: Vec<Sign> = evidence
        .iter()
        .map(|it| Sign { supports: it.supports, text: Text::new(&it.text), source: Text::new(&it.source) })
        .collect();
    signs.sort_by_key(|it| !it.supports);
    signs
}

fn sure(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Possible => "possible",
        Confidence::Likely => "likely",
        Confidence::Certain => "certain",
    }
}
