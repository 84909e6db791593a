//! Groups tasks by equal stacks: a thousand waiters are one line.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Frame, Task, TaskState};

/// Tasks that stand at the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StackGroup {
    /// Their state; `None` when it was lost.
    pub state: Option<TaskState>,
    /// The stack of the first of them.
    pub stack: Vec<Frame>,
    /// Which they are: positions in the list that was folded, rising.
    pub members: Vec<usize>,
}

/// Folds tasks with the same state and the same reliable symbols; the largest group first, then by
/// first member. Offsets do not count: two waiters in one function wait at the same place.
pub fn fold_stacks(tasks: &[Task]) -> Vec<StackGroup> {
    let mut by_key: HashMap<(Option<TaskState>, Vec<&str>), usize> = HashMap::new();
    let mut groups: Vec<StackGroup> = Vec::new();
    for (idx, task) in tasks.iter().enumerate() {
        let none_sure = !task.stack.iter().any(|it| it.sure);
        let key = task.stack.iter().filter(|it| it.sure || none_sure).map(Frame::name).collect();
        let group_idx = *by_key.entry((task.state, key)).or_insert_with(|| {
            groups.push(StackGroup { state: task.state, stack: task.stack.clone(), members: Vec::new() });
            groups.len() - 1
        });
        groups[group_idx].members.push(idx);
    }
    groups.sort_by_key(|it| (std::cmp::Reverse(it.members.len()), it.members[0]));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task(pid: u32, symbols: &[&str]) -> Task {
        let stack = symbols.iter().map(|it| Frame::named(*it)).collect();
        Task { stack, ..Task::new(pid, "t", TaskState::D) }
    }

    #[test]
    fn equal_stacks_fold_whatever_their_offsets_and_doubtful_frames() {
        let one = task(1, &["schedule", "mutex_lock"]);
        let mut two = task(2, &["schedule", "mutex_lock"]);
        two.stack[1].offset = Some(0x20);
        two.stack.push(Frame { sure: false, ..Frame::named("stale") });
        let other = task(3, &["schedule", "io_schedule"]);
        let groups = fold_stacks(&[other, one, two]);
        assert_eq!(groups.iter().map(|it| it.members.clone()).collect::<Vec<_>>(), [vec![1, 2], vec![0]]);
    }

    #[test]
    fn tasks_in_other_states_are_not_folded_together() {
        let mut zombie = task(2, &[]);
        zombie.state = Some(TaskState::Z);
        assert_eq!(fold_stacks(&[task(1, &[]), zombie]).len(), 2);
    }

    proptest! {
        #[test]
        fn every_task_is_in_exactly_one_group(picks in proptest::collection::vec(0usize..4, 0..40)) {
            const STACKS: [&[&str]; 4] = [&[], &["a"], &["a", "b"], &["b"]];
            let tasks: Vec<_> = picks.iter().map(|it| task(1, STACKS[*it])).collect();
            let groups = fold_stacks(&tasks);
            let mut members: Vec<_> = groups.iter().flat_map(|it| it.members.clone()).collect();
            members.sort_unstable();
            prop_assert_eq!(members, (0..tasks.len()).collect::<Vec<_>>());
        }
    }
}
