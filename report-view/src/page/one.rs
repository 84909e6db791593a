//! One guest, and one incident.

use askama::Template;
use vmward_model::IncidentState;

use super::guests::GuestLine;
use super::incidents::IncidentLine;
use super::{EventLine, Here, Parts, Software, events, incidents, wrap};
use crate::document::Document;
use crate::escape::Text;
use crate::html::{self, RenderError};
use crate::value::{Href, Value};

/// Everything of one guest's page.
#[derive(Clone, Debug)]
pub struct GuestView {
    /// Its name.
    pub name: Text,
    /// It, once for each host that told of it, the latest first.
    pub lines: Vec<GuestLine>,
    /// Its incidents, newest first.
    pub incidents: Vec<IncidentLine>,
    /// Its events, newest first.
    pub events: Vec<EventLine>,
}

/// Everything of one incident's page.
#[derive(Clone, Debug)]
pub struct IncidentView {
    /// As in a list.
    pub line: IncidentLine,
    /// Its chart; absent before the report is here.
    pub chart: Option<Document>,
    /// Why a chart is absent or not whole; empty otherwise.
    pub note: Text,
    /// Events around it, oldest first, where there is no chart that has them.
    pub events: Vec<EventLine>,
}

#[derive(Template)]
#[template(path = "page/guest.html")]
struct GuestPage<'a> {
    lines: &'a [GuestLine],
    incidents: String,
    events: String,
}

/// The page of a guest.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn guest(software: &Software, view: &GuestView) -> Result<String, RenderError> {
    let name = view.name.clone();
    let state = view.lines.first().map_or_else(|| "not watched".into(), |it| it.state().text);
    let open = view.incidents.iter().filter(|it| it.state != IncidentState::Closed).count();
    let page = GuestPage {
        lines: &view.lines,
        incidents: incidents::table("Incidents of this guest", &view.incidents, "It was never in trouble.")
            .html()?,
        events: events::table(&view.events, "Nothing was told of it.").html()?,
    };
    wrap(
        software,
        &Parts {
            here: Here::Guests,
            said: format!("{name} is {state}, {open} open incidents").into(),
            fixed: format!(
                "<p class=\"trail\"><a href=\"/guests\">Guests</a></p>\n<h1 class=\"name\">{}</h1>\n",
                html::escaped(name.as_str())
            ),
            title: name,
            live: page.render()?,
        },
    )
}

#[derive(Template)]
#[template(path = "page/incident.html")]
struct Waiting<'a> {
    view: &'a IncidentView,
    facts: Vec<(Text, Value)>,
    events: String,
}

/// The page of an incident.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn incident(software: &Software, view: &IncidentView) -> Result<String, RenderError> {
    let line = &view.line;
    let mut facts =
        vec![("state".into(), line.state()), ("severity".into(), incidents::severity(line.severity).into())];
    if let Some(at) = line.closed {
        facts.push(("closed".into(), Value::time(at)));
    }
    let live = match &view.chart {
        Some(chart) => {
            let mut chart = chart.clone();
            // Before the two ids, which few look for.
            let at = chart.facts.len().saturating_sub(2);
            chart.facts.splice(at..at, facts);
            let note = match view.note.as_str() {
                "" => String::new(),
                note => format!("<p class=\"note\">{}</p>\n", html::escaped(note)),
            };
            format!("{note}{}", html::sections(&chart)?)
        }
        None => {
            let guest = Value::link(line.guest_name.clone(), Href::to("/guests").join(line.guest));
            facts.splice(
                0..0,
                [
                    ("guest".into(), guest),
                    ("host".into(), line.host_name.clone().into()),
                    ("noticed".into(), Value::time(line.opened)),
                    ("incident".into(), Value::code(line.id.to_string())),
                ],
            );
            let events = events::table(&view.events, "No event of that time is here.").html()?;
            Waiting { view, facts, events }.render()?
        }
    };
    let class = line.class.map_or("no report yet", |it| it.name());
    wrap(
        software,
        &Parts {
            here: Here::Incidents,
            title: format!("{}: {class}", line.guest_name).into(),
            fixed: "<p class=\"trail\"><a href=\"/incidents\">Incidents</a></p>\n".to_owned(),
            live,
            said: format!("Incident of {}: {class}, {}", line.guest_name, line.state().text).into(),
        },
    )
}
