//! `/api/v4/config`: what the System Console reads and changes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Body;
use super::cluster::Message;
use super::failure::{Failure, chain};
use super::node::Node;
use super::session::Admin;
use crate::config::defaults::{Document, complete, get as setting, set, switch, text};
use crate::config::sanitize::sanitized;
use crate::config::{ConfigError, View};
use crate::settings::enabled_plugins;

const UPLOADS: (&str, &str) = ("PluginSettings", "EnableUploads");
const KEYS: (&str, &str) = ("PluginSettings", "SignaturePublicKeyFiles");

/// `GET /config`: all of it, with stars for secrets.
pub(super) async fn get(State(node): State<Arc<Node>>, _: Admin) -> Response {
    show(&node.config.view())
}

/// `GET /config/environment`: which settings the environment decides.
pub(super) async fn environment(State(node): State<Arc<Node>>, _: Admin) -> Response {
    Json(node.config.overridden()).into_response()
}

/// `PUT /config`: replaces all of it; what the body leaves out gets its default.
pub(super) async fn put(
    State(node): State<Arc<Node>>,
    _: Admin,
    Body(given): Body<Document>,
) -> Result<Response, Failure> {
    let view = node.config.view();
    let mut new = complete(&given, node.manifest.version);
    keep_site_url(&view, Some(&text(&new, "ServiceSettings", "SiteURL")))?;
    for (section, key) in [UPLOADS, KEYS] {
        if let Some(value) = setting(&view.effective, section, key) {
            set(&mut new, section, key, value.clone());
        }
    }
    change(&node, &new).await.map(|view| show(&view))
}

/// `PUT /config/patch`: changes what the body names.
pub(super) async fn patch(
    State(node): State<Arc<Node>>,
    _: Admin,
    Body(given): Body<Document>,
) -> Result<Response, Failure> {
    let view = node.config.view();
    let site = setting(&given, "ServiceSettings", "SiteURL").and_then(Value::as_str);
    keep_site_url(&view, site)?;
    let uploads = switch(&view.effective, UPLOADS.0, UPLOADS.1);
    if setting(&given, UPLOADS.0, UPLOADS.1).is_some_and(|wanted| wanted != uploads) {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "api.config.update_config.not_allowed_security.app_error",
            "Changing PluginSettings.EnableUploads is not allowed due to security reasons.",
        ));
    }
    let mut new = view.effective.clone();
    for (section, keys) in &given {
        let Value::Object(keys) = keys else {
            return Err(Failure::invalid("config"));
        };
        for (key, value) in keys {
            set(&mut new, section, key, value.clone());
        }
    }
    change(&node, &new).await.map(|view| show(&view))
}

/// `POST /config/reload`: reads again what is stored.
pub(super) async fn reload(
    State(node): State<Arc<Node>>,
    _: Admin,
) -> Result<Json<Value>, Failure> {
    let view = node
        .config
        .reload()
        .await
        .map_err(|error| failure(&error))?;
    node.plugins.settle(&enabled_plugins(&view.effective));
    Ok(Json(json!({ "status": "OK" })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Format {
    pub(super) format: String,
}

/// `GET /config/client?format=old`.
pub(super) async fn client(
    State(node): State<Arc<Node>>,
    Query(form): Query<Format>,
) -> Result<Json<Value>, Failure> {
    if form.format != "old" {
        return Err(Failure::new(
            StatusCode::NOT_IMPLEMENTED,
            "api.config.client.old_format.app_error",
            "New format for the client configuration is not supported yet. Please specify format=old in the query string.",
        ));
    }
    Ok(Json(node.config.view().settings.client.clone()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Migration {
    from: String,
    to: String,
}

/// `POST /config/migrate`, on the local socket only: copies a configuration from one place to another.
pub(super) async fn migrate(
    State(node): State<Arc<Node>>,
    _: Admin,
    Body(migration): Body<Migration>,
) -> Result<Json<Value>, Failure> {
    for (name, value) in [("from", &migration.from), ("to", &migration.to)] {
        if value.is_empty() {
            return Err(Failure::invalid(name));
        }
    }
    let from = crate::commands::place(&node.tree, &migration.from);
    let to = crate::commands::place(&node.tree, &migration.to);
    node.config.migrate(&from, &to).await.map_err(|error| {
        log::error!("Failed to migrate the configuration: {}", chain(&error));
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "api.config.migrate_config.app_error",
            "Failed to migrate config store.",
        )
    })?;
    Ok(Json(json!({ "status": "OK" })))
}

/// Stores a configuration, and does here and in the cluster what follows from it.
pub(super) async fn change(node: &Node, new: &Document) -> Result<Arc<View>, Failure> {
    let view = node
        .config
        .set(new)
        .await
        .map_err(|error| failure(&error))?;
    node.plugins.settle(&enabled_plugins(&view.effective));
    if let Some(cluster) = &node.cluster {
        cluster.broadcast(&Message::ConfigChanged);
    }
    Ok(view)
}

fn keep_site_url(view: &View, new: Option<&str>) -> Result<(), Failure> {
    if new == Some("") && !view.settings.site_url.is_empty() {
        return Err(Failure::bad_request(
            "api.config.update_config.clear_siteurl.app_error",
            "Site URL cannot be cleared.",
        ));
    }
    Ok(())
}

fn show(view: &View) -> Response {
    let cache = [(CACHE_CONTROL, "no-cache, no-store, must-revalidate")];
    (cache, Json(Value::Object(sanitized(&view.effective)))).into_response()
}

fn failure(error: &ConfigError) -> Failure {
    log::error!("The configuration was not changed: {}", chain(error));
    match error {
        ConfigError::ReadOnly => Failure::new(
            StatusCode::FORBIDDEN,
            "ent.cluster.save_config.error",
            "System Console is set to read-only when High Availability is enabled unless ReadOnlyConfig is disabled in the configuration file.",
        ),
        ConfigError::Settings(error) => {
            Failure::bad_request("model.config.is_valid.app_error", error.to_string())
        }
        _ => Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "app.save_config.app_error",
            "An error occurred saving the configuration.",
        ),
    }
}
