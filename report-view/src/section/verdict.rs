//! What is wrong, how sure that is, what speaks for and against it, and what to do.

use vmward_model::{Confidence, Evidence, Finding};

use super::{section as make, tone};
use crate::chart::{Chart, Place, Words};
use crate::document::{Block, Section, Sign};
use crate::escape::Text;
use crate::value::Value;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let incident = &chart.manifest.incident;
    let opening = &incident.opening;
    let mut blocks = vec![Block::Facts(vec![
        ("final class".into(), Value::badge(incident.class.name(), tone(incident.class))),
        (
            "opening verdict".into(),
            Value::from(format!(
                "{} ({}) by scenario {}",
                opening.class,
                sure(opening.confidence),
                opening.scenario
            )),
        ),
        ("guest state".into(), Value::from(format!("{:?}", incident.guest_state).to_lowercase())),
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
        // Many rules miss the same thing.
        let mut missing: Vec<(&str, Vec<&str>)> = Vec::new();
        for (rule, why) in &chart.undecided {
            match missing.iter_mut().find(|it| it.0 == why) {
                Some(it) => it.1.push(rule),
                None => missing.push((why, vec![rule])),
            }
        }
        let items =
            missing.iter().map(|(why, rules)| Text::new(format!("{}: {why}", rules.join(", ")))).collect();
        let summary = "what could not be told".into();
        blocks.push(Block::Fold { summary, open: false, blocks: vec![Block::Items(items)] });
    }
    make("verdict", "Verdict", blocks)
}

/// What another engine says, where it says something else.
pub(super) fn dissent(chart: &Chart<'_>, place: &Place) -> Option<Text> {
    let again = place.again.as_ref().filter(|it| it.class != chart.manifest.incident.class)?;
    let class = chart.manifest.incident.class;
    let mut text = format!("The host said {class}; the controller's engine says {}", again.class);
    if again.sentence.is_empty() {
        text.push('.');
    } else {
        text.push_str(": ");
        text.push_str(&again.sentence);
    }
    Some(Text::new(text))
}

fn one(finding: &Finding, words: &Words) -> Vec<Block> {
    let mut blocks = vec![Block::Facts(vec![(
        "finding".into(),
        Value::from(format!("{} {} ({})", finding.code, finding.rule, sure(finding.confidence))),
    )])];
    if !words.detail.is_empty() {
        blocks.push(Block::Para(Text::new(&words.detail)));
    }
    blocks.push(Block::Evidence(signs(&finding.evidence)));
    for (title, important, texts) in [
        ("Next steps", true, &words.next_steps),
        ("Usual causes", false, &words.causes),
        ("Read on", false, &words.links),
    ] {
        if !texts.is_empty() {
            let items = Block::Items(texts.iter().map(Text::new).collect());
            blocks.push(Block::Headed { title: title.into(), important, blocks: vec![items] });
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
