//! Transports: the ways to reach a guest. Each owns its connection, has a deadline on every wait and
//! says in types why it could not be used.

pub mod console;
pub mod holders;
pub mod process;
pub mod qmp;
pub mod rsp;
pub mod stamp;
pub mod sysrq;
