//! What the lens reads of a guest's virtio devices is what the guest and QEMU say of the same.

use anyhow::{Context, Result, ensure};
use vmward_kernel_facts::machine::VirtioDevice;
use vmward_kernel_lens::{Kernel, Recorder, machine};
use vmward_tests::lens::Pictured;

fn devices(kernel: &Kernel<'_>) -> Result<Vec<VirtioDevice>> {
    let disks = machine::block::read(kernel)?;
    let networks = machine::net::read(kernel)?;
    Ok(machine::virtio::read(kernel, Some(&disks), Some(&networks))?)
}

/// Each queue of a disk and each of the console's control queues has an interrupt of its name, and the disk
/// is the one that hangs there.
fn names_are_those_of_the_interrupts(kernel: &str) -> Result<()> {
    let guest = Pictured::of(kernel)?;
    let recorder = Recorder::new(guest.memory());
    let devices = devices(&guest.kernel(&recorder)?)?;
    let told = guest.image().text("interrupts")?;
    let lines: Vec<&str> = told.lines().filter_map(|it| it.split_whitespace().last()).collect();
    let mut compared = 0;
    for device in &devices {
        // Its ports are described by types of a module, and a module has none on 5.10.
        let expected = usize::from(kernel == "amd64-5.10" && device.device_id == 3);
        ensure!(device.problems.len() == expected && !device.queues.is_empty(), "{:?}", device.problems);
        let Some(driver) = device.driver.as_deref().filter(|it| *it == "virtio_blk") else { continue };
        for queue in &device.queues {
            let line = format!("{}-{}", device.name, queue.name);
            ensure!(lines.contains(&line.as_str()), "{driver}: no {line} in {told}");
            ensure!(!queue.broken && queue.untaken() == Some(0) && queue.outstanding == 0, "{queue:?}");
            ensure!(queue.free == queue.size && queue.used_idx == Some(queue.avail_idx), "{queue:?}");
            compared += 1;
        }
    }
    ensure!(compared >= 2, "{devices:?}");
    let disks: Vec<&str> = devices.iter().flat_map(|it| &it.serves).map(String::as_str).collect();
    // Before v5.11 a disk is known as long as it is open, and nobody has opened the spare one.
    ensure!(disks.contains(&"vda") && disks.contains(&"vdb") == (kernel != "amd64-5.10"), "{disks:?}");
    let console = devices.iter().find(|it| it.device_id == 3).context("no console")?;
    ensure!(console.driver.as_deref() == Some("virtio_console"), "{console:?}");
    let named = console.ports.iter().find(|it| it.name.as_deref() == Some("org.vmward.fixture"));
    ensure!(named.is_some_and(|it| it.guest_connected) || kernel == "amd64-5.10", "{console:?}");
    Ok(())
}

#[test]
fn queues_of_5_10_have_the_names_of_its_interrupts() -> Result<()> {
    names_are_those_of_the_interrupts("amd64-5.10")
}

#[test]
fn queues_of_6_1_have_the_names_of_its_interrupts() -> Result<()> {
    names_are_those_of_the_interrupts("amd64-6.1")
}

#[test]
fn queues_of_6_12_have_the_names_of_its_interrupts() -> Result<()> {
    names_are_those_of_the_interrupts("amd64-6.12")
}

#[test]
fn queues_of_7_have_the_names_of_its_interrupts() -> Result<()> {
    names_are_those_of_the_interrupts("amd64-7.x")
}

/// The block layer's request is the one whose chain the driver has offered and the device not given back.
#[test]
fn a_request_that_a_disk_owes_is_in_its_queue() -> Result<()> {
    for kernel in ["amd64-6.1", "amd64-7.x"] {
        let guest = Pictured::of_fault("lock-chain", kernel)?;
        let recorder = Recorder::new(guest.memory());
        let found = guest.kernel(&recorder)?;
        let disks = machine::block::read(&found)?;
        for device in machine::virtio::read(&found, Some(&disks), None)? {
            let owed: Vec<u64> = disks
                .iter()
                .filter(|it| device.serves.contains(&it.name))
                .flat_map(|it| &it.in_flight)
                .map(|it| it.address)
                .collect();
            let queues = device.queues.iter().filter(|it| it.name.starts_with("req"));
            let mut offered = Vec::new();
            for queue in queues {
                ensure!(queue.chains.len() == queue.outstanding as usize, "{queue:?}");
                for chain in &queue.chains {
                    offered.push(chain.request.with_context(|| format!("{kernel}: whose is {chain:?}?"))?);
                }
            }
            ensure!(offered == owed, "{kernel} {}: {offered:x?} is not {owed:x?}", device.name);
            ensure!(!device.serves.iter().any(|it| it == "vdb") || offered.len() == 1, "{device:?}");
        }
    }
    Ok(())
}
