//! The chart as a reader sees it, and as a hostile guest would like it to be.

#![expect(clippy::unwrap_used, reason = "helpers of tests, not only test functions")]

mod incident;

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
    insta::assert_snapshot!(html::render(&Incident::with("web").document()).unwrap());
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
        "SysRq refused by the kernel's mask: w t",
        "3 tasks are blocked:",
        "2 x D, waits for mutex: web (pid 4), web (pid 5)",
        "What the CPUs ran:",
        "monitor: held by web",
        "!! [   17.2] INFO: task dd:112 blocked for more",
        "refused",
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
    page.matches('<').count() - page.matches("<mark>").count() - page.matches("</mark>").count()
}

#[test]
fn hostile_texts_stay_texts() {
    let expected = elements(&html::render(&Incident::with("x").document()).unwrap());
    for hostile in [
        "<script>alert(1)</script>",
        "\"><b>",
        "</pre></style></title><h1>",
        "' onmouseover='x",
        "\u{1b}[2J\u{1b}]8;;http://evil\u{7}click\u{1b}]8;;\u{7}",
        "\u{9b}31m\u{90}q\u{9c}",
        "abc\u{202e}gpj.exe\u{2066}",
        "a\r\nIncident closed\r\n",
        "\u{0}\u{8}\u{7f}\u{feff}\u{200b}",
        "{{ document }} {% for %}",
        "&lt;b&gt;",
    ] {
        let document = Incident::with(hostile).document();
        let page = html::render(&document).unwrap();
        assert!(!page.chars().any(|it| it.is_control() && it != '\n'), "{hostile:?}");
        assert_eq!(elements(&page), expected, "{hostile:?} made an element");
        let shown = terminal::render(&document, plain(80));
        assert!(!shown.chars().any(|it| it.is_control() && it != '\n'), "{hostile:?}");
        assert!(!shown.contains('\u{202e}') && !page.contains('\u{202e}') && !page.contains('\u{200b}'));
        assert!(!shown.lines().any(|it| it.trim() == "Incident closed"), "a text made a line of its own");
    }
}

#[test]
fn the_page_needs_nobody_else() {
    let page = html::render(&Incident::with("x").document()).unwrap();
    assert!(page.contains("default-src 'none'"));
    for it in ["<script", "<link", "<img", "http://", "https://", "@import", "url("] {
        assert!(!page.contains(it), "{it}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_text_whatever_reaches_a_terminal_or_a_page_unescaped(text in any::<String>(), width in 40usize..200) {
        let document = Incident::with(&text).document();
        let shown = terminal::render(&document, plain(width));
        let page = html::render(&document).unwrap();
        prop_assert!(!shown.chars().chain(page.chars()).any(|it| it.is_control() && it != '\n'));
        let expected = elements(&html::render(&Incident::with("x").document()).unwrap());
        prop_assert_eq!(elements(&page), expected);
    }
}
