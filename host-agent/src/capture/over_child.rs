//! The real way to a guest's memory: layout and descriptors gathered here, the look itself in a child.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vmward_model::Incarnation;

use super::memory::{Memory, Seen};
use super::{Context, Step};
use crate::look::{Layout, MinicoreOrder, Pool, chain, gather};

/// A look may take this long. The largest guests need some 300 ms.
const LOOK: Duration = Duration::from_secs(5);

/// Where a guest's memory stood when QEMU last told, by life of the guest. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct KnownLayout(Arc<Mutex<Option<(Incarnation, Layout)>>>);

impl KnownLayout {
    /// The layout in that life. A reboot of the guest moves no memory.
    pub fn get(&self, of: Incarnation) -> Option<Layout> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(life, _)| life.same_process(&of)).map(|(_, layout)| layout.clone())
    }

    /// Keeps it.
    pub fn set(&self, of: Incarnation, layout: Layout) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((of, layout));
    }
}

/// Looks by a child of the pool.
#[derive(Clone, Debug)]
pub struct OverChild {
    /// The children.
    pub pool: Pool,
    /// The layout that is known.
    pub layout: KnownLayout,
    /// What of the memory may be kept; nothing where the policy does not allow it.
    pub minicore: Option<MinicoreOrder>,
}

impl Memory for OverChild {
    fn look<'a>(&'a self, cx: &'a Context, monitor: bool) -> Step<'a, Result<Seen, String>> {
        Box::pin(async move {
            let known = self.layout.get(cx.incarnation);
            let monitor = cx.monitor.as_deref().filter(|_| monitor);
            let mut gathered = gather(&cx.process, monitor, known).await?;
            if !gathered.layout.guessed {
                self.layout.set(cx.incarnation, gathered.layout);
            }
            gathered.order.request.minicore = self.minicore;
            let looked = self.pool.look(gathered.order, LOOK).await;
            let looked = looked.map_err(|error| chain(&error))?;
            let mut notes = gathered.notes;
            notes.extend(looked.no_minicore.map(|why| format!("no minicore: {why}")));
            Ok(Seen { examination: looked.examination, minicore: looked.minicore, notes })
        })
    }
}
