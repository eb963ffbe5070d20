//! Health, versions and the rest of `/api/v4/system`.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::{Failure, chain};
use super::node::Node;
use super::session::Required;
use crate::database::{DatabaseError, QUERY_TIMEOUT};
use crate::ids;
use crate::release::Behaviour;
use crate::schema;
use crate::settings::FileSettings;

const OK: &str = "OK";
const UNHEALTHY: &str = "UNHEALTHY";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PingForm {
    get_server_status: String,
    use_rest_semantics: String,
}

/// `GET /system/ping`. Plain, it touches nothing and is always 200; with `get_server_status=true`
/// it writes and deletes a row, tries the file store, and answers 500 when one is unhealthy, unless
/// `use_rest_semantics=true`.
pub(super) async fn ping(State(node): State<Arc<Node>>, Query(form): Query<PingForm>) -> Response {
    let mut body = json!({
        "ActiveSearchBackend": "database",
        "AndroidLatestVersion": "",
        "AndroidMinVersion": "",
        "IosLatestVersion": "",
        "IosMinVersion": "",
        "status": OK,
    });
    let mut healthy = true;
    if form.get_server_status == "true" {
        let database = tokio::time::timeout(QUERY_TIMEOUT, write_and_delete(&node)).await;
        let database = match database {
            Ok(Ok(())) => OK,
            Ok(Err(error)) => {
                log::warn!(
                    "Unable to write to or delete from the database: {}",
                    chain(&error)
                );
                UNHEALTHY
            }
            Err(_) => UNHEALTHY,
        };
        let files = match (node.manifest.behaviour, file_store(&node.settings.files)) {
            (Behaviour::Unhealthy, _) => UNHEALTHY,
            (_, Ok(())) => OK,
            (_, Err(error)) => {
                log::warn!("Unable to use the file store: {error}");
                UNHEALTHY
            }
        };
        healthy = database == OK && files == OK;
        body["database_status"] = database.into();
        body["filestore_status"] = files.into();
        body["status"] = if healthy { OK } else { UNHEALTHY }.into();
    }
    let status = if healthy || form.use_rest_semantics == "true" {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    (status, Json(body)).into_response()
}

async fn write_and_delete(node: &Node) -> Result<(), DatabaseError> {
    let key = format!("health_check_{}", ids::new_id());
    let connection = node.database.connection().await?;
    connection
        .execute(
            "INSERT INTO systems (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
            &[&key, &crate::clock::now_ms().to_string()],
        )
        .await?;
    connection
        .execute("DELETE FROM systems WHERE name = $1", &[&key])
        .await?;
    Ok(())
}

fn file_store(files: &FileSettings) -> std::io::Result<()> {
    match files {
        FileSettings::Local(directory) => {
            std::fs::create_dir_all(directory)?;
            let probe = directory.join(format!("testfile-{}", ids::new_id()));
            std::fs::write(&probe, b"testingwrite")?;
            std::fs::remove_file(probe)
        }
        FileSettings::S3(bucket) if bucket.is_empty() => Err(std::io::Error::other(
            "`FileSettings.AmazonS3Bucket` is empty",
        )),
        FileSettings::S3(_) => Ok(()),
    }
}

/// `GET /system/schema/version`: the applied migrations.
pub(super) async fn schema_version(
    State(node): State<Arc<Node>>,
    Required(session): Required,
) -> Result<Json<Value>, Failure> {
    if !session.admin {
        return Err(Failure::forbidden());
    }
    let applied = schema::applied(&*node.connection().await?).await?;
    let list: Vec<Value> = applied
        .iter()
        .map(|(number, name)| json!({ "version": number, "name": name }))
        .collect();
    Ok(Json(Value::Array(list)))
}

/// `GET /cluster/status`: `[]` without a cluster.
pub(super) async fn cluster_status(
    State(node): State<Arc<Node>>,
    Required(session): Required,
) -> Result<Json<Value>, Failure> {
    if !session.admin {
        return Err(Failure::forbidden());
    }
    let members = node
        .cluster
        .as_ref()
        .map_or_else(Vec::new, |cluster| cluster.members());
    Ok(Json(json!(members)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigForm {
    format: String,
}

/// `GET /config/client?format=old`.
pub(super) async fn client_config(
    State(node): State<Arc<Node>>,
    Query(form): Query<ConfigForm>,
) -> Result<Json<Value>, Failure> {
    if form.format != "old" {
        return Err(Failure::new(
            StatusCode::NOT_IMPLEMENTED,
            "api.config.client.old_format.app_error",
            "New format for the client configuration is not supported yet. Please specify format=old in the query string.",
        ));
    }
    Ok(Json(node.settings.client_config(&node.manifest)))
}

/// Everything outside the API is the web application.
pub(super) async fn web(State(node): State<Arc<Node>>) -> Response {
    match page(&node.tree).await {
        Ok(page) => (
            [(header::CACHE_CONTROL, "no-cache, max-age=31556926, public")],
            Html(page),
        )
            .into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn page(tree: &Path) -> std::io::Result<String> {
    tokio::fs::read_to_string(tree.join("client/root.html")).await
}

/// An API address that does not exist.
pub(super) async fn no_such_endpoint() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "api.context.404.app_error",
        "Sorry, we could not find the page.",
    )
}
