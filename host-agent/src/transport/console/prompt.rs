//! What the last line of a console asks for. Decides what is never answered.
//!
//! A small table of our own: the words of firmware, bootloaders, getty, cryptsetup and emergency shells
//! as their programs print them. A line is matched at its end (prompts wait there), lower-cased.

/// A prompt that is never typed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// Firmware setup, boot menu or shell (SeaBIOS, EDK2, U-Boot's autoboot).
    Firmware,
    /// GRUB, systemd-boot, U-Boot, LILO.
    Bootloader,
    /// A login name is asked for.
    Login,
    /// A password is asked for.
    Password,
    /// A disk's passphrase is asked for.
    Luks,
    /// A file system check or an emergency shell asks what to do.
    Fsck,
}

impl std::fmt::Display for Forbidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Firmware => "firmware",
            Self::Bootloader => "bootloader",
            Self::Login => "login",
            Self::Password => "password",
            Self::Luks => "disk passphrase",
            Self::Fsck => "file system check or emergency",
        })
    }
}

/// Words anywhere in the last line.
const ANYWHERE: &[(&str, Forbidden)] = &[
    ("please unlock disk", Forbidden::Luks),
    ("enter passphrase for", Forbidden::Luks),
    ("enter lvm passphrase", Forbidden::Luks),
    ("give root password for maintenance", Forbidden::Fsck),
    ("press enter for maintenance", Forbidden::Fsck),
    ("press enter for emergency shell", Forbidden::Fsck),
    ("press any key to stop autoboot", Forbidden::Bootloader),
    ("hit any key to stop autoboot", Forbidden::Bootloader),
    ("press any key to enter the menu", Forbidden::Bootloader),
    ("to edit the commands before booting", Forbidden::Bootloader),
    ("highlighted entry will be executed", Forbidden::Bootloader),
    ("press esc for boot menu", Forbidden::Firmware),
    ("press f2 to enter setup", Forbidden::Firmware),
    ("press any key to enter setup", Forbidden::Firmware),
    ("press esc in", Forbidden::Firmware),
    ("no bootable device", Forbidden::Firmware),
    ("booting from hard disk", Forbidden::Firmware),
    ("booting from rom", Forbidden::Firmware),
    ("fsck", Forbidden::Fsck),
    ("<y>?", Forbidden::Fsck),
    ("clear<y>", Forbidden::Fsck),
];

/// Ends of the last line, with trailing blanks off.
const AT_END: &[(&str, Forbidden)] = &[
    ("login:", Forbidden::Login),
    ("username:", Forbidden::Login),
    ("password:", Forbidden::Password),
    ("password for root:", Forbidden::Password),
    ("passphrase:", Forbidden::Luks),
    ("pin:", Forbidden::Password),
    ("verification code:", Forbidden::Password),
    ("grub>", Forbidden::Bootloader),
    ("grub rescue>", Forbidden::Bootloader),
    ("boot:", Forbidden::Bootloader),
    ("shell>", Forbidden::Firmware),
    ("uefi interactive shell", Forbidden::Firmware),
    ("(initramfs)", Forbidden::Fsck),
    ("(y/n)", Forbidden::Fsck),
    ("(y/n)?", Forbidden::Fsck),
    ("yes/no?", Forbidden::Fsck),
];

/// What the given last line forbids, if anything.
#[must_use]
pub fn forbidden(line: &str) -> Option<Forbidden> {
    let line = line.trim_end().to_lowercase();
    // U-Boot's prompt is `=> ` alone.
    if line == "=>" || line == ">" {
        return Some(Forbidden::Bootloader);
    }
    let end = AT_END.iter().find(|(word, _)| line.ends_with(word));
    let anywhere = || ANYWHERE.iter().find(|(word, _)| line.contains(word));
    // "Password for root:" and "PIN for X:" put the name between.
    let asks = |word: &str| line.contains(word) && line.ends_with(':');
    end.or_else(anywhere)
        .map(|(_, kind)| *kind)
        .or_else(|| asks("passphrase").then_some(Forbidden::Luks))
        .or_else(|| asks("password").then_some(Forbidden::Password))
}

/// A prompt that a scenario declares: the text that its line ends with, such as `# `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredPrompt(String);

impl DeclaredPrompt {
    /// Takes the end of the prompt; trailing blanks do not matter. `None` when nothing else is left.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let bare = text.trim_end();
        (!bare.is_empty()).then(|| Self(bare.to_owned()))
    }

    /// True when `line` (see [`super::text::last_line`]) is this prompt with nothing typed after it.
    #[must_use]
    pub fn waits_at(&self, line: &str) -> bool {
        line.trim_end().ends_with(&self.0)
    }

    /// As [`Self::waits_at`], or the line begins with the prompt and a blank: another program's line was
    /// written behind it.
    #[must_use]
    pub fn starts_or_ends(&self, line: &str) -> bool {
        let behind = line.strip_prefix(&self.0);
        self.waits_at(line) || behind.is_some_and(|rest| rest.starts_with(' '))
    }

    /// The declared text, without trailing blanks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_of_real_programs_are_forbidden() {
        for (line, kind) in [
            ("debian login: ", Forbidden::Login),
            ("Password: ", Forbidden::Password),
            ("[sudo] password for ann: ", Forbidden::Password),
            ("Please unlock disk sda5_crypt: ", Forbidden::Luks),
            ("Enter passphrase for /dev/vda3: ", Forbidden::Luks),
            ("grub> ", Forbidden::Bootloader),
            ("=> ", Forbidden::Bootloader),
            ("Hit any key to stop autoboot:  3 ", Forbidden::Bootloader),
            ("Shell> ", Forbidden::Firmware),
            ("Booting from Hard Disk...", Forbidden::Firmware),
            ("Fix<y>? ", Forbidden::Fsck),
            ("Give root password for maintenance", Forbidden::Fsck),
            ("(initramfs) ", Forbidden::Fsck),
        ] {
            assert_eq!(forbidden(line), Some(kind), "{line}");
        }
    }

    #[test]
    fn a_shell_is_not_forbidden_and_a_declared_prompt_is_matched_at_its_end() {
        let prompt = DeclaredPrompt::new("# ").unwrap();
        for line in ["root@vm:~#", "/ # ", "#"] {
            assert_eq!(forbidden(line), None, "{line}");
            assert!(prompt.waits_at(line), "{line}");
        }
        assert!(!prompt.waits_at("root@vm:~# rm -rf"));
        assert_eq!(DeclaredPrompt::new("  "), None);
    }
}
