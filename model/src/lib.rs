//! The shared vocabulary of vmward: identities, states, events, verdicts, findings, report manifests.
