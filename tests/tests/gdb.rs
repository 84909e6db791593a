//! A stock gdb on a minicore sees the guest as its monitor and its memory showed it, and can change nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vmward_kernel_lens::minicore::{self, Policy};
use vmward_kernel_lens::{Options, PhysicalMemory, Recorder, Registers, examine_opened, open};
use vmward_tests::binary::vmward;
use vmward_tests::lens::Pictured;

/// `vmward gdb` on a minicore of a guest, in a folder of its own.
struct Served {
    folder: tempfile::TempDir,
    server: Child,
    told: serde_json::Value,
}

impl Served {
    fn of(guest: &Pictured, arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let core = folder.path().join("minicore.zst");
        let recorder = Recorder::new(guest.memory());
        let opened = open(&recorder, guest.cpus())?;
        let found = examine_opened(&opened, guest.cpus(), Options::default(), Instant::now());
        let mut file = fs::File::create(&core)?;
        minicore::save(&mut file, &opened, guest.cpus(), &found, Policy::Kernel, 24 << 20)?;
        let mut command = Command::new(vmward()?);
        command.args(["-o", "json", "gdb"]).arg(&core).args(arguments);
        if !arguments.contains(&"--port") {
            command.arg("--folder").arg(folder.path());
        }
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut said = String::new();
        let mut stdout = BufReader::new(server.stdout.take().context("no stdout")?);
        while !said.ends_with("}\n") && stdout.read_line(&mut said)? > 0 {}
        let told = serde_json::from_str(&said).with_context(|| format!("it said {said:?}"))?;
        Ok(Self { folder, server, told })
    }

    fn address(&self) -> Result<&str> {
        self.told["address"].as_str().context("no address")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("gdb.sock")
    }

    /// What a gdb says to these commands, with which the server ends.
    fn gdb(mut self, program: &str, commands: &[&str]) -> Result<String> {
        let said = run_gdb(program, self.address()?, commands)?;
        let status = self.server.wait()?;
        ensure!(status.code() == Some(0), "the server ended with {status}: {}", self.errors()?);
        ensure!(!self.socket().exists(), "the socket is still there");
        Ok(said)
    }

    fn errors(&mut self) -> Result<String> {
        let mut text = String::new();
        if let Some(stderr) = &mut self.server.stderr {
            stderr.read_to_string(&mut text)?;
        }
        Ok(text)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn run_gdb(program: &str, address: &str, commands: &[&str]) -> Result<String> {
    let mut gdb = Command::new("timeout");
    gdb.args(["120", program, "-q", "-nx", "-batch", "-ex"]).arg(format!("target remote {address}"));
    for it in commands {
        gdb.args(["-ex", it]);
    }
    let Output { stdout, stderr, status } =
        gdb.output().with_context(|| format!("cannot run {program}: install the package of that name"))?;
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ensure!(status.code() != Some(127) && status.code() != Some(124), "{program}: {said}");
    Ok(said)
}

/// Lines `name hex ...` of `info registers`.
fn register(said: &str, name: &str) -> Option<String> {
    let line = said.lines().find(|it| it.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1).map(str::to_owned)
}

/// The words of a line of `x/2gx`.
fn words(said: &str, at: u64) -> Option<Vec<u64>> {
    let head = format!("{at:#x}");
    let line = said.lines().find(|it| it.starts_with(&head))?;
    let words = line.split_once(':')?.1.split_whitespace();
    words.map(|it| u64::from_str_radix(it.trim_start_matches("0x"), 16).ok()).collect()
}

#[test]
fn registers_and_memory_are_those_of_the_guest() -> Result<()> {
    let guest = Pictured::of("amd64-6.1")?;
    let Registers::X86_64(cpu) = &guest.cpus()[1].registers else { anyhow::bail!("not x86") };
    // What the guest's memory holds at its own symbol, found by the guest's own list of symbols.
    let kallsyms = guest.image().text("kallsyms")?;
    let symbol = |name: &str| {
        let line = kallsyms.lines().find(|it| it.split_whitespace().nth(2) == Some(name))?;
        u64::from_str_radix(line.split_whitespace().next()?, 16).ok()
    };
    let banner = symbol("linux_banner").context("no banner in kallsyms")?;
    let text = symbol("__schedule").context("no __schedule in kallsyms")?;
    let said = Served::of(&guest, &[])?.gdb(
        "gdb",
        &[
            "info threads",
            "thread 2",
            "info registers",
            &format!("x/s {banner:#x}"),
            &format!("x/2gx {text:#x}"),
            "x/2gx 0x1000",
            "x/2gx 0xffff000000000000",
            "detach",
        ],
    )?;
    ensure!(said.contains("(vCPU 0: ") && said.contains("(vCPU 1: "), "{said}");
    for (name, value) in [("rip", cpu.rip), ("rsp", cpu.rsp()), ("cr3", cpu.cr3), ("gs_base", cpu.gs_base)] {
        ensure!(register(&said, name) == Some(format!("{value:#x}")), "{name} is not {value:#x}: {said}");
    }
    ensure!(register(&said, "xmm0").is_none() && said.contains("efer           <unavailable>"), "{said}");
    let release = guest.image().text("version")?;
    ensure!(said.contains(release.get(..60).context("a short version")?), "{said}");
    // The kernel's image lies in one run: where its memory is, the memory's own offset tells.
    let recorder = Recorder::new(guest.memory());
    let kernel = guest.kernel(&recorder)?;
    let mut bytes = [0; 16];
    guest.memory().read(kernel.space.phys(text)?, &mut bytes)?;
    let expected: Vec<u64> =
        bytes.chunks_exact(8).filter_map(|it| it.try_into().ok().map(u64::from_le_bytes)).collect();
    ensure!(words(&said, text).as_ref() == Some(&expected), "{expected:x?} at {text:#x}: {said}");
    for unmapped in ["0x1000", "0xffff000000000000"] {
        ensure!(said.contains(&format!("Cannot access memory at address {unmapped}")), "{said}");
    }
    Ok(())
}

#[test]
fn nothing_can_be_written_and_nothing_goes_on() -> Result<()> {
    let guest = Pictured::of("amd64-6.1")?;
    let commands = [
        "set var $rax=$rax+1",
        "set var *(long*)$rsp=1",
        "stepi",
        "continue",
        "p/x $rip",
        "x/gx $rsp",
        "detach",
    ];
    let said = Served::of(&guest, &[])?.gdb("gdb", &commands)?;
    ensure!(said.contains("Could not write register \"rax\""), "{said}");
    ensure!(said.contains("what is written would change nothing"), "{said}");
    ensure!(said.matches("nothing runs in it").count() == 2, "{said}");
    let Registers::X86_64(cpu) = &guest.cpus()[0].registers else { anyhow::bail!("not x86") };
    ensure!(said.contains(&format!("$1 = {:#x}", cpu.rip)), "{said}");
    ensure!(said.matches("Cannot access memory").count() == 1, "the write went through: {said}");
    Ok(())
}

#[test]
fn every_task_is_a_thread_and_the_monitor_tells_what_the_lens_knows() -> Result<()> {
    let guest = Pictured::of_fault("lock-chain", "amd64-6.1")?;
    let served = Served::of(&guest, &["--tasks"])?;
    ensure!(served.told["threads"].as_u64() > Some(50), "{}", served.told);
    let said = served.gdb(
        "gdb",
        &[
            "thread find lock-holder",
            "info threads",
            "monitor waits",
            "monitor stack",
            "monitor nonsense",
            "kill",
        ],
    )?;
    ensure!(said.contains("has extra info '") && said.contains("lock-holder [D]'"), "{said}");
    // Where all that sleep were left is code of the scheduler, by the guest's own list of symbols.
    let kallsyms = guest.image().text("kallsyms")?;
    let (mut schedule, mut next) = (0, u64::MAX);
    let addresses = |it: &str| u64::from_str_radix(it.split_whitespace().next()?, 16).ok();
    for line in kallsyms.lines().filter(|it| it.split_whitespace().nth(2) == Some("__schedule")) {
        schedule = addresses(line).unwrap_or(0);
    }
    for at in kallsyms.lines().filter_map(addresses).filter(|it| *it > schedule) {
        next = next.min(at);
    }
    let asleep: Vec<&str> =
        said.lines().filter(|it| it.contains(" [S]) ") || it.contains(" [D]) ")).collect();
    ensure!(asleep.len() > 10, "{said}");
    for line in asleep {
        let at = line.split_whitespace().find_map(|it| u64::from_str_radix(it.strip_prefix("0x")?, 16).ok());
        let at = at.with_context(|| line.to_owned())?;
        ensure!((schedule..next).contains(&at), "{line}: not in __schedule, {schedule:#x} to {next:#x}");
    }
    ensure!(said.contains("waits for page-io") && said.contains("held by"), "{said}");
    ensure!(said.contains("io_schedule+"), "{said}");
    ensure!(said.contains("There is no such command"), "{said}");
    Ok(())
}

#[test]
fn an_arm_guest_is_seen_by_the_gdb_for_many_machines() -> Result<()> {
    let guest = Pictured::of("arm64-6.12")?;
    let Registers::Aarch64(cpu) = &guest.cpus()[0].registers else { anyhow::bail!("not arm64") };
    let said = Served::of(&guest, &["--tasks"])?
        .gdb("gdb-multiarch", &["info registers", "x/i $pc", "info threads", "monitor dmesg", "detach"])?;
    for (name, value) in [("x29", cpu.x[29]), ("x0", cpu.x[0]), ("sp", cpu.sp), ("pc", cpu.pc)] {
        ensure!(register(&said, name) == Some(format!("{value:#x}")), "{name} is not {value:#x}: {said}");
    }
    ensure!(said.contains("kthreadd [S]") && said.contains("Linux version 6.12"), "{said}");
    ensure!(!said.contains("Remote communication error"), "{said}");
    Ok(())
}

#[test]
fn the_socket_is_its_owners_alone_and_an_interrupt_takes_it_away() -> Result<()> {
    let guest = Pictured::of("amd64-6.1")?;
    let mut served = Served::of(&guest, &[])?;
    ensure!(served.address()? == served.socket().to_str().unwrap_or_default());
    let mode = fs::metadata(served.socket())?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "{mode:o}");
    kill(Pid::from_raw(served.server.id().cast_signed()), Signal::SIGINT)?;
    let status = served.server.wait()?;
    ensure!(status.code() == Some(0) && !served.socket().exists(), "{status}: {}", served.errors()?);
    Ok(())
}

/// Whoever speaks nonsense is sent away, and gdb is served all the same.
#[test]
fn a_peer_that_is_no_gdb_harms_nobody() -> Result<()> {
    let guest = Pictured::of("amd64-6.1")?;
    let served = Served::of(&guest, &["--port", "0"])?;
    let address = served.address()?.to_owned();
    ensure!(address.starts_with("127.0.0.1:"), "{address}");
    let endless = [b"$".as_slice(), &[b'a'; 100_000]].concat();
    let nonsense: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.0\r\n\r\n",
        &endless,
        b"$mfffffffffffffff0,ffffffffffffffff#00",
        b"$qXfer:features:read:../../etc/passwd:0,ffffffff#00$qXfer:features:read:target.xml:ffffffffffffffff,ffffffffffffffff#00",
        b"$#00$vCont;c:p-1.-1#00$Hgp0.ffffffffffffffffff#00$T0#00$H#00$X0,ffffffffffffffff:#00",
    ];
    for it in nonsense {
        let mut peer = std::net::TcpStream::connect(&address)?;
        // It may be cut off in the middle.
        let _ = peer.write_all(it);
        let _ = peer.shutdown(std::net::Shutdown::Write);
        let _ = peer.read_to_end(&mut Vec::new());
    }
    let said = served.gdb("gdb", &["info threads", "detach"])?;
    ensure!(said.contains("vCPU 1"), "{said}");
    Ok(())
}

#[test]
fn a_fresh_folder_is_made_for_the_socket_and_taken_away() -> Result<()> {
    let guest = Pictured::of("amd64-6.1")?;
    let served = Served::of(&guest, &["--port", "0"])?;
    let core = served.folder.path().join("minicore.zst");
    let runtime = tempfile::tempdir()?;
    let mut server = Command::new(vmward()?)
        .arg("gdb")
        .arg(&core)
        .env("XDG_RUNTIME_DIR", runtime.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(server.stdout.take().context("no stdout")?).lines();
    let lines: Vec<String> = lines.take(4).collect::<Result<_, _>>()?;
    let command = lines.get(1).context("no command to paste")?;
    let address = command.split('\'').nth(1).and_then(|it| it.strip_prefix("target remote "));
    let address = Path::new(address.with_context(|| command.clone())?);
    let folder = address.parent().context("no folder")?;
    ensure!(folder.parent() == Some(runtime.path()) && command.starts_with("gdb -ex "), "{lines:?}");
    ensure!(fs::metadata(folder)?.permissions().mode() & 0o777 == 0o700);
    // The guest says itself how far its kernel was moved: `_text` is linked to ffffffff81000000.
    let kallsyms = guest.image().text("kallsyms")?;
    let moved = kallsyms.lines().find(|it| it.ends_with(" _text")).context("no _text")?;
    let moved = u64::from_str_radix(moved.split_whitespace().next().unwrap_or_default(), 16)?;
    let offset = format!("symbol-file -o {:#x} vmlinux", moved - 0xffff_ffff_8100_0000);
    ensure!(lines.get(3).is_some_and(|it| it.contains(&offset)), "{offset}: {lines:?}");
    run_gdb("gdb", &address.display().to_string(), &["detach"])?;
    ensure!(server.wait()?.code() == Some(0) && !folder.exists());
    Ok(())
}
