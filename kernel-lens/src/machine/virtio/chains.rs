//! Chains that the driver has offered and not taken back, and the requests that they carry.
//!
//! The driver notes a token for each head (`vring_desc_state_split.data`), which is null while the head is
//! free. virtio_blk's token is its part of a request, which follows the request (`blk_mq_rq_to_pdu()`);
//! virtio_scsi's leads to the command, whose request is before it, and was a member of
//! it before.

use std::collections::{HashMap, HashSet};

use vmward_kernel_facts::machine::{VirtioChain, VirtioQueue};

use super::super::object::Object;
use super::ring::{Layout, Ring};
use crate::{Kernel, ReadError};

/// Descriptors of a ring whose notes are read.
const MAX_NOTES: u32 = 4096;
/// Chains that are told of a queue.
const MAX_CHAINS: usize = 64;
/// Bytes of a SCSI command that are shown.
const MAX_COMMAND: u64 = 16;

/// Fills in the chains; of a packed ring, how many are out as well.
pub(super) fn read(
    kernel: &Kernel<'_>,
    ring: &Ring,
    driver: Option<&str>,
    requests: &HashSet<u64>,
    queue: &mut VirtioQueue,
) -> Result<(), ReadError> {
    let nothing_out = ring.layout == Layout::Split && queue.outstanding == 0;
    if nothing_out || ring.size > MAX_NOTES || !(8..=256).contains(&ring.note_size) {
        return Ok(());
    }
    let tokens = tokens(kernel, ring)?;
    if ring.layout == Layout::Packed {
        queue.outstanding = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    }
    let offered = match ring.layout {
        Layout::Split => offered(kernel, ring, queue, &tokens)?,
        Layout::Packed => HashMap::new(),
    };
    let mut chains: Vec<VirtioChain> = tokens
        .into_iter()
        .map(|(head, token)| VirtioChain {
            head,
            offered: offered.get(&head).copied(),
            token,
            ..VirtioChain::default()
        })
        .collect();
    // What the ring does not hold any more was offered before what it holds.
    let next = queue.avail_idx as u16;
    chains
        .sort_by_key(|it| std::cmp::Reverse(it.offered.map_or(u16::MAX, |at| next.wrapping_sub(at as u16))));
    chains.truncate(MAX_CHAINS);
    for chain in &mut chains {
        match driver {
            Some("virtio_blk") => {
                let size = kernel.types.size("request").unwrap_or(0);
                chain.request = Some(chain.token.wrapping_sub(size)).filter(|it| requests.contains(it));
            }
            Some("virtio_scsi") => scsi(kernel, chain, requests),
            _ => {}
        }
    }
    queue.chains = chains;
    Ok(())
}

/// Heads that are out, with their tokens.
fn tokens(kernel: &Kernel<'_>, ring: &Ring) -> Result<Vec<(u32, u64)>, ReadError> {
    let size = usize::try_from(ring.note_size).unwrap_or(usize::MAX);
    let bytes = kernel.space.bytes(ring.notes, size.saturating_mul(ring.size as usize))?;
    let token = |note: &[u8]| note.first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
    Ok((0..).zip(bytes.chunks_exact(size).map(token)).filter(|(_, token)| *token != 0).collect())
}

/// Under which index each head was offered last, as far back as the ring reaches.
fn offered(
    kernel: &Kernel<'_>,
    ring: &Ring,
    queue: &VirtioQueue,
    out: &[(u32, u64)],
) -> Result<HashMap<u32, u32>, ReadError> {
    let bytes = kernel.space.bytes(ring.driver.wrapping_add(4), ring.size as usize * 2)?;
    let heads: Vec<u16> = bytes.chunks_exact(2).map(|it| u16::from_le_bytes([it[0], it[1]])).collect();
    let out: HashSet<u32> = out.iter().map(|it| it.0).collect();
    let mut found = HashMap::new();
    for back in 1..=ring.size as u16 {
        let at = (queue.avail_idx as u16).wrapping_sub(back);
        let slot = usize::from(at) & (ring.size as usize - 1);
        let head = heads.get(slot).map_or(u32::MAX, |it| u32::from(*it));
        if out.contains(&head) {
            found.entry(head).or_insert(u32::from(at));
        }
    }
    Ok(found)
}

/// The command behind a token, if its request is one that the disk is known to owe.
fn scsi(kernel: &Kernel<'_>, chain: &mut VirtioChain, requests: &HashSet<u64>) {
    let read = || -> Result<Option<(u64, String)>, ReadError> {
        // `sc` has been the first member ever since, so that it is found without the module's types.
        let at = kernel.offset("virtio_scsi_cmd", "sc").unwrap_or(0);
        let command = Object::new(kernel, "scsi_cmnd", kernel.space.u64(chain.token.wrapping_add(at))?);
        let request = match command.has("request") {
            true => command.number("request")?,
            false => command.at.wrapping_sub(kernel.types.size("request").unwrap_or(0)),
        };
        if !requests.contains(&request) {
            return Ok(None);
        }
        let pointer = kernel.types.member("scsi_cmnd", "cmnd").is_some_and(|it| it.type_name.ends_with('*'));
        let place = if pointer { command.number("cmnd")? } else { command.address("cmnd")? };
        let len = command.number("cmd_len")?.min(MAX_COMMAND) as usize;
        let bytes = kernel.space.bytes(place, len)?;
        Ok(Some((request, bytes.iter().map(|it| format!("{it:02x}")).collect())))
    };
    if let Ok(Some((request, command))) = read() {
        chain.request = Some(request);
        chain.command = Some(command);
    }
}
