//! Who owes whom between the guest's drivers and its host.

use vmward_kernel_facts::{BorderDevice, BorderQueue, Debtor};

use crate::Case;

/// Where evidence of the border comes from.
pub(crate) const SOURCE: &str = "border";

/// The gravest queue of the device that serves a disk of this name; `None` where the border was not seen.
pub(crate) fn of_disk<'a>(case: &'a Case, disk: &str) -> Option<(&'a BorderDevice, &'a BorderQueue)> {
    let border = case.kernel.border.as_ref()?;
    let device = border.devices.iter().find(|it| it.serves.iter().any(|name| name == disk))?;
    let queue = device.queues.iter().max_by_key(|it| it.who_owes.gravity())?;
    Some((device, queue))
}

/// A debtor as the subject of "has to act".
pub(crate) fn words(debtor: &Debtor) -> Option<&'static str> {
    match debtor {
        Debtor::Nobody | Debtor::Moving | Debtor::Unknown { .. } => None,
        Debtor::Guest => Some("the guest's own driver"),
        Debtor::LostKick => Some("QEMU, which was never told of the requests (a lost kick),"),
        Debtor::Qemu => Some("QEMU"),
        Debtor::HostStorage => Some("the storage of the host"),
        Debtor::LostInterrupt => Some("the guest, which was never told of the answers (a lost interrupt),"),
    }
}
