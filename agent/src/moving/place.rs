//! One file's way into the bucket.

use std::path::PathBuf;

use super::error::{LARGEST, MoveError};
use super::ledger::Line;
use super::read::{Item, Local};
use super::{Bucket, Object, Pass};

/// What became of one item.
#[derive(Debug)]
pub(super) enum Placed {
    /// It is in the bucket, with the size and SHA-256 that the bucket told.
    There {
        file: Local,
        seen: (u64, [u8; 32]),
        sent: bool,
    },
    /// Another node's copy is newer; it stays.
    Superseded,
    /// It vanished here, and there.
    Removed,
    /// It vanished here; what is there is left to whoever it is of.
    Nothing,
    /// It vanished here and stays there, remembered: another node may have it.
    Kept(Line),
    /// It changed under our hands; an earlier state of it may be in the bucket.
    Moving(PathBuf, Option<Line>),
}

/// Looks, puts where that is due, and looks again.
pub(super) async fn place(
    pass: Pass<'_>,
    bucket: &dyn Bucket,
    item: Result<Item, MoveError>,
) -> Result<Placed, MoveError> {
    match item? {
        Item::Moving(path, before) => Ok(Placed::Moving(path, before)),
        Item::Vanished(line) => remove(pass, bucket, line).await,
        Item::File(file) => put(bucket, file).await,
    }
}

async fn put(bucket: &dyn Bucket, file: Local) -> Result<Placed, MoveError> {
    if let Some(object) = bucket.look(&file.key).await? {
        if let Some(seen) = same(bucket, &file, &object).await? {
            let sent = false;
            return Ok(Placed::There { file, seen, sent });
        }
        match object.modified_ms {
            None if file.before.is_none() => return Err(MoveError::Occupied(file.key)),
            Some(theirs) if file.before.is_none() && theirs > file.stamp.modified_ms() => {
                return Ok(Placed::Superseded);
            }
            _ => {}
        }
    }
    if file.stamp.size > LARGEST {
        return Err(MoveError::TooLarge {
            path: file.path,
            size: file.stamp.size,
            key: file.key,
        });
    }
    if bucket.put(&file).await?.is_none() {
        return Ok(Placed::Moving(file.path, file.before));
    }
    let seen = match bucket.look(&file.key).await? {
        Some(object) => same(bucket, &file, &object).await?,
        None => None,
    };
    match seen {
        Some(seen) => Ok(Placed::There {
            file,
            seen,
            sent: true,
        }),
        None => Err(MoveError::Different(file.key)),
    }
}

/// Size and SHA-256 as the bucket tells them, when they are the file's. A store that keeps no SHA-256 is
/// read.
async fn same(
    bucket: &dyn Bucket,
    file: &Local,
    object: &Object,
) -> Result<Option<(u64, [u8; 32])>, MoveError> {
    if object.size != file.stamp.size {
        return Ok(None);
    }
    let sha256 = match object.sha256 {
        Some(known) => known,
        None => bucket.digest(&file.key).await?,
    };
    Ok((sha256 == file.sha256).then_some((object.size, sha256)))
}

/// Only what the ledger says that this node put there, as it put it.
async fn remove(pass: Pass<'_>, bucket: &dyn Bucket, line: Line) -> Result<Placed, MoveError> {
    if !pass.alone {
        return Ok(Placed::Kept(line));
    }
    let ours = bucket.look(&line.key).await?.is_some_and(|object| {
        object.modified_ms.is_some()
            && object.size == line.stamp.size
            && object.sha256.is_none_or(|seen| Some(seen) == line.sha256())
    });
    if !ours {
        return Ok(Placed::Nothing);
    }
    bucket.delete(&line.key).await?;
    Ok(Placed::Removed)
}
