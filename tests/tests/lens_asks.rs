//! What is asked of single things is answered as the guest itself answers: symbols, modules, memory.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use vmward_kernel_facts::machine::ModuleState;
use vmward_kernel_facts::{Answer, Ask, Place};
use vmward_kernel_lens::minicore::{self, Policy};
use vmward_kernel_lens::{Options, Recorder, answer, examine_opened, machine, open};
use vmward_tests::binary::vmward;
use vmward_tests::lens::Pictured;

const KERNELS: [&str; 4] = ["amd64-5.10", "amd64-6.1", "amd64-6.12", "amd64-7.x"];

#[test]
fn modules_are_those_of_proc_modules() -> Result<()> {
    for kernel in KERNELS {
        let guest = Pictured::of(kernel)?;
        let recorder = Recorder::new(guest.memory());
        let ours = machine::modules::read(&guest.kernel(&recorder)?)?;
        let told = guest.image().text("modules")?;
        ensure!(ours.len() == told.lines().count() && !ours.is_empty(), "{kernel}: {}", ours.len());
        for (ours, line) in ours.iter().zip(told.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            ensure!(
                ours.name == words[0] && ours.bytes.to_string() == words[1],
                "{kernel}: {ours:?}: {line}"
            );
            ensure!(
                ours.references.map(|it| it.to_string()).as_deref() == Some(words[2]),
                "{ours:?}: {line}"
            );
            let users: Vec<&str> = words[3].split(',').filter(|it| !matches!(*it, "" | "-")).collect();
            ensure!(ours.used_by == users, "{kernel}: {ours:?} is not {line}");
            ensure!(ours.state == ModuleState::Live && words[4] == "Live", "{ours:?}: {line}");
            ensure!(format!("{:#x}", ours.address) == words[5], "{kernel}: {ours:?} is not {line}");
        }
    }
    Ok(())
}

#[test]
fn symbols_and_bytes_are_those_that_the_guest_tells() -> Result<()> {
    for kernel in KERNELS {
        let guest = Pictured::of(kernel)?;
        let recorder = Recorder::new(guest.memory());
        let found = guest.kernel(&recorder)?;
        let table = guest.image().text("kallsyms")?;
        let banner = Place { symbol: Some("linux_banner".into()), offset: 0 };
        let asks = [
            Ask::Symbol { name: "schedule".into() },
            Ask::Symbol { name: "virtblk_probe".into() },
            Ask::Read { at: banner, length: 64, physical: false },
            Ask::Symbol { name: "no such thing".into() },
            Ask::Type { name: "list_head".into() },
            Ask::Read { at: Place { symbol: None, offset: 8 }, length: 16, physical: false },
        ];
        let answers = answer(&found, &asks);
        ensure!(answers == answer(&found, &asks), "it was answered otherwise the second time");
        for (ask, name) in answers.iter().zip(["schedule", "virtblk_probe"]) {
            let Answer::Symbols { symbols } = ask else { anyhow::bail!("{ask:?}") };
            let line = table.lines().find(|it| it.split_whitespace().nth(2) == Some(name));
            let words: Vec<&str> = line.with_context(|| format!("no {name}"))?.split_whitespace().collect();
            ensure!(symbols.len() == 1 && format!("{:016x}", symbols[0].address) == words[0], "{symbols:?}");
            ensure!(symbols[0].kind.to_string() == words[1], "{symbols:?} {words:?}");
            let module = symbols[0].module.as_ref().map(|it| format!("[{it}]"));
            ensure!(module.as_deref() == words.get(3).copied(), "{symbols:?} {words:?}");
            let inside = Ask::Address { address: symbols[0].address + 5 };
            let Some(Answer::Symbols { symbols }) = answer(&found, &[inside]).pop() else {
                anyhow::bail!("nothing in the middle of {name}")
            };
            ensure!(symbols[0].name == name && symbols[0].offset == 5, "{symbols:?}");
        }
        let Answer::Bytes { hex, cut: None, .. } = &answers[2] else { anyhow::bail!("{:?}", answers[2]) };
        let version = guest.image().text("version")?;
        let expected: String = version.bytes().take(64).map(|it| format!("{it:02x}")).collect();
        ensure!(*hex == expected, "{hex}");
        ensure!(matches!(answers[3], Answer::Nothing { .. }) && matches!(answers[5], Answer::Nothing { .. }));
        let Answer::Type { text } = &answers[4] else { anyhow::bail!("{:?}", answers[4]) };
        ensure!(text.contains("struct list_head *next;") && text.contains("size 16"), "{text}");
    }
    Ok(())
}

/// The command line gives the same from a minicore.
#[test]
fn each_subcommand_shows_its_part_of_a_minicore() -> Result<()> {
    let guest = Pictured::of_fault("lock-chain", "amd64-6.1")?;
    let recorder = Recorder::new(guest.memory());
    let kernel = open(&recorder, guest.cpus())?;
    let live = examine_opened(&kernel, guest.cpus(), Options::default(), std::time::Instant::now());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lock-chain.core");
    let mut file = std::fs::File::create(&path)?;
    minicore::save(&mut file, &kernel, guest.cpus(), &live, Policy::Kernel, 8 << 20)?;
    let shown = |words: &[&str]| -> Result<String> {
        let out = Command::new(vmward()?).arg("inspect").arg(&path).args(words).output()?;
        Ok(String::from_utf8(out.stdout)?)
    };
    for (words, expected) in [
        (&["mem"][..], &["DMA32", "kernel stacks", "SLAB CACHE"][..]),
        (&["io"], &["vdb", "read", "req.0", "the host owes answers", "virtio_console"]),
        (&["net"], &["lo"]),
        (&["mods"], &["virtio_ring", "live"]),
        (&["sym", "schedule"], &["schedule"]),
        (&["type", "list_head"], &["struct list_head *next;"]),
        (&["read", "linux_banner", "13"], &["|Linux version|"]),
        (&["read", "0", "--phys"], &["was not kept"]),
    ] {
        let text = shown(words)?;
        for it in expected {
            ensure!(text.contains(it), "{words:?} shows no {it}: {text}");
        }
    }
    Ok(())
}
