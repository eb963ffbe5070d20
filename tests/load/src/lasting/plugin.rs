//! A plugin: its bundle uploaded, enabled, and seen to run.

use std::path::Path;

use serde::Deserialize;

use super::Made;
use super::asking::{Asking, Found};
use super::bundle::{Bundle, smallest_bundle};
use crate::api::{Api, ApiError};
use crate::form::Form;
use crate::options::Plugin;
use crate::report::Verdict;

const PLUGINS: &str = "/api/v4/plugins";
const STATUSES: &str = "/api/v4/plugins/statuses";
/// A plugin's state in Mattermost (`model/plugin_status.go`): 0 not running, 1 starting, 2 running,
/// 3 failed to start, 4 failed to stay running, 5 stopping.
const RUNNING: i64 = 2;

/// One node's word on one plugin; a licensed cluster answers for all of its nodes.
#[derive(Debug, Deserialize)]
struct Status {
    plugin_id: String,
    #[serde(default)]
    cluster_id: String,
    #[serde(default)]
    state: i64,
    #[serde(default)]
    error: String,
}

/// Installs and enables what is wanted; answers the plugin's id. Installed again, it is replaced.
pub(super) async fn install(admin: &Api, wanted: &Plugin, asking: Asking) -> Made<String> {
    let bundle = match wanted {
        Plugin::None => return Made::LeftOut("no bundle was named".to_owned()),
        Plugin::Bundle(file) => from_file(file).await,
        Plugin::Release(tarball) => match from_release(tarball).await {
            Ok(None) => return Made::LeftOut("the tarball carries none".to_owned()),
            Ok(Some(bundle)) => Ok(bundle),
            Err(error) => Err(error),
        },
    };
    let bundle = match bundle {
        Ok(bundle) => bundle,
        Err(error) => return Made::Refused(error),
    };
    Made::of(upload(admin, &bundle, asking).await)
}

async fn from_file(file: &Path) -> Result<Bundle, String> {
    let bytes = tokio::fs::read(file).await;
    let bytes = bytes
        .map_err(|error| format!("the bundle `{}` cannot be read: {error}", file.display()))?;
    let name = file.file_name().unwrap_or_default();
    Ok(Bundle {
        name: name.to_string_lossy().into_owned(),
        bytes,
    })
}

async fn from_release(tarball: &Path) -> Result<Option<Bundle>, String> {
    let tarball = tarball.to_path_buf();
    let read = tokio::task::spawn_blocking(move || smallest_bundle(&tarball));
    match read.await {
        Ok(Ok(bundle)) => Ok(bundle),
        Ok(Err(error)) => Err(match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }),
        Err(error) => Err(format!("the tarball's reader broke off: {error}")),
    }
}

async fn upload(admin: &Api, bundle: &Bundle, asking: Asking) -> Result<String, String> {
    let refused = |error: ApiError| {
        let hint = if error.status == Some(501) {
            "; the server needs `PluginSettings.Enable` and `EnableUploads` on and `RequirePluginSignature` off"
        } else {
            ""
        };
        format!("`{}` could not be installed: {error}{hint}", bundle.name)
    };
    let form = Form::new(
        &[("force", "true")],
        ("plugin", &bundle.name),
        &bundle.bytes,
    );
    let manifest = asking.insist(|| admin.upload(PLUGINS, &form));
    let manifest = manifest.await.map_err(refused)?;
    let Some(id) = manifest["id"].as_str() else {
        let text = "the answer is no manifest with an `id`";
        return Err(refused(ApiError::incomplete("POST", PLUGINS, text)));
    };
    let path = format!("{PLUGINS}/{id}/enable");
    let body = serde_json::json!({});
    // Another node than the one that took the bundle may answer, and not have it yet.
    let passes = |error: &ApiError| error.is_passing() || error.status == Some(404);
    let enabled = asking.insist_while(passes, || admin.post(&path, &body));
    match enabled.await {
        Ok(_) => Ok(id.to_owned()),
        Err(error) => Err(format!("`{id}` could not be enabled: {error}")),
    }
}

/// Whether each node that answers, or is answered for, runs it.
pub(super) async fn check(admin: &Api, id: &str, asking: Asking) -> Verdict {
    asking
        .verdict(|| async move {
            match admin.get(STATUSES).await {
                Ok(statuses) => match serde_json::from_value(statuses) {
                    Ok(statuses) => judge(id, statuses),
                    Err(error) => {
                        Found::Wrong(format!("{STATUSES} answers something else: {error}"))
                    }
                },
                Err(error) => Found::from_error(&error),
            }
        })
        .await
}

fn judge(id: &str, statuses: Vec<Status>) -> Found {
    let mut ours = statuses
        .into_iter()
        .filter(|status| status.plugin_id == id)
        .peekable();
    if ours.peek().is_none() {
        return Found::Wrong(format!("`{id}` is not installed on a node"));
    }
    match ours.find(|status| status.state != RUNNING) {
        None => Found::Right,
        Some(status) => {
            let node = match status.cluster_id.as_str() {
                "" => String::new(),
                node => format!(" on node `{node}`"),
            };
            Found::Wrong(format!(
                "`{id}` is {}{node}: {}",
                word(status.state),
                if status.error.is_empty() {
                    "no reason given"
                } else {
                    &status.error
                }
            ))
        }
    }
}

fn word(state: i64) -> String {
    match state {
        0 => "not running".to_owned(),
        1 => "starting".to_owned(),
        3 => "not running, it failed to start".to_owned(),
        4 => "not running, it failed to stay so".to_owned(),
        5 => "stopping".to_owned(),
        other => format!("in the unknown state {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(id: &str, node: &str, state: i64) -> Status {
        Status {
            plugin_id: id.to_owned(),
            cluster_id: node.to_owned(),
            state,
            error: String::new(),
        }
    }

    #[test]
    fn it_runs_only_when_it_runs_on_each_node() {
        let good = vec![
            status("a", "one", 2),
            status("a", "two", 2),
            status("b", "", 3),
        ];
        assert_eq!(judge("a", good), Found::Right);
        for (statuses, part) in [
            (vec![], "not installed"),
            (vec![status("b", "", 2)], "not installed"),
            (
                vec![status("a", "one", 2), status("a", "two", 3)],
                "failed to start on node `two`",
            ),
            (vec![status("a", "", 0)], "is not running: no reason"),
        ] {
            let found = judge("a", statuses);
            assert!(
                matches!(&found, Found::Wrong(why) if why.contains(part)),
                "{found:?}"
            );
        }
    }
}
