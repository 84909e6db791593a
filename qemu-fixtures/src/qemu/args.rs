//! Turns a [`Builder`] into QEMU's command line. Paths are those of one run's folder.

use super::builder::{Arch, Boot, Builder};
use super::devices::{Line, Memory, Source};
use super::{Error, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The name by which the patient opens its control port.
const CONTROL_PORT: &str = "org.vmward.fixture";

impl Builder {
    /// The program that emulates this guest.
    pub(super) fn program(&self) -> &'static str {
        match self.arch {
            Arch::X86_64 => "qemu-system-x86_64",
            Arch::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// The whole argument list for a run in `folder`, whose disk copies are already there.
    pub(super) fn to_args(&self, folder: &Path) -> Result<Vec<OsString>> {
        let mut args = Args::default();
        self.machine(&mut args);
        self.start_up(&mut args);
        args.pair("-display", "none");
        args.word("-nodefaults");
        args.word("-no-user-config");
        // A panic, a watchdog: reported, and the evidence left alone.
        args.pair("-action", "panic=none,watchdog=none");
        for (idx, disk) in self.disks.iter().enumerate() {
            let base = format!("if=none,id={},format=raw", disk.name);
            let place = match &disk.source {
                Source::File(path) => format!("file={}", comma(path)),
                Source::Overlay(path) => format!("snapshot=on,file={}", comma(path)),
                Source::CopyOf(_) => format!("file={}", comma(&disk_copy(folder, &disk.name))),
                Source::NbdCopyOf(_) => nbd_drive(&folder.join("nbd.sock"), &disk.name),
                Source::NbdSocket { socket, export } => nbd_drive(socket, export),
            };
            let mut drive = format!("{base},{place}");
            if let Some(bytes) = disk.throttle.bytes_per_second {
                drive += &format!(",throttling.bps-total={bytes}");
            }
            if let Some(requests) = disk.throttle.requests_per_second {
                drive += &format!(",throttling.iops-total={requests}");
            }
            args.pair("-drive", &drive);
            args.pair("-device", &format!("virtio-blk-pci,drive={},id=disk{idx}", disk.name));
        }
        self.consoles_and_ports(&mut args, folder);
        let fixture = PathBuf::from("fixture.sock");
        for (idx, path) in self.qmp_sockets.iter().chain([&fixture]).enumerate() {
            let path = comma(&folder.join(path));
            args.pair("-chardev", &format!("socket,id=qmp{idx},path={path},server=on,wait=off"));
            args.pair("-mon", &format!("chardev=qmp{idx},mode=control"));
        }
        if self.vmcoreinfo {
            args.pair("-device", "vmcoreinfo");
        }
        if self.pvpanic {
            args.pair("-device", "pvpanic-pci");
        }
        if self.watchdog {
            args.pair("-device", "i6300esb");
        }
        if let Some(cid) = self.vsock {
            args.pair("-device", &format!("vhost-vsock-pci,guest-cid={cid}"));
        }
        if !self.acpi_tables.is_empty() && self.arch != Arch::X86_64 {
            return Err(Error::Setup(
                "qemu-system-aarch64 refuses -acpitable: leave the table out".to_owned(),
            ));
        }
        for table in &self.acpi_tables {
            args.pair("-acpitable", &format!("file={}", comma(table)));
        }
        if self.paused {
            args.word("-S");
        }
        if let Some(uri) = &self.incoming {
            args.pair("-incoming", uri);
        }
        for word in &self.extra {
            args.word(word);
        }
        Ok(args.0)
    }

    fn machine(&self, args: &mut Args) {
        let machine = match self.arch {
            Arch::X86_64 => "q35",
            Arch::Aarch64 => "virt,gic-version=3",
        };
        let mib = self.memory.mib();
        args.pair("-name", &format!("guest={}", self.name.replace(',', ",,")));
        if let Some(uuid) = &self.uuid {
            args.pair("-uuid", uuid);
        }
        match self.memory {
            Memory::Memfd(_) => {
                args.pair("-machine", &format!("{machine},memory-backend=ram0"));
                args.pair(
                    "-object",
                    &format!("memory-backend-memfd,id=ram0,size={mib}M,share=on,reserve=off"),
                );
            }
            Memory::Anonymous(_) => args.pair("-machine", machine),
        }
        args.pair("-m", &mib.to_string());
        args.pair("-accel", "tcg");
        args.pair("-cpu", "max");
        args.pair("-smp", &self.vcpus.to_string());
    }

    fn start_up(&self, args: &mut Args) {
        let Boot::Kernel { kernel, initrd } = &self.boot else {
            return;
        };
        args.path("-kernel", kernel);
        if let Some(initrd) = initrd {
            args.path("-initrd", initrd);
        }
        if !self.cmdline.is_empty() {
            args.pair("-append", &self.cmdline.join(" "));
        }
    }

    fn consoles_and_ports(&self, args: &mut Args, folder: &Path) {
        let mut chardev = match self.console.line {
            Line::Unix => {
                let path = self.console.path.clone();
                let path = path.unwrap_or_else(|| folder.join("console.sock"));
                format!("socket,id=console,path={},server=on,wait=off", comma(&path))
            }
            Line::Tcp => "socket,id=console,host=127.0.0.1,port=0,server=on,wait=off,nodelay=on".to_owned(),
            Line::Pty => "pty,id=console".to_owned(),
        };
        if self.console.mux {
            chardev += ",mux=on";
        }
        if self.console_log {
            chardev += &format!(",logfile={},logappend=on", comma(&folder.join("console.log")));
        }
        args.pair("-chardev", &chardev);
        let ports = self.control || self.console.hvc || !self.serial_ports.is_empty();
        if ports {
            args.pair("-device", "virtio-serial-pci,id=vports,max_ports=8");
        }
        // Port 0 of virtio-serial is kept for a console, so hvc comes first.
        if self.console.hvc {
            args.pair("-device", "virtconsole,bus=vports.0,nr=0,chardev=console");
        } else {
            args.pair("-serial", "chardev:console");
        }
        let control = (CONTROL_PORT.to_owned(), PathBuf::from("control.sock"));
        let control = self.control.then_some(&control);
        for (idx, (name, path)) in control.into_iter().chain(&self.serial_ports).enumerate() {
            let path = comma(&folder.join(path));
            args.pair("-chardev", &format!("socket,id=port{idx},path={path},server=on,wait=off"));
            args.pair(
                "-device",
                &format!("virtserialport,bus=vports.0,nr={},chardev=port{idx},name={name}", idx + 1),
            );
        }
    }
}

/// Where the private copy of disk `name` is kept.
pub(super) fn disk_copy(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.img"))
}

fn nbd_drive(socket: &Path, export: &str) -> String {
    format!("file.driver=nbd,file.server.type=unix,file.server.path={},file.export={export}", comma(socket))
}

/// A path as QEMU's option parser wants it: a comma doubled.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn word(&mut self, word: &str) {
        self.0.push(word.into());
    }

    fn pair(&mut self, option: &str, value: &str) {
        self.0.push(option.into());
        self.0.push(value.into());
    }

    fn path(&mut self, option: &str, value: &Path) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Disk, Serial};
    use super::*;

    fn line(builder: &Builder) -> String {
        let args = builder.to_args(Path::new("/run/x")).unwrap();
        let words: Vec<_> = args.iter().map(|it| it.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn sentences_become_the_options_that_qemu_documents() {
        let builder = Builder::q35("a,b")
            .vcpus(2)
            .memory(Memory::memfd(512))
            .elf("/k")
            .append("console=ttyS0 quiet")
            .disk(Disk::nbd("vda", "/data.img").bytes_per_second(4096))
            .console(Serial::unix_socket().mux())
            .control_port()
            .vmcoreinfo();
        let line = line(&builder);
        for words in [
            "-name guest=a,,b",
            "-object memory-backend-memfd,id=ram0,size=512M,share=on,reserve=off",
            "-smp 2",
            "-kernel /k -append console=ttyS0 quiet",
            "file.server.path=/run/x/nbd.sock,file.export=vda,throttling.bps-total=4096",
            "socket,id=console,path=/run/x/console.sock,server=on,wait=off,mux=on,logfile=/run/x/console.log",
            "name=org.vmward.fixture",
            "-device vmcoreinfo",
            "path=/run/x/fixture.sock",
        ] {
            assert!(line.contains(words), "{words} missing in {line}");
        }
        assert!(!line.contains("initrd"), "{line}");
    }

    #[test]
    fn an_acpi_table_on_arm_is_refused_before_qemu_does() {
        let builder = Builder::virt("arm").acpi_table("/x.aml");
        assert!(builder.to_args(Path::new("/run/x")).is_err());
    }
}
