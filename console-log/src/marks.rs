//! Steps of a boot and of a shutdown.

use serde::{Deserialize, Serialize};

use crate::prefix::{Line, Source};
use crate::prompt::PromptKind;

/// A step of the boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMark {
    /// Firmware speaks: the machine was reset.
    Firmware,
    /// A boot loader speaks.
    Bootloader,
    /// The kernel's first line.
    Kernel {
        /// Its release, as in `uname -r`. Guest text.
        release: String,
    },
    /// The kernel starts the first program.
    Init,
    /// Somebody may log in.
    Login,
}

/// A step of a shutdown or restart that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownMark {
    /// User space stops.
    Stopping,
    /// The kernel restarts the machine.
    Restart,
    /// The kernel turns the machine off.
    PowerOff,
    /// The kernel halts: the machine stays on and does nothing.
    Halt,
    /// Another kernel is started by kexec.
    Kexec,
    /// After a panic the kernel will restart (`panic=N`).
    RestartAfterPanic,
}

/// Where a guest is between reset and power-off, as far as its console told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing told yet.
    #[default]
    Unknown,
    /// Firmware.
    Firmware,
    /// Boot loader.
    Bootloader,
    /// Kernel, before its first program.
    Kernel,
    /// Programs run.
    Userspace,
    /// Shutting down or restarting.
    GoingDown,
}

/// Reads a boot step. `prompt` is the prompt that the line is, if it is one.
pub(crate) fn boot_mark(line: &Line<'_>, prompt: Option<PromptKind>) -> Option<BootMark> {
    let text = line.text;
    if let Some(rest) = text.strip_prefix("Linux version ") {
        // The banner has the compiler in brackets; an application that talks of Linux has not.
        let (release, rest) = rest.split_once(' ')?;
        return rest.starts_with('(').then(|| BootMark::Kernel { release: release.to_owned() });
    }
    if line.source == Source::Kernel {
        // "Run /init as init process" since v4.17.
        return (text.starts_with("Run ") && text.ends_with(" as init process")).then_some(BootMark::Init);
    }
    if line.source == Source::Program {
        return None;
    }
    // Only banners change the phase: applications print words of menus.
    const FIRMWARE: &[&str] =
        &["SeaBIOS (version ", "UEFI firmware (version ", "BdsDxe: ", "iPXE ", "UEFI Interactive Shell"];
    const BOOTLOADER: &[&str] =
        &["GNU GRUB  version ", "GRUB loading", "Welcome to GRUB!", "U-Boot ", "SYSLINUX ", "ISOLINUX "];
    let starts = |banners: &[&str]| banners.iter().any(|it| text.trim_start().starts_with(it));
    if starts(FIRMWARE) {
        Some(BootMark::Firmware)
    } else if starts(BOOTLOADER) || text.contains("Hit any key to stop autoboot") {
        Some(BootMark::Bootloader)
    } else {
        (prompt == Some(PromptKind::Login)).then_some(BootMark::Login)
    }
}

/// Reads a shutdown step. Kernel lines: `kernel/reboot.c` (the `reboot: ` prefix since v3.11).
pub(crate) fn shutdown_mark(line: &Line<'_>) -> Option<ShutdownMark> {
    const KERNEL: &[(&str, ShutdownMark)] = &[
        ("reboot: Restarting system", ShutdownMark::Restart),
        ("reboot: machine restart", ShutdownMark::Restart),
        ("reboot: Power down", ShutdownMark::PowerOff),
        ("reboot: Power off not available", ShutdownMark::Halt),
        ("reboot: System halted", ShutdownMark::Halt),
        ("Restarting system.", ShutdownMark::Restart),
        ("Power down.", ShutdownMark::PowerOff),
        ("System halted.", ShutdownMark::Halt),
        ("sysrq: Resetting", ShutdownMark::Restart),
        ("sysrq: Power Off", ShutdownMark::PowerOff),
        ("kexec_core: Starting new kernel", ShutdownMark::Kexec),
        ("kexec: Starting new kernel", ShutdownMark::Kexec),
        ("Rebooting in ", ShutdownMark::RestartAfterPanic),
        ("systemd-shutdown[1]: ", ShutdownMark::Stopping),
        ("systemd[1]: Shutting down.", ShutdownMark::Stopping),
    ];
    const USER: &[(&str, ShutdownMark)] = &[
        ("The system is going down", ShutdownMark::Stopping),
        ("Requesting system reboot", ShutdownMark::Stopping),
        ("Requesting system poweroff", ShutdownMark::Stopping),
        ("Requesting system halt", ShutdownMark::Stopping),
        ("The system will ", ShutdownMark::Stopping),
    ];
    let text = line.text;
    let find = |rules: &[(&str, ShutdownMark)]| rules.iter().find(|it| text.starts_with(it.0)).map(|it| it.1);
    if line.source == Source::Program {
        return None;
    }
    if let Some(mark) = find(KERNEL) {
        return Some(mark);
    }
    if line.source == Source::Kernel {
        return None;
    }
    let is_target = text.contains("Reached target")
        && ["Shutdown", "Power-Off", "Reboot", "Poweroff", "Halt"].iter().any(|it| text.contains(it));
    find(USER).or(is_target.then_some(ShutdownMark::Stopping))
}

impl Phase {
    /// The phase after a boot step.
    pub(crate) fn after_boot(mark: &BootMark) -> Self {
        match mark {
            BootMark::Firmware => Self::Firmware,
            BootMark::Bootloader => Self::Bootloader,
            BootMark::Kernel { .. } => Self::Kernel,
            BootMark::Init | BootMark::Login => Self::Userspace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line<'_> {
        Line::parse(text, 0..text.len() as u64)
    }

    fn mark_of(text: &str) -> Option<BootMark> {
        boot_mark(&line(text), crate::prompt::prompt_kind(text))
    }

    #[test]
    fn boot_steps_are_seen() {
        let kernel = mark_of(
            "[    0.000000] Linux version 6.1.0-50-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12",
        );
        assert_eq!(kernel, Some(BootMark::Kernel { release: "6.1.0-50-cloud-amd64".into() }));
        assert_eq!(mark_of("Linux version 6.1 is nice"), None);
        assert_eq!(mark_of("[    2.487] x"), None);
        assert_eq!(mark_of("[    2.487777] Run /init as init process"), Some(BootMark::Init));
        assert_eq!(mark_of("SeaBIOS (version 1.16.2)"), Some(BootMark::Firmware));
        assert_eq!(mark_of("debian login: "), Some(BootMark::Login));
    }

    #[test]
    fn shutdown_steps_are_seen() {
        assert_eq!(shutdown_mark(&line("[   20.1] x")), None);
        assert_eq!(
            shutdown_mark(&line("[   20.100000] reboot: Restarting system")),
            Some(ShutdownMark::Restart)
        );
        assert_eq!(shutdown_mark(&line("[   20.100000] reboot: Power down")), Some(ShutdownMark::PowerOff));
        assert_eq!(shutdown_mark(&line("[  OK  ] Reached target Shutdown.")), Some(ShutdownMark::Stopping));
        assert_eq!(
            shutdown_mark(&line("[   1.000000] Rebooting in 5 seconds..")),
            Some(ShutdownMark::RestartAfterPanic)
        );
        assert_eq!(shutdown_mark(&line("Nov 21 02:08:17 vm app: reboot: Power down")), None);
    }
}
