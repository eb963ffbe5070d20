//! What this node does when another one of its cluster changed the configuration or a plugin.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::failure::chain;
use super::node::Node;
use crate::settings::enabled_plugins;

/// What another node did that this one follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It changed the configuration.
    Config,
    /// It installed or removed the plugin of that id.
    Plugin(String),
}

/// Follows notices until nobody sends any more.
pub(super) async fn follow(node: Arc<Node>, mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Config => match node.config.reload().await {
                Ok(view) => node.plugins.settle(&enabled_plugins(&view.effective)),
                Err(error) => {
                    log::error!("The changed configuration was not read: {}", chain(&error));
                }
            },
            Notice::Plugin(id) => {
                let enabled = enabled_plugins(&node.config.view().effective);
                node.plugins.follow(&id, &node.files, &enabled).await;
            }
        }
    }
}
