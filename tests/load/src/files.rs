//! Files: uploaded, posted, read back all the time and once more in the end.
//!
//! ```text
//!   uploader ── POST /files, post with file_ids ──> book (id, size, SHA-256, who may read it)
//!   reader ──── GET /files/{id}, any earlier one ──> right, missing, wrong ──┘      │
//!   finish ──── each file once ─────────────────────────────────────────────────────┴─> report
//! ```
//!
//! Only digests are kept. What a file holds follows from its number, so no content is stored here either.

mod book;
mod content;
mod transfer;

pub(crate) use book::FileBook;
pub(crate) use content::Content;
pub(crate) use transfer::{read, read_back, upload, upload_one};
