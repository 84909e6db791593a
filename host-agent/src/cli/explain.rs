//! `vmward explain [CODE|CLASS]`: what a finding means, what usually causes it and what to do. Without an
//! argument, all of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use vmward_findings::catalogue::{Catalogue, Words};
use vmward_findings::rule::RULES;
use vmward_model::{Class, Confidence, Finding};

use super::output::json;
use super::{Context, Exit, Form, Output};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Code of a finding (VW1302), its name, or a class (lock-wait); all of them when left out
    what: Option<String>,
}

#[derive(Serialize)]
struct Entry {
    code: &'static str,
    name: &'static str,
    /// Absent for a finding that adds to another and sets no class.
    class: Class,
    #[serde(flatten)]
    words: Words,
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let catalogue = Catalogue::built_in().context("while reading the catalogue of findings")?;
    let all: Vec<Entry> = RULES
        .iter()
        .map(|it| {
            let (code, name, class) = (it.code, it.rule.name(), it.rule.class());
            Entry { code, name, class, words: words(&catalogue, code, name, class) }
        })
        .collect();
    let Some(what) = &args.what else {
        if cx.form() == Form::Json {
            json(&all)?;
        } else {
            let rows: Vec<[String; 3]> = all
                .iter()
                .map(|it| [it.code.to_owned(), it.name.to_owned(), it.words.sentence.clone()])
                .collect();
            Output::new().table(["CODE", "NAME", "MEANING"], &rows).write()?;
        }
        return Ok(Exit::Well);
    };
    let wanted = what.to_lowercase();
    let named = |it: &&Entry| it.code.to_lowercase() == wanted || it.name == wanted;
    let of_class = |it: &&Entry| it.class.name() == wanted;
    let mut found: Vec<&Entry> = all.iter().filter(named).collect();
    if found.is_empty() {
        found = all.iter().filter(of_class).collect();
    }
    if found.is_empty() {
        bail!("nothing is known of {what:?}; `vmward explain` lists every code");
    }
    if cx.form() == Form::Json {
        json(&found)?;
    } else {
        let mut out = Output::new();
        for (n, entry) in found.into_iter().enumerate() {
            if n > 0 {
                out.safe("\n");
            }
            show(&mut out, entry);
        }
        out.write()?;
    }
    Ok(Exit::Well)
}

/// The entry as for a finding of which nothing is known: the parts with blanks are left out.
fn words(catalogue: &Catalogue, code: &str, rule: &str, class: Class) -> Words {
    catalogue.words(&Finding {
        code: code.to_owned(),
        rule: rule.to_owned(),
        class,
        confidence: Confidence::Possible,
        evidence: Vec::new(),
        details: BTreeMap::new(),
    })
}

fn show(out: &mut Output, it: &Entry) {
    out.line(&format!("{} {} (class {})", it.code, it.name, it.class));
    out.safe("\n").line(&it.words.sentence);
    if !it.words.detail.is_empty() {
        out.line(&it.words.detail);
    }
    let lists = [
        ("Usual causes", &it.words.causes),
        ("What to do", &it.words.next_steps),
        ("Read on", &it.words.links),
    ];
    for (title, items) in lists.into_iter().filter(|(_, items)| !items.is_empty()) {
        out.safe("\n").line(&format!("{title}:"));
        out.lines(items.iter().map(|item| format!("  - {item}")));
    }
}
