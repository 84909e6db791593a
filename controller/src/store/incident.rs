//! What an incident's events and its report make of its row, in whatever order they arrive: the
//! spool drops and sends by severity, so that a close may come before the opening.
//!
//! Pure, so that the order can be tested.

use jiff::Timestamp;
use vmward_model::exchange::HostId;
use vmward_model::{Class, Event, EventKind, GuestId, IncidentId, IncidentState, Manifest, Severity};

/// How much a summary tells: the larger takes the place of the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SummaryRank {
    /// None so far.
    None = 0,
    /// How it ended.
    End = 1,
    /// What opened it.
    Opening = 2,
    /// What the diagnosis said, or why there was none.
    Diagnosis = 3,
    /// What the report says.
    Report = 4,
}

impl SummaryRank {
    /// From the database.
    pub fn from_number(number: i64) -> SummaryRank {
        match number {
            0 => SummaryRank::None,
            1 => SummaryRank::End,
            2 => SummaryRank::Opening,
            3 => SummaryRank::Diagnosis,
            _ => SummaryRank::Report,
        }
    }
}

/// An incident as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Which.
    pub id: IncidentId,
    /// Where.
    pub host: HostId,
    /// Whose.
    pub guest: GuestId,
    /// The guest's name.
    pub guest_name: String,
    /// Where it stands.
    pub state: IncidentState,
    /// How much it matters.
    pub severity: Severity,
    /// The host's class.
    pub class: Option<Class>,
    /// The controller's class.
    pub controller_class: Option<Class>,
    /// The scenario that noticed.
    pub scenario: Option<String>,
    /// One sentence.
    pub summary: String,
    /// How much that tells.
    pub summary_rank: SummaryRank,
    /// When it was noticed.
    pub opened: Timestamp,
    /// When its report was whole.
    pub examined: Option<Timestamp>,
    /// When it ended.
    pub closed: Option<Timestamp>,
    /// Whether its report is here.
    pub has_report: bool,
}

impl Standing {
    /// One of which nothing is known but whose it is and that it was there at `at`.
    pub fn new(id: IncidentId, host: HostId, guest: GuestId, at: Timestamp) -> Standing {
        Standing {
            id,
            host,
            guest,
            guest_name: String::new(),
            state: IncidentState::Open,
            severity: Severity::Info,
            class: None,
            controller_class: None,
            scenario: None,
            summary: String::new(),
            summary_rank: SummaryRank::None,
            opened: at,
            examined: None,
            closed: None,
            has_report: false,
        }
    }

    /// What an event of it says.
    pub fn hear(&mut self, event: &Event) {
        let EventKind::Incident { what, summary, .. } = &event.kind else { return };
        let at = event.at.utc;
        self.opened = self.opened.min(at);
        if let (true, Some(name)) = (self.guest_name.is_empty(), &event.name) {
            self.guest_name.clone_from(name);
        }
        let (state, rank) = match what.as_str() {
            "opened" => (IncidentState::Open, SummaryRank::Opening),
            "examined" => (IncidentState::Reported, SummaryRank::Diagnosis),
            "not-examined" => (IncidentState::Open, SummaryRank::Diagnosis),
            // Nothing of an interrupted one is taken up again: its guest gets a new one.
            "closed" | "interrupted" => (IncidentState::Closed, SummaryRank::End),
            // A word of a newer agent: the event itself is kept.
            _ => return,
        };
        match state {
            IncidentState::Reported => self.examined = Some(self.examined.map_or(at, |it| it.min(at))),
            IncidentState::Closed => self.closed = Some(self.closed.map_or(at, |it| it.max(at))),
            _ => {}
        }
        self.advance(state);
        if rank != SummaryRank::End {
            self.severity = self.severity.max(event.severity);
        }
        self.say(rank, summary);
    }

    /// What its report says; `sentence` is its summary.
    pub fn read(&mut self, manifest: &Manifest, controller_class: Option<Class>, sentence: &str) {
        let it = &manifest.incident;
        self.guest_name.clone_from(&it.guest_name);
        self.advance(IncidentState::Reported);
        self.advance(it.state);
        self.class = Some(it.class);
        self.controller_class = controller_class;
        self.scenario = Some(it.notice.scenario.clone());
        self.opened = self.opened.min(it.notice.at.utc);
        self.examined = Some(manifest.written.utc);
        self.has_report = true;
        self.severity = self.severity.max(match it.class {
            // Somebody asked, and nothing was wrong.
            Class::Well => Severity::Info,
            _ => Severity::Error,
        });
        self.say(SummaryRank::Report, sentence);
    }

    fn advance(&mut self, state: IncidentState) {
        if super::row::state_rank(state) > super::row::state_rank(self.state) {
            self.state = state;
        }
    }

    fn say(&mut self, rank: SummaryRank, text: &str) {
        if rank >= self.summary_rank {
            self.summary_rank = rank;
            self.summary = text.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use vmward_model::{FORMAT, Stamp};

    fn event(what: &str, second: i64, severity: Severity) -> Event {
        Event {
            format: FORMAT,
            seq: u64::try_from(second).unwrap(),
            at: Stamp { utc: Timestamp::from_second(second).unwrap(), mono_ms: 0 },
            severity,
            guest: Some(GuestId(Uuid::nil())),
            name: Some("web".into()),
            incarnation: None,
            kind: EventKind::Incident {
                id: IncidentId(Uuid::nil()),
                what: what.into(),
                summary: format!("it was {what}"),
            },
        }
    }

    fn after(events: &[&Event]) -> Standing {
        let mut it = Standing::new(
            IncidentId(Uuid::nil()),
            HostId(Uuid::nil()),
            GuestId(Uuid::nil()),
            events[0].at.utc,
        );
        events.iter().for_each(|event| it.hear(event));
        it
    }

    #[test]
    fn an_incident_comes_out_the_same_in_whatever_order_its_events_arrive() {
        let opened = event("opened", 10, Severity::Crit);
        let examined = event("examined", 20, Severity::Error);
        let closed = event("closed", 30, Severity::Info);
        let first = after(&[&opened, &examined, &closed]);
        for order in
            [[&closed, &examined, &opened], [&examined, &closed, &opened], [&closed, &opened, &examined]]
        {
            assert_eq!(after(&order), first);
        }
        assert_eq!(first.state, IncidentState::Closed);
        assert_eq!((first.severity, first.summary.as_str()), (Severity::Crit, "it was examined"));
        assert_eq!((first.opened.as_second(), first.closed.unwrap().as_second()), (10, 30));
    }

    #[test]
    fn a_word_of_a_newer_agent_changes_nothing_else() {
        let opened = event("opened", 10, Severity::Error);
        let strange = event("transferred", 20, Severity::Crit);
        assert_eq!(after(&[&opened, &strange]), after(&[&opened]));
    }
}
