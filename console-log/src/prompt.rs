//! Prompts, and which of them nobody but a person may answer.

use serde::{Deserialize, Serialize};

/// What waits for input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptKind {
    /// Firmware: its set-up, its menu, an EFI or iPXE shell.
    Firmware,
    /// A boot loader: a menu that counts down, or its command line.
    Bootloader,
    /// `login:`.
    Login,
    /// A password.
    Password,
    /// The passphrase of an encrypted disk.
    DiskPassphrase,
    /// A file system check that asks.
    Fsck,
    /// systemd's or sulogin's maintenance prompt.
    Maintenance,
    /// The shell of an initramfs, given when the root file system was not found.
    InitramfsShell,
}

impl PromptKind {
    /// Whether anything typed here may do harm: start another system, spend a log-in attempt, repair or
    /// destroy a file system. All but a shell's.
    pub fn must_not_be_answered(self) -> bool {
        self != Self::InitramfsShell
    }
}

/// What waits at the end of a text whose last line is `line` (unfinished or finished, no prefix).
///
/// Errs on the side of a prompt: a false one costs a keystroke not typed, a missed one may cost a disk.
pub fn prompt_kind(line: &str) -> Option<PromptKind> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let lower = line.to_ascii_lowercase();
    RULES.iter().find(|it| it.0.matches(&lower)).map(|it| it.1)
}

enum Shape {
    /// The line is exactly this.
    Is(&'static str),
    /// The line is this, or it and what was typed after it.
    Starts(&'static str),
    Ends(&'static str),
    Contains(&'static str),
}

impl Shape {
    fn matches(&self, lower: &str) -> bool {
        match self {
            Self::Is(it) => lower == *it,
            Self::Starts(it) => lower.starts_with(it),
            Self::Ends(it) => lower.ends_with(it),
            Self::Contains(it) => lower.contains(it),
        }
    }
}

use PromptKind::*;
use Shape::*;

/// In lower case; the first that matches counts.
const RULES: &[(Shape, PromptKind)] = &[
    (Contains("enter passphrase for"), DiskPassphrase),
    (Contains("please unlock disk"), DiskPassphrase),
    (Contains("please enter passphrase"), DiskPassphrase),
    (Contains("luks passphrase"), DiskPassphrase),
    (Contains("passphrase for disk"), DiskPassphrase),
    (Ends("passphrase:"), DiskPassphrase),
    (Contains("give root password for maintenance"), Maintenance),
    (Contains("press enter for maintenance"), Maintenance),
    (Contains("enter root password for"), Maintenance),
    (Contains("or press control-d to continue"), Maintenance),
    (Ends("password:"), Password),
    (Contains("password for "), Password),
    (Ends("passcode:"), Password),
    (Ends("login:"), Login),
    (Contains(" login: "), Login),
    (Starts("login: "), Login),
    (Ends("username:"), Login),
    (Contains("<y>?"), Fsck),
    (Contains("(y/n)?"), Fsck),
    (Ends("(y/n)"), Fsck),
    (Ends("[y/n]"), Fsck),
    (Ends("[y/n]:"), Fsck),
    (Contains("('a' enables 'yes' to all)"), Fsck),
    (Contains("run fsck manually"), Fsck),
    (Starts("grub>"), Bootloader),
    (Starts("grub rescue>"), Bootloader),
    (Contains("gnu grub"), Bootloader),
    (Contains("highlighted entry will be executed"), Bootloader),
    (Contains("press enter to boot the selected os"), Bootloader),
    (Contains("use the ▲ and ▼ keys"), Bootloader),
    (Contains("to stop autoboot"), Bootloader),
    (Contains("autoboot in "), Bootloader),
    (Starts("u-boot>"), Bootloader),
    (Is("u-boot #"), Bootloader),
    (Is("=>"), Bootloader),
    (Starts("boot:"), Bootloader),
    (Starts("lilo"), Bootloader),
    (Contains("automatic boot in"), Bootloader),
    (Contains("boot automatically in"), Bootloader),
    (Contains("press any key to continue"), Bootloader),
    (Starts("shell>"), Firmware),
    (Contains("uefi interactive shell"), Firmware),
    (Contains("to skip startup.nsh"), Firmware),
    (Starts("ipxe>"), Firmware),
    (Contains("press ctrl-b"), Firmware),
    (Contains("press esc for boot menu"), Firmware),
    (Contains("press esc for"), Firmware),
    (Contains("press f2"), Firmware),
    (Contains("press f12"), Firmware),
    (Contains("no bootable device"), Firmware),
    (Contains("select boot device"), Firmware),
    (Contains("boot from hard disk"), Firmware),
    (Contains("bdsdxe:"), Firmware),
    (Starts("seabios"), Firmware),
    (Starts("(initramfs)"), InitramfsShell),
    (Starts("dracut:"), InitramfsShell),
    (Starts("emergency:"), InitramfsShell),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_that_must_not_be_answered_are_known() {
        for (line, kind) in [
            ("debian login: ", Login),
            ("debian login: root", Login),
            ("Password: ", Password),
            ("[sudo] password for admin: ", Password),
            ("Please enter passphrase for disk vda2 (luks): ", DiskPassphrase),
            ("Please unlock disk sda3_crypt: ", DiskPassphrase),
            ("Press Enter for maintenance", Maintenance),
            ("(or press Control-D to continue): ", Maintenance),
            ("Clear<y>? ", Fsck),
            ("Inode 12 has imagic flag set.  Clear ('a' enables 'yes' to all) <y>? ", Fsck),
            ("grub> ", Bootloader),
            ("grub rescue> set", Bootloader),
            ("Hit any key to stop autoboot:  2", Bootloader),
            ("   The highlighted entry will be executed automatically in 3s.", Bootloader),
            ("=> ", Bootloader),
            ("Shell> ", Firmware),
            ("SeaBIOS (version 1.16.2-debian-1.16.2-1)", Firmware),
        ] {
            assert_eq!(prompt_kind(line), Some(kind), "{line}");
            assert!(kind.must_not_be_answered());
        }
    }

    #[test]
    fn shells_and_output_are_left_to_the_scenario() {
        assert_eq!(prompt_kind("(initramfs) "), Some(InitramfsShell));
        for line in [
            "~ # ",
            "root@debian:~# ",
            "$ ",
            "tick 12",
            "",
            "Booting from Hard Disk...",
            " 02:08:17 up 1 min",
        ] {
            assert_eq!(prompt_kind(line), None, "{line}");
        }
    }
}
