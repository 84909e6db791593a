//! The controller's pages with something in every field that a guest, or a host, may write.

use jiff::Timestamp;
use vmward_model::exchange::{HostId, SpoolCounters};
use vmward_model::{Class, GuestId, GuestState, IncidentId, IncidentState, Severity};
use vmward_report_view::escape::Text;
use vmward_report_view::page::{
    self, Choice, EventLine, Field, Filter, GuestLine, GuestView, HostLine, IncidentLine, IncidentView,
    Overview, ScenarioLine, Software,
};
use vmward_report_view::{Href, asset, html};

use crate::incident::Incident;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn id(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}

fn incident_line(text: &str, state: IncidentState) -> IncidentLine {
    IncidentLine {
        id: IncidentId(id(7)),
        guest: GuestId(id(1)),
        guest_name: text.into(),
        host_name: text.into(),
        state,
        severity: Severity::Error,
        class: Some(Class::LockWait),
        other_class: Some(Class::DiskStall),
        summary: text.into(),
        opened: at("2026-11-21T10:00:20Z"),
        closed: (state == IncidentState::Closed).then(|| at("2026-11-21T10:09:00Z")),
    }
}

fn guest_line(text: &str, well: Option<bool>) -> GuestLine {
    GuestLine {
        id: GuestId(id(1)),
        name: text.into(),
        host_name: text.into(),
        state: GuestState::Running,
        present: true,
        scenarios: vec![ScenarioLine {
            name: text.into(),
            well,
            last: text.into(),
            at: Some(at("2026-11-21T10:00:21Z")),
        }],
        last_seen: at("2026-11-21T10:00:22Z"),
        incident: (well == Some(false)).then_some(IncidentId(id(7))),
    }
}

fn host_line(text: &str) -> HostLine {
    let mut counters =
        SpoolCounters { made: 12, stored: 7, waiting: 2, waiting_bytes: 2048, ..Default::default() };
    counters.dropped.debug = 3;
    HostLine {
        id: HostId(id(9)),
        name: text.into(),
        software: text.into(),
        first_seen: at("2026-11-20T10:00:00Z"),
        last_seen: at("2026-11-21T10:00:22Z"),
        stored: 7,
        guests: 2,
        counters: Some(counters),
    }
}

/// Every page, by name.
pub fn pages(text: &str) -> Vec<(&'static str, String)> {
    let software = Software(text.into());
    let choice = |value: &str| Choice { value: value.into(), label: value.into(), chosen: true };
    let filter = Filter {
        action: "/incidents",
        fields: vec![
            Field::Text { name: "q", label: "text", value: text.into() },
            Field::Choice { name: "host", label: "host", choices: vec![choice(text)] },
        ],
    };
    let open = incident_line(text, IncidentState::Reported);
    let closed = incident_line(text, IncidentState::Closed);
    let guests = vec![guest_line(text, Some(false)), guest_line(text, None)];
    let event = EventLine { at: at("2026-11-21T10:00:19Z"), severity: Severity::Warn, text: text.into() };
    let lines = [open.clone(), closed.clone()];
    let older = Href::to("/incidents").with("q", text);
    let view =
        |chart| IncidentView { line: open.clone(), chart, note: text.into(), events: vec![event.clone()] };
    let overview = Overview {
        guests: guests.clone(),
        hosts: vec![host_line(text)],
        open: vec![open.clone()],
        closed: vec![closed],
    };
    let guest = GuestView {
        name: text.into(),
        lines: guests.clone(),
        incidents: lines.to_vec(),
        events: vec![event.clone()],
    };
    let word: Text = text.into();
    vec![
        ("overview", page::overview(&software, &overview).unwrap()),
        ("guests", page::guests(&software, &filter, &guests).unwrap()),
        ("guest", page::guest(&software, &guest).unwrap()),
        ("incidents", page::incidents(&software, &filter, &lines, Some(&older), Some(&older)).unwrap()),
        (
            "incident",
            page::incident(&software, &view(Some(Incident::with(text).document_on_controller()))).unwrap(),
        ),
        ("waiting", page::incident(&software, &view(None)).unwrap()),
        ("hosts", page::hosts(&software, &[host_line(text)]).unwrap()),
        ("error", page::error(&software, 404, &word, &word).unwrap()),
        ("alone", html::render(&Incident::with(text).document()).unwrap()),
    ]
}

/// A page without style sheet and hashes, so that a golden page does not change with a colour.
pub fn without_looks(page: &str) -> String {
    let cut = |page: &str, from: &str, to: &str| match page.split_once(from) {
        Some((before, rest)) => format!("{before}{from}{}", rest.find(to).map_or("", |at| &rest[at..])),
        None => page.to_owned(),
    };
    let mut page = cut(page, "<style>", "</style>");
    page = cut(&page, "sha256-", "'");
    page = cut(&page, "data-version=\"", "\"");
    for it in asset::all() {
        let stem = it.name.split('.').next().unwrap_or_default();
        page = page.replace(&it.name, stem);
    }
    page
}

#[test]
fn the_overview_as_a_page() {
    let pages = pages("web");
    insta::assert_snapshot!(without_looks(&pages.iter().find(|it| it.0 == "overview").unwrap().1));
}

#[test]
fn every_page_is_whole_without_a_script_and_has_its_landmarks() {
    for (name, page) in pages("web") {
        for part in ["<!DOCTYPE html>", "<html lang=\"en\">", "class=\"skip\"", "<main id=\"main\"", "<h1"] {
            assert!(page.contains(part), "{name} has no {part}");
        }
        assert_eq!(page.matches("<h1").count(), 1, "{name}");
        for (open, close) in [("<section", "</section>"), ("<details", "</details>"), ("<table", "</table>")]
        {
            assert_eq!(page.matches(open).count(), page.matches(close).count(), "{name}: {open}");
        }
    }
}

#[test]
fn the_policy_of_the_pages_is_kept_by_the_pages() {
    for (name, page) in pages("web") {
        assert!(!page.contains(" style=\"") && !page.contains(" onclick"), "{name}");
        let inline =
            page.matches("<script").count() - page.matches("<script type=\"module\" src=\"/static/").count();
        assert_eq!(inline, 0, "{name}");
        assert_eq!(page.contains("<style>"), name == "alone", "{name}");
    }
    assert!(page::POLICY.starts_with("default-src 'none';") && !page::POLICY.contains("unsafe"));
}

#[test]
fn a_region_has_another_version_when_it_says_something_else() {
    let version = |page: &str| page.split("data-version=\"").nth(1).unwrap()[..16].to_owned();
    let of = |text: &str| pages(text).into_iter().find(|it| it.0 == "guests").unwrap().1;
    assert_eq!(version(&of("web")), version(&of("web")));
    assert_ne!(version(&of("web")), version(&of("db")));
}

#[test]
fn raw_artifacts_are_links_on_the_controller_unless_the_host_withholds_them() {
    let page = pages("web").into_iter().find(|it| it.0 == "incident").unwrap().1;
    assert!(page.contains(&format!("<a href=\"/api/v1/artifacts/{}\" download>", "ab".repeat(32))));
    assert!(page.contains("withheld by the host&#39;s configuration"));
    assert!(!page.contains(&format!("/api/v1/artifacts/{}", "cd".repeat(32))));
    let alone = html::render(&Incident::with("web").document()).unwrap();
    assert!(alone.contains(&format!("artifacts/{}", "cd".repeat(32))) && !alone.contains("/api/"));
}

#[test]
fn two_engines_that_differ_are_both_told() {
    let page = pages("web").into_iter().find(|it| it.0 == "incident").unwrap().1;
    assert!(page.contains("The host said lock-wait; the controller&#39;s engine says disk-stall: web"));
    assert!(!html::render(&Incident::with("web").document()).unwrap().contains("engine says"));
}
