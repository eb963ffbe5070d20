//! Filled with the hostile archives.
