//! Starts QEMU so that it dies with us, even when we are killed.
#![expect(
    unsafe_code,
    reason = "the death signal must be set between fork and exec, which only pre_exec can do"
)]

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Starts `command` in its own process group (a Ctrl-C at the terminal is ours to handle) with
/// SIGKILL as its parent's death signal.
///
/// Linux ties that signal to the parent's *thread* (prctl(2), PR_SET_PDEATHSIG): a QEMU that a
/// short-lived test thread had started would die with that thread. One thread that never ends
/// therefore starts them all.
pub(super) fn spawn(mut command: Command) -> std::io::Result<Child> {
    command.process_group(0);
    // SAFETY: the closure runs after fork and calls prctl alone, which is async-signal-safe and
    // allocates nothing.
    unsafe {
        command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from));
    }
    static ORDERS: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in receiver {
                let _nobody_waits = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (reply, answer) = mpsc::channel();
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    orders.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
