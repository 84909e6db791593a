//! Who gets an actor and who does not.

use std::sync::Arc;

use vmward_model::{GuestId, Incarnation};

use super::events::Events;
use super::guest::actor::Shared;
use super::live::Live;
use super::roster::Roster;
use super::rounds::Rounds;
use crate::config::{Config, Loaded};
use crate::target::{FoundBy, Target};

fn roster(dir: &std::path::Path) -> Roster {
    let mut config = Config::default();
    config.state.folder = dir.to_owned();
    let (scenarios, diagnoses) = Default::default();
    let loaded = Loaded { path: None, config, scenarios, diagnoses };
    let shared = Shared {
        events: Events::nowhere(),
        rounds: Rounds::nowhere(),
        live: Live::default(),
        looks: Default::default(),
        spool: None,
    };
    Roster::new(Arc::new(loaded), shared, false)
}

fn target(name: &str, disk: &str, incarnation: Option<Incarnation>) -> Target {
    Target {
        id: GuestId::from_name_and_disks(name, &[disk.to_owned()]),
        uuid: None,
        name: name.to_owned(),
        incarnation,
        qmp: None,
        console: None,
        disks: vec![disk.to_owned()],
        found_by: vec![FoundBy::Config],
        transports: Vec::new(),
        problems: Vec::new(),
    }
}

#[tokio::test]
async fn a_declared_guest_makes_room_for_the_same_one_with_a_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut roster = roster(dir.path());
    roster.found(vec![target("a", "", None)]);
    assert_eq!(roster.beds().borrow().len(), 1);
    // Its own life, so that the process is there all through the test.
    let stat = std::fs::read("/proc/self/stat").unwrap();
    let start_ticks = crate::node::stat::parse(&stat).unwrap().start_ticks;
    let incarnation = Incarnation { pid: std::process::id(), start_ticks, boot: 0 };
    let running = target("a", "/disk", Some(incarnation));
    roster.found(vec![running.clone()]);
    let beds = roster.beds().borrow().clone();
    assert_eq!(beds.keys().collect::<Vec<_>>(), [&running.id]);
    roster.found(vec![target("a", "", None)]);
    assert_eq!(roster.beds().borrow().len(), 1, "not a second one while the first is kept");
}
