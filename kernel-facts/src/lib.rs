//! What can be known of a Linux kernel, whoever read it.
