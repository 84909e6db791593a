//! Renders an incident for the terminal and as a stand-alone page.
