//! Users, team and channel, through the API; what is there already is used.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::api::{Api, ApiError, LoadError};
use crate::endpoint::Endpoint;
use crate::options::Options;

/// Users made at once: a real server spends a tenth of a second of CPU on each password.
const AT_ONCE: usize = 4;
/// The team of all runs.
const TEAM: &str = "load";

/// Everything a run needs on the server.
pub(crate) struct Ground {
    /// The administrator's session.
    pub(crate) admin: Api,
    /// One session a user.
    pub(crate) users: Vec<Api>,
    /// The run's own channel.
    pub(crate) channel: String,
    /// Part of each message of this run.
    pub(crate) run: String,
    /// The server's clock when the channel was made, in milliseconds.
    pub(crate) server_ms: i64,
}

fn failed(what: &'static str) -> impl Fn(ApiError) -> LoadError {
    move |error| LoadError::Setup { what, error }
}

/// A text field of an answer; the server's answers have them.
pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// Sets everything up.
pub(crate) async fn prepare(endpoint: &Endpoint, options: &Options) -> Result<Ground, LoadError> {
    let timeout = options.request_timeout;
    let admin = administrator(endpoint, &options.admin, &options.password, timeout).await?;
    let run = format!("{:08x}", rand::rng().random::<u32>());
    let team = team(&admin, TEAM).await?;
    let channel = channel(&admin, &team, &format!("load-{run}")).await?;
    let (channel_id, server_ms) = (text(&channel, "id"), channel["create_at"].as_i64());
    let users: Vec<_> = (0..options.users)
        .map(|number| user(endpoint, options, &admin, &team, &channel_id, number))
        .collect();
    let users: Vec<Api> = stream::iter(users).buffered(AT_ONCE).try_collect().await?;
    Ok(Ground {
        admin,
        users,
        channel: channel_id,
        run,
        server_ms: server_ms.unwrap_or_default(),
    })
}

/// Logs the administrator in; on an empty server, makes it first.
pub(crate) async fn administrator(
    endpoint: &Endpoint,
    name: &str,
    password: &str,
    timeout: Duration,
) -> Result<Api, LoadError> {
    let mut api = Api::new(endpoint.clone(), timeout)?;
    let user = match api.login(name, password).await {
        Ok(user) => user,
        Err(error) if matches!(error.status, Some(400 | 401 | 404)) => {
            let made = api.post("/api/v4/users", &new_user(name, password)).await;
            match made {
                Ok(_) => {}
                Err(error) if error.status == Some(403) => {
                    return Err(LoadError::NotAdmin(name.to_owned()));
                }
                Err(error) => return Err(failed("the administrator")(error)),
            }
            let login = api.login(name, password).await;
            login.map_err(failed("the administrator's session"))?
        }
        Err(error) => return Err(failed("the administrator's session")(error)),
    };
    if !text(&user, "roles")
        .split(' ')
        .any(|role| role == "system_admin")
    {
        return Err(LoadError::NotAdmin(name.to_owned()));
    }
    Ok(api)
}

fn new_user(name: &str, password: &str) -> Value {
    json!({ "email": format!("{name}@load.example"), "username": name, "password": password })
}

/// The team of a name; made when absent.
pub(crate) async fn team(admin: &Api, name: &str) -> Result<String, LoadError> {
    let what = "the team";
    match admin.get(&format!("/api/v4/teams/name/{name}")).await {
        Ok(team) => Ok(text(&team, "id")),
        Err(error) if error.status == Some(404) => {
            let body = json!({ "name": name, "display_name": name, "type": "O" });
            let team = admin.post("/api/v4/teams", &body).await;
            team.map(|team| text(&team, "id")).map_err(failed(what))
        }
        Err(error) => Err(failed(what)(error)),
    }
}

/// The channel of a name in a team; made when absent.
pub(crate) async fn channel(admin: &Api, team: &str, name: &str) -> Result<Value, LoadError> {
    let what = "the channel";
    let path = format!("/api/v4/teams/{team}/channels/name/{name}");
    match admin.get(&path).await {
        Ok(channel) => Ok(channel),
        Err(error) if error.status == Some(404) => {
            let body = json!({ "team_id": team, "name": name, "display_name": name, "type": "O" });
            let made = admin.post("/api/v4/channels", &body).await;
            made.map_err(failed(what))
        }
        Err(error) => Err(failed(what)(error)),
    }
}

async fn user(
    endpoint: &Endpoint,
    options: &Options,
    admin: &Api,
    team: &str,
    channel: &str,
    number: usize,
) -> Result<Api, LoadError> {
    let name = format!("load-user-{number}");
    let made = admin
        .post("/api/v4/users", &new_user(&name, &options.password))
        .await;
    match made {
        Ok(_) => {}
        // From an earlier run.
        Err(error) if error.status == Some(400) && error.text.contains("exists") => {}
        Err(error) => return Err(failed("the users")(error)),
    }
    let mut api = Api::new(endpoint.clone(), options.request_timeout)?;
    let user = api
        .login(&name, &options.password)
        .await
        .map_err(failed("the users' sessions"))?;
    let id = text(&user, "id");
    for path in [
        format!("/api/v4/teams/{team}/members"),
        format!("/api/v4/channels/{channel}/members"),
    ] {
        let body = json!({ "team_id": team, "user_id": id });
        let joined = admin.post(&path, &body).await;
        joined.map_err(failed("the users' membership"))?;
    }
    Ok(api)
}
