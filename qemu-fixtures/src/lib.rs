//! Builds real guests, starts QEMU and injects faults, for tests and the demo.
