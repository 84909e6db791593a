//! The controller's pages: an overview, guests, incidents, hosts, and one of each.
//!
//! They work without a script. What changes by itself lies in one region with a version; the script
//! `live-updates` fetches the same page again and puts the region in place of the old one.

mod error;
mod events;
mod filter;
mod guests;
mod hosts;
mod incidents;
mod login;
mod one;
mod overview;
mod table;

use askama::Template;

pub use error::error;
pub use events::EventLine;
pub use filter::{Choice, Field, Filter};
pub use guests::{GuestLine, ScenarioLine, guests};
pub use hosts::{HostLine, hosts};
pub use incidents::{IncidentLine, incidents};
pub use login::login;
pub use one::{GuestView, IncidentView, guest, incident};
pub use overview::{Overview, overview};
pub use table::{Row, Table};

use crate::asset;
use crate::escape::Text;
use crate::html::RenderError;

/// Where a page belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Here {
    /// The start page.
    Overview,
    /// Guests.
    Guests,
    /// Incidents.
    Incidents,
    /// Hosts.
    Hosts,
    /// None of them.
    #[default]
    Elsewhere,
}

/// One entry of the navigation.
struct Stop {
    here: Here,
    path: &'static str,
    name: &'static str,
}

const STOPS: [Stop; 4] = [
    Stop { here: Here::Overview, path: "/", name: "Overview" },
    Stop { here: Here::Incidents, path: "/incidents", name: "Incidents" },
    Stop { here: Here::Guests, path: "/guests", name: "Guests" },
    Stop { here: Here::Hosts, path: "/hosts", name: "Hosts" },
];

/// Program and version, at the foot of each page.
#[derive(Clone, Debug, Default)]
pub struct Software(pub Text);

/// What a page consists of.
pub(crate) struct Parts {
    pub(crate) here: Here,
    pub(crate) title: Text,
    /// Stays as it is: a heading, a form.
    pub(crate) fixed: String,
    /// Is replaced when something changes.
    pub(crate) live: String,
    /// What is said of a change, in a few words.
    pub(crate) said: Text,
}

#[derive(Template)]
#[template(path = "page/shell.html")]
struct Shell<'a> {
    parts: &'a Parts,
    software: &'a Text,
    stops: &'static [Stop],
    version: String,
    style: &'a str,
    mark: &'a str,
    scripts: Vec<&'a str>,
}

/// The one asset that ends so.
fn asset_named(extension: &str) -> &'static str {
    asset::all().iter().map(|it| it.name.as_str()).find(|it| it.ends_with(extension)).unwrap_or_default()
}

pub(crate) fn wrap(software: &Software, parts: &Parts) -> Result<String, RenderError> {
    let names = asset::all().iter().map(|it| it.name.as_str());
    let shell = Shell {
        parts,
        software: &software.0,
        stops: &STOPS,
        version: asset::version(&parts.live),
        style: asset_named(".css"),
        mark: asset_named(".svg"),
        scripts: names.filter(|it| it.ends_with(".js")).collect(),
    };
    Ok(shell.render()?)
}

/// The content security policy of every page: nothing but this site's own files, no inline script,
/// no inline style, no frame around it.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
