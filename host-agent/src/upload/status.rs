//! How the guests are, for the controller: asked of their actors every few seconds, told where it changed.
//! Nobody waits for it: an actor that does not answer at once is shown as it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use vmward_model::exchange::{GuestStatus, ScenarioStatus, StatusPush};
use vmward_model::{Answer, GuestId, Stamp};

use crate::agent::clock;
use crate::agent::guest::order::{Order, Status};
use crate::agent::live::{Live, LiveAnswer};
use crate::agent::roster::Beds;

/// The guests are asked this often.
const EVERY: Duration = Duration::from_secs(3);
/// All of them together answer in this time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Characters of a round's last word.
const WORDS: usize = 200;

type Told = BTreeMap<(GuestId, String), Stamp>;

/// Keeps `tell` up to date until nobody looks any more. `text` is whether words of guests may leave.
pub(super) async fn watch_guests(
    host_name: String,
    beds: watch::Receiver<Beds>,
    live: Live,
    text: bool,
    tell: watch::Sender<Option<Arc<StatusPush>>>,
) {
    let mut answers = live.listen();
    let mut told = Told::new();
    let mut known: BTreeMap<GuestId, GuestStatus> = BTreeMap::new();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            answer = answers.recv() => match answer {
                Ok(LiveAnswer { guest, answer, .. }) => drop(told.insert((guest, answer.scenario), answer.at)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            _ = ticks.tick() => {
                if tell.is_closed() {
                    return;
                }
                let now = beds.borrow().clone();
                known.retain(|it, _| now.contains_key(it));
                told.retain(|(it, _), _| now.contains_key(it));
                for status in ask(&now).await {
                    known.insert(status.guest, guest(status, &told, text));
                }
                let guests: Vec<GuestStatus> = known.values().cloned().collect();
                let push = StatusPush { host_name: host_name.clone(), at: clock::now(), guests };
                tell.send_if_modified(|before| {
                    let news = before.as_ref().is_none_or(|it| differs(it, &push));
                    // What did not change is fresh all the same, for whoever tells it again.
                    *before = Some(Arc::new(push));
                    news
                });
            }
        }
    }
}

/// Asks all at once.
async fn ask(beds: &Beds) -> Vec<Status> {
    let asked: Vec<oneshot::Receiver<Status>> = beds
        .values()
        .filter_map(|bed| {
            let (answer, status) = oneshot::channel();
            bed.orders.try_send(Order::Status(answer)).ok().map(|()| status)
        })
        .collect();
    let until = Instant::now() + PATIENCE;
    let mut all = Vec::with_capacity(asked.len());
    for status in asked {
        if let Ok(Ok(status)) = timeout_at(until, status).await {
            all.push(status);
        }
    }
    all
}

fn guest(it: Status, told: &Told, text: bool) -> GuestStatus {
    let (guest, incarnation, state) = (it.guest, it.incarnation, it.state);
    let scenario = |one: crate::agent::guest::running::ScenarioStatus| ScenarioStatus {
        well: match one.standing.as_str() {
            "well" => Some(true),
            "failed" => Some(false),
            _ => None,
        },
        last: one.last.map(|it| words(&it, text)),
        at: told.get(&(guest, one.scenario.clone())).copied(),
        name: one.scenario,
    };
    let scenarios = it.scenarios.into_iter().map(scenario).collect();
    GuestStatus { guest, name: it.name, incarnation, state, scenarios, incident: it.incident.map(|it| it.0) }
}

fn words(answer: &Answer, text: bool) -> String {
    let (word, why) = match answer {
        Answer::Pass => return "pass".to_owned(),
        Answer::Fail(why) => ("fail", why),
        Answer::Unknown(why) => ("unknown", why),
    };
    if text { format!("{word}: {why}").chars().take(WORDS).collect() } else { word.to_owned() }
}

/// Whether one has news over the other: times alone, and numbers in a round's words, are none.
fn differs(before: &StatusPush, now: &StatusPush) -> bool {
    let word = |it: &ScenarioStatus| it.last.as_ref().and_then(|it| Some(it.split_once(':')?.0.to_owned()));
    let same = |a: &GuestStatus, b: &GuestStatus| {
        (a.guest, &a.name, a.incarnation, a.state, a.incident)
            == (b.guest, &b.name, b.incarnation, b.state, b.incident)
            && a.scenarios.len() == b.scenarios.len()
            && a.scenarios.iter().zip(&b.scenarios).all(|(a, b)| {
                (&a.name, a.well, a.last.is_some(), word(a)) == (&b.name, b.well, b.last.is_some(), word(b))
            })
    };
    before.guests.len() != now.guests.len() || !before.guests.iter().zip(&now.guests).all(|(a, b)| same(a, b))
}

#[cfg(test)]
mod tests {
    use vmward_model::GuestState;

    use super::*;

    fn push(well: Option<bool>, last: &str) -> StatusPush {
        let scenario =
            ScenarioStatus { name: "s".into(), well, last: Some(last.into()), at: Some(clock::now()) };
        let guest = GuestStatus {
            guest: GuestId::from_name_and_disks("g", &[]),
            name: "g".into(),
            incarnation: None,
            state: GuestState::Running,
            scenarios: vec![scenario],
            incident: None,
        };
        StatusPush { host_name: "h".into(), at: clock::now(), guests: vec![guest] }
    }

    #[test]
    fn time_and_numbers_are_no_news_and_a_failure_is() {
        let well = push(Some(true), "pass");
        assert!(!differs(&well, &push(Some(true), "pass")));
        let late = push(Some(true), "fail: no label for 12 s");
        assert!(differs(&well, &late));
        assert!(!differs(&late, &push(Some(true), "fail: no label for 13 s")));
        assert!(differs(&late, &push(Some(false), "fail: no label for 13 s")));
        assert!(differs(&well, &StatusPush { guests: Vec::new(), ..well.clone() }));
    }

    #[test]
    fn the_words_of_a_guest_stay_where_text_does_not_leave() {
        let fail = Answer::Fail(format!("it said {}", "x".repeat(500)));
        assert_eq!(words(&fail, false), "fail");
        assert_eq!(words(&fail, true).chars().count(), WORDS);
    }
}
