//! Where users' files live, as a node is told.

use fleet_proto::v1;
use plan::{BucketHome, FilesHome, NodeGoal};

/// The place in a goal; none for a target from before it was said.
pub fn home(goal: &NodeGoal) -> Option<&FilesHome> {
    match goal {
        NodeGoal::Serve { files, .. }
        | NodeGoal::Prepare { files, .. }
        | NodeGoal::Move { files, .. } => files.as_ref(),
        NodeGoal::Drain => None,
    }
}

/// For the node's own probe of the bucket.
pub fn message(goal: &NodeGoal) -> Option<v1::FileStore> {
    match home(goal)? {
        FilesHome::Local => None,
        FilesHome::S3(home) => Some(store(home)),
    }
}

fn store(home: &BucketHome) -> v1::FileStore {
    v1::FileStore {
        bucket: home.bucket.clone(),
        region: home.region.clone(),
        prefix: home.prefix.clone(),
        endpoint: home.endpoint.clone().unwrap_or_default(),
        owner: home.owner.clone().unwrap_or_default(),
        own_keys: home.own_keys,
    }
}

/// What a node is to bring to where it lasts. It is in no digest: no server restarts for it.
pub fn order(goal: &NodeGoal) -> Option<v1::Move> {
    let order = match goal {
        NodeGoal::Serve { copy, .. } => copy.as_ref()?,
        NodeGoal::Move { order, .. } => order,
        NodeGoal::Prepare { .. } | NodeGoal::Drain => return None,
    };
    Some(v1::Move {
        to: order.files.as_ref().map(store),
        configuration: order.configuration,
        alone: order.alone,
    })
}

/// Whether a node of this goal signs with its role alone.
pub fn is_for_the_role(goal: &NodeGoal) -> bool {
    matches!(home(goal), Some(FilesHome::S3(home)) if !home.own_keys)
}

/// Whether a node of this goal signs with keys of the specification.
pub fn has_own_keys(goal: &NodeGoal) -> bool {
    matches!(home(goal), Some(FilesHome::S3(home)) if home.own_keys)
}

/// What of it is in the digest besides the settings: a change of it restarts the server.
pub fn digested(goal: &NodeGoal) -> Option<String> {
    let FilesHome::S3(home) = home(goal)? else {
        return None;
    };
    Some(format!(
        "{} {} {} {} {} {}",
        home.bucket,
        home.region,
        home.prefix,
        home.endpoint.as_deref().unwrap_or("-"),
        home.owner.as_deref().unwrap_or("-"),
        home.own_keys
    ))
}
