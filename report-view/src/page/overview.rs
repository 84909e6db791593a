//! The start page: how the ward is, at a glance.

use askama::Template;

use super::guests::GuestLine;
use super::incidents::{self, IncidentLine};
use super::{Here, HostLine, Parts, Software, wrap};
use crate::html::RenderError;
use crate::value::Tone;

/// Beds shown; the list of guests has all.
const MOST_BEDS: usize = 240;

/// Everything of the start page.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Every guest.
    pub guests: Vec<GuestLine>,
    /// Every host.
    pub hosts: Vec<HostLine>,
    /// Incidents that are not closed, newest first.
    pub open: Vec<IncidentLine>,
    /// The latest that are closed, newest first.
    pub closed: Vec<IncidentLine>,
}

/// A guest as a bed of the ward.
struct Bed<'a> {
    guest: &'a GuestLine,
    tone: Tone,
    class: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "page/overview.html")]
struct Page<'a> {
    lead: String,
    tone: Tone,
    counts: Vec<(usize, &'static str, &'static str, Tone)>,
    beds: Vec<Bed<'a>>,
    left_out: usize,
    open: String,
    closed: String,
}

/// The start page.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn overview(software: &Software, view: &Overview) -> Result<String, RenderError> {
    let mut beds: Vec<Bed<'_>> = view
        .guests
        .iter()
        .filter(|it| it.present || it.incident.is_some())
        .map(|guest| {
            let open = view.open.iter().find(|it| Some(it.id) == guest.incident);
            Bed { guest, tone: guest.tone(), class: open.and_then(|it| it.class).map(|it| it.name()) }
        })
        .collect();
    // Those who need somebody first, then by name.
    beds.sort_by(|a, b| (a.tone, &a.guest.name).cmp(&(b.tone, &b.guest.name)));
    let all = beds.len();
    let trouble = beds.iter().filter(|it| it.guest.incident.is_some()).count();
    let dropped = view.hosts.iter().filter(|it| it.tone() == Tone::Warn).count();
    let mut counts = vec![
        (all, if all == 1 { "guest" } else { "guests" }, "/guests", Tone::Quiet),
        (
            view.open.len(),
            if view.open.len() == 1 { "open incident" } else { "open incidents" },
            "#open",
            if view.open.is_empty() { Tone::Good } else { Tone::Alarm },
        ),
        (view.hosts.len(), if view.hosts.len() == 1 { "host" } else { "hosts" }, "/hosts", Tone::Quiet),
    ];
    if dropped > 0 {
        let words = if dropped == 1 { "host lost entries" } else { "hosts lost entries" };
        counts.push((dropped, words, "/hosts", Tone::Warn));
    }
    let page = Page {
        lead: lead(all, trouble),
        tone: if trouble > 0 { Tone::Alarm } else { Tone::Good },
        counts,
        left_out: all.saturating_sub(MOST_BEDS),
        beds: beds.into_iter().take(MOST_BEDS).collect(),
        open: incidents::table("Open incidents", &view.open, "No incident is open.").html()?,
        closed: incidents::table("Incidents closed lately", &view.closed, "None was closed so far.")
            .html()?,
    };
    let said = match view.open.first() {
        Some(it) => format!("{} Newest incident: {}, {}", page.lead, it.guest_name, it.summary),
        None => page.lead.clone(),
    };
    wrap(
        software,
        &Parts {
            here: Here::Overview,
            title: "Overview".into(),
            fixed: String::new(),
            live: page.render()?,
            said: said.into(),
        },
    )
}

fn lead(all: usize, trouble: usize) -> String {
    match (all, trouble) {
        (0, _) => "No guest is known so far.".to_owned(),
        (1, 0) => "The one guest is well.".to_owned(),
        (n, 0) => format!("All {n} guests are well."),
        (1, _) => "The one guest is in trouble.".to_owned(),
        (n, 1) => format!("1 of {n} guests is in trouble."),
        (n, m) => format!("{m} of {n} guests are in trouble."),
    }
}
