//! Where users' files live, as a node is told.

use fleet_proto::v1;
use plan::{FilesHome, NodeGoal};

/// The place in a goal; none for a target from before it was said.
pub fn home(goal: &NodeGoal) -> Option<&FilesHome> {
    match goal {
        NodeGoal::Serve { files, .. } | NodeGoal::Prepare { files, .. } => files.as_ref(),
        NodeGoal::Drain => None,
    }
}

/// For the node's own probe of the bucket.
pub fn message(goal: &NodeGoal) -> Option<v1::FileStore> {
    match home(goal)? {
        FilesHome::Local => None,
        FilesHome::S3(home) => Some(v1::FileStore {
            bucket: home.bucket.clone(),
            region: home.region.clone(),
            prefix: home.prefix.clone(),
            endpoint: home.endpoint.clone().unwrap_or_default(),
            owner: home.owner.clone().unwrap_or_default(),
            own_keys: home.own_keys,
        }),
    }
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
