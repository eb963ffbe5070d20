//! A setting of the System Console: read all, change one, write all, as the console does.

use super::asking::{Asking, Found};
use crate::api::{Api, ApiError};
use crate::report::Verdict;

/// The settings, as an administrator reads and writes them.
const CONFIG: &str = "/api/v4/config";
/// What every client gets, without a login too.
const CLIENT_CONFIG: &str = "/api/v4/config/client?format=old";

/// Sets `SiteName`. Secrets come as asterisks, and the server knows them again when it gets them back.
pub(super) async fn set(admin: &Api, name: String, asking: Asking) -> Result<String, String> {
    let value = name.as_str();
    let set = asking.insist(|| async move {
        let mut config = admin.get(CONFIG).await?;
        let Some(team) = config["TeamSettings"].as_object_mut() else {
            let text = "the settings have no `TeamSettings`";
            return Err(ApiError::incomplete("GET", CONFIG, text));
        };
        team.insert("SiteName".to_owned(), value.into());
        admin.put(CONFIG, &config).await
    });
    match set.await {
        Ok(_) => Ok(name),
        Err(error) => Err(format!("`SiteName` could not be set: {error}")),
    }
}

/// Whether clients get the `SiteName`.
pub(super) async fn check(anybody: &Api, name: &str, asking: Asking) -> Verdict {
    let ask = || async move {
        match anybody.get(CLIENT_CONFIG).await {
            Ok(config) => match config["SiteName"].as_str() {
                Some(found) if found == name => Found::Right,
                Some(found) => Found::Wrong(format!("`SiteName` is `{found}` instead of `{name}`")),
                None => Found::Wrong(format!("there is no `SiteName`, which was set to `{name}`")),
            },
            Err(error) => Found::from_error(&error),
        }
    };
    asking.verdict(ask).await
}
