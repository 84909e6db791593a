//! The session against real QEMU: the layout of both machines, and the guest runs again afterwards.

use std::time::Duration;

use qapi::qmp;

use super::*;
use crate::transport::qmp::tests::Machine;
use crate::transport::qmp::{GdbSocketPath, HmpGdbServer, L2Permit, Monitor, Policy};

const STEP: Duration = Duration::from_secs(5);

async fn with_stub(machine: &Machine) -> (Monitor, Gdb) {
    let monitor = machine.monitor(Policy::Hold);
    let permit = L2Permit::opted_in("test");
    let path = machine.dir.path().join("gdb");
    let socket = GdbSocketPath::new(path.to_str().unwrap()).unwrap();
    let server = HmpGdbServer::Unix(socket);
    monitor.session(async |q| q.gdb_server(&permit, &server, STEP).await).await.unwrap().unwrap();
    let gdb = Gdb::attach(&path, &permit, STEP).await.unwrap();
    (monitor, gdb)
}

async fn running(monitor: &Monitor) -> bool {
    monitor.ask(qmp::query_status {}, STEP).await.unwrap().running
}

#[tokio::test]
async fn x86_registers_come_by_the_layout_that_qemu_describes() {
    let machine = Machine::start(&["-smp", "2"]);
    let (monitor, mut gdb) = with_stub(&machine).await;
    let layout = gdb.layout().await.unwrap();
    let all = gdb.registers(&layout).await.unwrap();
    assert_eq!(all.len(), 2);
    let size: usize = all[0].registers.iter().map(|r| r.bytes_le.len()).sum();
    assert_eq!(size, 608);
    // Both ways to the same registers agree: the guest is stopped.
    assert!(!running(&monitor).await);
    let text = monitor.hmp(crate::transport::qmp::HmpRead::RegistersAll, STEP).await.unwrap();
    for name in ["cr0", "cr3", "efer", "rip"] {
        let value = all[0].value(name).unwrap();
        let shown = text.split_whitespace().find_map(|w| {
            let (key, hex) = w.split_once('=')?;
            let wanted = if name == "rip" { "IP" } else { &name.to_uppercase() };
            key.ends_with(wanted).then(|| u64::from_str_radix(hex, 16).ok())?
        });
        assert_eq!(Some(value), shown, "{name} in {text}");
    }
    gdb.physical_mode(true).await.unwrap();
    assert_eq!(gdb.is_physical().await.unwrap(), Some(true));
    gdb.physical_mode(false).await.unwrap();
    gdb.detach().await.unwrap();
    assert!(running(&monitor).await);
}

#[tokio::test]
async fn aarch64_registers_come_with_the_system_registers() {
    let machine = Machine::start_as("qemu-system-aarch64", &["-machine", "virt", "-cpu", "max"]);
    let (monitor, mut gdb) = with_stub(&machine).await;
    let layout = gdb.layout().await.unwrap();
    let all = gdb.registers(&layout).await.unwrap();
    let cpu = all.first().unwrap();
    assert!(cpu.value("pc").is_some() && cpu.value("x30").is_some());
    for name in ["TTBR1_EL1", "TCR_EL1", "ELR_EL1"] {
        assert!(cpu.registers.iter().any(|r| r.name == name), "{name}: {cpu:?}");
    }
    gdb.detach().await.unwrap();
    assert!(running(&monitor).await);
}
