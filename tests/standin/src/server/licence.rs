//! `GET /api/v4/license/client`: whether the server runs with a licence, and what that allows.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::config::Format;
use super::failure::Failure;
use super::node::Node;
use super::session::Maybe;
use crate::licence::Licence;

/// All values are texts. Term, owner and product are for administrators only.
pub(super) async fn client(
    State(node): State<Arc<Node>>,
    Maybe(session): Maybe,
    Query(form): Query<Format>,
) -> Result<Json<Value>, Failure> {
    match form.format.as_str() {
        "old" => {}
        "" => {
            return Err(Failure::new(
                StatusCode::NOT_IMPLEMENTED,
                "api.license.client.old_format.app_error",
                "New format for the client license is not supported yet. Please specify format=old in the query string.",
            ));
        }
        _ => return Err(Failure::invalid("format")),
    }
    let admin = session.is_some_and(|session| session.admin);
    let view = node.config.view();
    Ok(Json(describe(view.settings.licence.as_ref(), admin)))
}

fn describe(licence: Option<&Licence>, admin: bool) -> Value {
    let mut answer = Map::new();
    let mut say = |name: &str, value: String| {
        answer.insert(name.to_owned(), value.into());
    };
    say("IsLicensed", licence.is_some().to_string());
    if let Some(licence) = licence {
        let features = &licence.features;
        say("SkuShortName", licence.sku_short_name.clone());
        say("Users", features.users.to_string());
        for (name, allowed) in [
            ("LDAP", features.ldap),
            ("SAML", features.saml),
            ("Cluster", features.cluster),
            ("Metrics", features.metrics),
            ("Compliance", features.compliance),
            ("IsTrial", licence.is_trial),
            ("IsGovSku", licence.is_gov_sku),
        ] {
            say(name, allowed.to_string());
        }
        say("Company", licence.customer.company.clone());
        if admin {
            say("Id", licence.id.clone());
            say("SkuName", licence.sku_name.clone());
            say("IssuedAt", licence.issued_at.to_string());
            say("StartsAt", licence.starts_at.to_string());
            say("ExpiresAt", licence.expires_at.to_string());
            say("Name", licence.customer.name.clone());
            say("Email", licence.customer.email.clone());
        }
    }
    Value::Object(answer)
}
