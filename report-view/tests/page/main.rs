//! The chart as a reader sees it, and as a hostile guest would like it to be.

#![expect(clippy::unwrap_used, reason = "helpers of tests, not only test functions")]

mod incident;
mod lists;

use incident::Incident;
use proptest::prelude::*;
use vmward_report_view::{html, terminal};

fn plain(width: usize) -> terminal::Options {
    terminal::Options { width, colour: false }
}

#[test]
fn the_chart_on_a_terminal() {
    insta::assert_snapshot!(terminal::render(&Incident::with("web").document(), plain(100)));
}

#[test]
fn the_chart_on_a_narrow_terminal_stays_within_it() {
    let shown = terminal::render(&Incident::with("web").document(), plain(48));
    let widest = shown.lines().map(|it| it.chars().count()).max().unwrap();
    assert!(widest <= 48, "{widest}:\n{shown}");
}

#[test]
fn the_chart_as_a_page() {
    insta::assert_snapshot!(lists::without_looks(&html::render(&Incident::with("web").document()).unwrap()));
}

#[test]
fn what_a_reader_looks_for_is_there_and_in_order() {
    let shown = terminal::render(&Incident::with("web").document(), plain(100));
    let order = [
        "Tasks wait for web.",
        "final class: lock-wait",
        "opening verdict: suspect",
        "- against:",
        ">> 10:00:20 +0.0s",
        "3 tasks are blocked:",
        "2 x D, waits for a mutex: web (pid 4), web (pid 5)",
        "__mutex_lock+0x1f/0x90 [web] <- waits here",
        "What the CPUs ran:",
        "SysRq refused by the kernel's mask: w t",
        "!! [   17.2] INFO: task dd:112 blocked for more <- web",
        "monitor: held by web",
        "3 steps, up to rung L3: 1 done, 1 refused, 1 skipped",
        "artifacts/abab",
    ];
    let mut from = 0;
    for it in order {
        let found =
            shown[from..].find(it).unwrap_or_else(|| panic!("{it:?} is not after byte {from} of\n{shown}"));
        from += found;
    }
}

#[test]
fn colours_are_only_colours() {
    let document = Incident::with("web").document();
    let coloured = terminal::render(&document, terminal::Options { width: 100, colour: true });
    assert!(coloured.contains("\u{1b}[1;31m"));
    let mut bare = coloured;
    for code in ["\u{1b}[1m", "\u{1b}[1;31m", "\u{1b}[2m", "\u{1b}[0m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, terminal::render(&document, plain(100)));
}

/// Elements of a page but for the marks, which a console line has or has not.
fn elements(page: &str) -> usize {
    let marks = ["<i>", "</i>", "<mark>", "</mark>", "<b class=\"why\">"];
    let marks: usize = marks.iter().map(|it| page.matches(it).count()).sum();
    page.matches('<').count() - marks - page.matches("<b class=\"why\">").count()
}

/// Texts that a guest may choose to be more than text.
const HOSTILE: [&str; 13] = [
    "<script>alert(1)</script>",
    "\"><b>",
    "</pre></style></title><h1>",
    "</svg><svg onload=alert(1)>",
    "' onmouseover='x",
    "\u{1b}[2J\u{1b}]8;;http://evil\u{7}click\u{1b}]8;;\u{7}",
    "\u{9b}31m\u{90}q\u{9c}",
    "abc\u{202e}gpj.exe\u{2066}",
    "a\r\nIncident closed\r\n",
    "\u{0}\u{8}\u{7f}\u{feff}\u{200b}",
    "{{ document }} {% for %}",
    "&lt;b&gt;",
    "javascript:alert(1)",
];

fn is_harmless(page: &str) -> bool {
    let hidden = ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}'];
    !page.chars().any(|it| (it.is_control() && it != '\n') || hidden.contains(&it))
}

#[test]
fn hostile_texts_stay_texts() {
    let expected = lists::pages("x");
    for hostile in HOSTILE {
        for ((name, page), (_, plain)) in lists::pages(hostile).iter().zip(&expected) {
            assert!(is_harmless(page), "{name}: {hostile:?}");
            assert_eq!(elements(page), elements(plain), "{name}: {hostile:?} made an element");
            assert!(!page.contains("href=\"javascript:"), "{name}");
        }
        let shown = terminal::render(&Incident::with(hostile).document(), plain(80));
        assert!(is_harmless(&shown), "{hostile:?}");
        assert!(!shown.lines().any(|it| it.trim() == "Incident closed"), "a text made a line of its own");
    }
}

#[test]
fn the_page_needs_nobody_else() {
    let page = html::render(&Incident::with("x").document()).unwrap();
    assert!(page.contains("default-src 'none'"));
    for it in ["<script", "<link", "<img", "http://", "https://", "@import"] {
        assert!(!page.contains(it), "{it}");
    }
    assert_eq!(page.matches("url(").count(), page.matches("url(#").count());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_text_whatever_reaches_a_terminal_or_a_page_unescaped(text in any::<String>(), width in 40usize..200) {
        prop_assert!(is_harmless(&terminal::render(&Incident::with(&text).document(), plain(width))));
        // A text of the same emptiness: what is empty is left out.
        let expected = lists::pages(if text.is_empty() { "" } else { "x" });
        for ((name, page), (_, plain)) in lists::pages(&text).iter().zip(&expected) {
            prop_assert!(is_harmless(page), "{}", name);
            prop_assert_eq!(elements(page), elements(plain), "{}", name);
        }
    }
}
