//! `/api/v4/plugins`.

use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::cluster::Message;
use super::config;
use super::failure::{Failure, chain};
use super::multipart;
use super::node::Node;
use super::session::Admin;
use crate::config::defaults::{get as setting, set};
use crate::plugins::{BundleError, PluginError, Replace};
use crate::settings::enabled_plugins;

/// The largest bundle, in bytes.
const LARGEST: usize = 50 << 20;

/// `POST /plugins`: a form with `plugin` and, to replace an installed one, `force=true`.
pub(super) async fn upload(
    State(node): State<Arc<Node>>,
    _: Admin,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let view = node.config.view();
    if !view.settings.plugins.enable || !view.settings.plugins.uploads {
        return Err(Failure::new(
            StatusCode::NOT_IMPLEMENTED,
            "app.plugin.upload_disabled.app_error",
            "Plugins and/or plugin uploads have been disabled.",
        ));
    }
    let no_file = || {
        Failure::bad_request(
            "api.plugin.upload.no_file.app_error",
            "Missing file in multipart/form request.",
        )
    };
    let boundary = multipart::boundary(request.headers()).ok_or_else(no_file)?;
    let body = to_bytes(request.into_body(), LARGEST).await;
    let body = body.map_err(|_| no_file())?;
    let parts = multipart::parts(&body, &boundary).ok_or_else(no_file)?;
    let bundle = parts
        .iter()
        .find(|part| part.name == "plugin" && part.file.is_some())
        .ok_or_else(no_file)?;
    let force = parts
        .iter()
        .any(|part| part.name == "force" && part.text() == "true");
    let replace = if force {
        Replace::Always
    } else {
        Replace::Never
    };
    let enabled = enabled_plugins(&view.effective);
    let manifest = node
        .plugins
        .install(bundle.bytes.clone(), replace, &node.files, &enabled)
        .await
        .map_err(|error| failure(&error))?;
    tell(&node, manifest.id());
    Ok((StatusCode::CREATED, Json(manifest.json())))
}

/// `GET /plugins`.
pub(super) async fn list(State(node): State<Arc<Node>>, _: Admin) -> Result<Json<Value>, Failure> {
    require_enabled(&node)?;
    Ok(Json(node.plugins.list()))
}

/// `GET /plugins/statuses`: of this node.
pub(super) async fn statuses(
    State(node): State<Arc<Node>>,
    _: Admin,
) -> Result<Json<Value>, Failure> {
    require_enabled(&node)?;
    Ok(Json(node.plugins.statuses()))
}

/// `GET /plugins/webapp`: what clients load; nobody has to be logged in.
pub(super) async fn web_parts(State(node): State<Arc<Node>>) -> Result<Json<Value>, Failure> {
    require_enabled(&node)?;
    Ok(Json(node.plugins.web_parts()))
}

/// `POST /plugins/{id}/enable`: in the configuration, for all nodes and all starts.
pub(super) async fn enable(
    State(node): State<Arc<Node>>,
    _: Admin,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    switch_to(&node, &id, true).await
}

/// `POST /plugins/{id}/disable`.
pub(super) async fn disable(
    State(node): State<Arc<Node>>,
    _: Admin,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    switch_to(&node, &id, false).await
}

/// `DELETE /plugins/{id}`: disabled, removed from this node and from the file store.
pub(super) async fn remove(
    State(node): State<Arc<Node>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    drop(disable(State(Arc::clone(&node)), admin, Path(id.clone())).await?);
    node.plugins
        .remove(&id, &node.files)
        .await
        .map_err(|error| failure(&error))?;
    tell(&node, &id);
    Ok(Json(json!({ "status": "OK" })))
}

async fn switch_to(node: &Node, id: &str, on: bool) -> Result<Json<Value>, Failure> {
    require_enabled(node)?;
    if !node.plugins.is_installed(id) {
        return Err(failure(&PluginError::Unknown));
    }
    let mut new = node.config.view().effective.clone();
    let mut states = match setting(&new, "PluginSettings", "PluginStates") {
        Some(Value::Object(states)) => states.clone(),
        _ => Map::new(),
    };
    states.insert(id.to_owned(), json!({ "Enable": on }));
    set(&mut new, "PluginSettings", "PluginStates", states.into());
    config::change(node, &new).await?;
    Ok(Json(json!({ "status": "OK" })))
}

fn tell(node: &Node, id: &str) {
    if let Some(cluster) = &node.cluster {
        cluster.broadcast(&Message::PluginChanged { id: id.to_owned() });
    }
}

fn require_enabled(node: &Node) -> Result<(), Failure> {
    if node.config.view().settings.plugins.enable {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::NOT_IMPLEMENTED,
        "app.plugin.disabled.app_error",
        "Plugins have been disabled. Please check your logs for details.",
    ))
}

fn failure(error: &PluginError) -> Failure {
    let text = error.to_string();
    match error {
        PluginError::Unknown => Failure::new(
            StatusCode::NOT_FOUND,
            "app.plugin.not_installed.app_error",
            "Plugin is not installed.",
        ),
        PluginError::Installed => Failure::bad_request("app.plugin.install_id.app_error", text),
        PluginError::Bundle(BundleError::Extract(_)) => {
            Failure::bad_request("app.plugin.extract.app_error", text)
        }
        PluginError::Bundle(BundleError::Manifest(_)) => {
            Failure::bad_request("app.plugin.manifest.app_error", text)
        }
        PluginError::Bundle(BundleError::Id) => {
            Failure::bad_request("app.plugin.invalid_id.app_error", text)
        }
        PluginError::Folder { .. } | PluginError::Store(_) => {
            log::error!("A plugin was not installed: {}", chain(error));
            let id = match error {
                PluginError::Store(_) => "app.plugin.store_bundle.app_error",
                _ => "app.plugin.mvdir.app_error",
            };
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, id, text)
        }
    }
}
