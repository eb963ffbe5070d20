//! The metadata service of one instance.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use tokio::net::TcpListener;

const TOKEN: &str = "a-session-token";

pub struct Imds {
    pub endpoint: String,
    pub lifecycle: Arc<Mutex<String>>,
    _task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Facts {
    instance: String,
    address: String,
    user_data: String,
    lifecycle: Arc<Mutex<String>>,
}

impl Imds {
    pub async fn start(instance: &str, address: &str, user_data: String) -> Self {
        let lifecycle = Arc::new(Mutex::new("InService".to_owned()));
        let facts = Facts {
            instance: instance.to_owned(),
            address: address.to_owned(),
            user_data,
            lifecycle: Arc::clone(&lifecycle),
        };
        let app = Router::new()
            .route("/latest/api/token", put(|| async { TOKEN }))
            .route("/latest/user-data", get(user_data_of))
            .route("/latest/meta-data/{*path}", get(meta_data))
            .with_state(facts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.unwrap();
        });
        Self {
            endpoint: format!("http://{address}"),
            lifecycle,
            _task: task,
        }
    }
}

fn allowed(headers: &HeaderMap) -> bool {
    headers
        .get("x-aws-ec2-metadata-token")
        .is_some_and(|token| token == TOKEN)
}

async fn user_data_of(State(facts): State<Facts>, headers: HeaderMap) -> Response {
    if allowed(&headers) {
        facts.user_data.into_response()
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

async fn meta_data(
    State(facts): State<Facts>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !allowed(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match path.as_str() {
        "instance-id" => facts.instance.into_response(),
        "local-ipv4" => facts.address.into_response(),
        "placement/region" => "eu-central-1".into_response(),
        "iam/security-credentials/" => "node-role".into_response(),
        "iam/security-credentials/node-role" => concat!(
            r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAEXAMPLE","#,
            r#""SecretAccessKey":"role-secret-key","Token":"role-token","Expiration":"2099-01-01T00:00:00Z"}"#
        )
        .into_response(),
        "autoscaling/target-lifecycle-state" => {
            facts.lifecycle.lock().unwrap().clone().into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
