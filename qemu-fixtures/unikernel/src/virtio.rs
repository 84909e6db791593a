//! Looks for a virtio console on the PCI bus, so that labels can go there too.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::ptr::NonNull;
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{Cam, Command, MmioCam, PciRoot};
use virtio_drivers::transport::pci::{PciTransport, virtio_device_type};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

/// Where SeaBIOS puts the PCI configuration space of a q35.
const ECAM: usize = 0xb000_0000;

/// The console driver, if there is such a device.
pub type Console = VirtIOConsole<OneToOne, PciTransport>;

/// Finds the first virtio console on bus 0.
pub fn console() -> Option<Console> {
    // SAFETY: the window is mapped one to one and nothing else uses it.
    let mut root = PciRoot::new(unsafe { MmioCam::new(ECAM as *mut u8, Cam::Ecam) });
    let device =
        root.enumerate_bus(0).find(|(_, info)| virtio_device_type(info) == Some(DeviceType::Console))?.0;
    root.set_command(device, Command::MEMORY_SPACE | Command::BUS_MASTER);
    let transport = PciTransport::new::<OneToOne, _>(&mut root, device).ok()?;
    VirtIOConsole::new(transport).ok()
}

/// Physical addresses are virtual addresses here.
pub struct OneToOne;

fn pages(n_pages: usize) -> Layout {
    // Queues are a few pages; a wrong size would be a bug of the driver, and the panic says so.
    Layout::from_size_align(n_pages * 4096, 4096).unwrap_or(Layout::new::<[u8; 4096]>())
}

// SAFETY: memory is mapped one to one, cached and coherent with the emulated devices, and the
// allocator hands out each range once.
unsafe impl Hal for OneToOne {
    fn dma_alloc(n_pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the layout is never empty: the driver asks for at least one page.
        let start = unsafe { alloc_zeroed(pages(n_pages)) };
        let Some(start) = NonNull::new(start) else { alloc::alloc::handle_alloc_error(pages(n_pages)) };
        (start.as_ptr() as PhysAddr, start)
    }

    unsafe fn dma_dealloc(_at: PhysAddr, start: NonNull<u8>, n_pages: usize) -> i32 {
        // SAFETY: the driver gives back what `dma_alloc` gave it.
        unsafe { dealloc(start.as_ptr(), pages(n_pages)) };
        0
    }

    unsafe fn mmio_phys_to_virt(at: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::new(at as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as PhysAddr
    }

    unsafe fn unshare(_at: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}
