//! For people and Prometheus: `/` shows the one thing that matters, `/metrics`, `/healthz`, `/readyz`.
//! Reads only; it shows what the newest look and the store say.

mod guard;

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use jiff::SignedDuration;
use tokio::net::TcpListener;

use crate::core::Core;
use crate::rpc::within_grace;
use crate::status;

pub use guard::Names;

/// After so long without a look this orchestrator is not ready: the longest turn is a minute of AWS's calls.
const STALE_SECONDS: i64 = 180;

/// Serves until shutdown.
pub async fn serve(core: Arc<Core>, listener: TcpListener, names: Names) {
    let shutdown = core.shutdown.clone();
    let router = Router::new()
        .route("/", get(page))
        .route("/events.json", get(events))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .layer(axum::middleware::from_fn_with_state(names, guard::guard))
        .with_state(core);
    let served =
        axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    if let Some(Err(error)) = within_grace(&shutdown, served).await {
        log::error!("console: {error}");
    }
}

async fn metrics(State(core): State<Arc<Core>>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        core.metrics.text(),
    )
}

/// Ready once the loop has looked and nodes could enrol, for as long as it goes on looking.
async fn ready(State(core): State<Arc<Core>>) -> impl IntoResponse {
    let looked = core.looks.borrow().at;
    let has_ca = core.authority.borrow().is_some();
    let (code, text) = readiness(looked.map(|at| core.now().duration_since(at)), has_ca);
    (code, text)
}

fn readiness(age: Option<SignedDuration>, has_ca: bool) -> (StatusCode, String) {
    let not = |text: String| (StatusCode::SERVICE_UNAVAILABLE, text);
    match (age.map(|age| age.as_secs()), has_ca) {
        (None, _) => not("the loop has not looked yet\n".to_owned()),
        (Some(seconds), _) if seconds > STALE_SECONDS => {
            not(format!("the loop has not looked for {seconds} s\n"))
        }
        (Some(_), false) => not("the fleet's CA is not there yet\n".to_owned()),
        (Some(_), true) => (StatusCode::OK, "ready\n".to_owned()),
    }
}

async fn events(State(core): State<Arc<Core>>) -> impl IntoResponse {
    match core.store.recent_events(200).await {
        Ok(events) => Json(events).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, crate::chain(&error)).into_response(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

async fn page(State(core): State<Arc<Core>>) -> impl IntoResponse {
    let look = core.looks.borrow().clone();
    let summary = status::summary(&core.spec, &look);
    let snapshot = core.store.snapshot().await.unwrap_or_default();
    let nodes = status::nodes(&look.observed, &snapshot, &core.fleet);
    let mut body = format!(
        "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\"><meta http-equiv=refresh content=3><title>{0} – {1}</title><style>{STYLE}</style>\
         <h1>{0} <span class=phase>{1}</span></h1><p><a href=\"{2}\">{2}</a></p>",
        escaped(&summary.stack),
        escaped(&summary.phase),
        escaped(&summary.url),
    );
    for reason in &summary.reasons {
        let _ = write!(body, "<p class=reason>{}</p>", escaped(reason));
    }
    body.push_str("<h2>Nodes</h2><table><tr><th>instance<th>colour<th>zone<th>address<th>lifecycle<th>target<th>phase<th>Mattermost<th>note</tr>");
    for node in &nodes {
        let report = node.report.clone().unwrap_or_default();
        let note = report
            .failure
            .as_ref()
            .map_or(report.note.clone(), |failure| failure.error.clone());
        let _ = write!(
            body,
            "<tr><td>{}<td class={}>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escaped(&node.instance_id),
            escaped(&node.colour),
            escaped(&node.colour),
            escaped(&node.zone),
            escaped(&node.address),
            escaped(&node.lifecycle),
            escaped(&node.target_health),
            crate::report::phase_name(report.phase),
            escaped(&report.mattermost_version),
            escaped(&note),
        );
    }
    body.push_str("</table><h2>Resources</h2><table><tr><th>kind<th>name<th>id<th>state</tr>");
    for resource in &summary.resources {
        let _ = write!(
            body,
            "<tr><td>{}<td>{}<td>{}<td>{}</tr>",
            escaped(&resource.kind),
            escaped(&resource.name),
            escaped(&resource.id),
            escaped(&resource.state)
        );
    }
    body.push_str("</table><h2>What happened</h2><table><tr><th>at<th>of<th>what<th>why</tr>");
    for event in core
        .store
        .recent_events(60)
        .await
        .unwrap_or_default()
        .iter()
        .rev()
    {
        let _ = write!(
            body,
            "<tr><td>{}<td>{}<td>{}<td>{}</tr>",
            event.at.strftime("%H:%M:%S"),
            escaped(&event.subject),
            escaped(&event.what),
            escaped(&event.cause)
        );
    }
    body.push_str("</table>");
    Html(body)
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1d22;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1rem;margin-top:2rem;color:#555}.phase{font-weight:400;color:#1c58d9}\
.reason{background:#fff6e0;border-left:4px solid #e0a800;padding:.4rem .8rem}table{border-collapse:collapse;width:100%}\
th{text-align:left;font-weight:500;color:#777}td,th{padding:.25rem .8rem .25rem 0;border-bottom:1px solid #eee;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}\
@media(max-width:40rem){body{margin:1rem auto}table{display:block;overflow-x:auto}td{min-width:6rem}}\
td.blue{color:#1c58d9}td.green{color:#1a7f37}@media(prefers-color-scheme:dark){body{background:#14161a;color:#e6e6e6}\
.reason{background:#3a2f10}td,th{border-color:#2a2d33}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orchestrator_whose_loop_stands_still_is_not_ready() {
        let ready = |age: Option<i64>, has_ca| {
            let (code, text) = readiness(age.map(SignedDuration::from_secs), has_ca);
            (code == StatusCode::OK, text)
        };
        assert_eq!(ready(Some(0), true), (true, "ready\n".to_owned()));
        assert!(ready(Some(STALE_SECONDS), true).0);
        let (is_ready, told) = ready(Some(STALE_SECONDS + 1), true);
        assert!(!is_ready && told.contains("181 s"), "{told}");
        assert!(!ready(None, true).0);
        assert!(!ready(Some(0), false).0);
    }
}
