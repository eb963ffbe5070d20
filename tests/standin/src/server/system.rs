//! Health, versions and the rest of `/api/v4/system`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::{Failure, chain};
use super::node::Node;
use super::session::Required;
use crate::database::{DatabaseError, QUERY_TIMEOUT};
use crate::ids;
use crate::release::Behaviour;
use crate::schema;

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
        let files = match (node.manifest.behaviour, node.files.test().await) {
            (Behaviour::Unhealthy, _) => UNHEALTHY,
            (_, Ok(())) => OK,
            (_, Err(error)) => {
                log::warn!("Unable to use the file store: {}", chain(&error));
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

/// An API address that does not exist.
pub(super) async fn no_such_endpoint() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "api.context.404.app_error",
        "Sorry, we could not find the page.",
    )
}
