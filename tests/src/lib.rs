//! End-to-end tests against real guests.
