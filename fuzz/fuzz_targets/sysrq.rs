//! The SysRq reader: nothing panics, what it keeps is bounded, and no pid is invented.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmward_console_log::sysrq::{MAX_FRAMES, MAX_PROBLEMS, MAX_TASKS, parse};
use vmward_kernel_facts::{fold_stacks, wait_kind};

fuzz_target!(|bytes: &[u8]| {
    let (text, problems) = parse(bytes);
    assert!(problems.len() <= MAX_PROBLEMS);
    let n_tasks: usize = text.sections.iter().map(|it| it.tasks.len()).sum();
    assert!(n_tasks <= MAX_TASKS);
    let whole = String::from_utf8_lossy(bytes);
    for task in text.tasks() {
        assert!(task.stack.len() <= MAX_FRAMES);
        let _ = (wait_kind(task), task.wait_channel());
        // A pid's digits stand in the text, unless a control character was cut out of them.
        let cut = whole.chars().any(char::is_control);
        assert!(cut || task.pid.is_none_or(|it| whole.contains(&it.to_string())));
    }
    let _ = (fold_stacks(text.tasks()), text.cpus(), text.memory());
});
