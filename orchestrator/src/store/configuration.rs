//! The servers' own settings, as far as SQL tells one row from another: which is active, and digests of
//! the salts and keys in it. The database makes the digests, so that no value leaves it.

use plan::observed::Configuration;
use tokio_postgres::Client;

use super::provision::{ProvisionError, failed};

/// The active row of `configurations`; none before a server wrote one. A row whose JSON cannot be read is
/// there all the same, without salts.
pub(super) async fn active(client: &Client) -> Result<Option<Configuration>, ProvisionError> {
    let row = client
        .query_one(
            "SELECT to_regclass('public.configurations') IS NOT NULL",
            &[],
        )
        .await
        .map_err(failed("look for `configurations`"))?;
    if !row.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client
        .query_opt(
            "SELECT id::text, createat FROM public.configurations WHERE active",
            &[],
        )
        .await
        .map_err(failed("read the active row of `configurations`"))?;
    let Some(row) = row else { return Ok(None) };
    let mut seen = Configuration {
        id: row.get(0),
        created_at_ms: row.get(1),
        ..Configuration::default()
    };
    // What a version of Mattermost does not know is null.
    let salts = client
        .query(
            "SELECT salt.name, encode(sha256(convert_to(salt.value, 'UTF8')), 'hex')
             FROM public.configurations configuration, LATERAL (VALUES
                 ('FileSettings.PublicLinkSalt', configuration.value::json #>> '{FileSettings,PublicLinkSalt}'),
                 ('SqlSettings.AtRestEncryptKey', configuration.value::json #>> '{SqlSettings,AtRestEncryptKey}'),
                 ('EmailSettings.InviteSalt', configuration.value::json #>> '{EmailSettings,InviteSalt}'),
                 ('TeamSettings.SiteName', configuration.value::json #>> '{TeamSettings,SiteName}')
             ) salt(name, value)
             WHERE configuration.id = $1 AND salt.value <> ''",
            &[&seen.id],
        )
        .await;
    match salts {
        Ok(rows) => {
            seen.salts = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            // No salt, and free to change: it proves a move and nothing else.
            seen.site_name = seen.salts.remove("TeamSettings.SiteName");
        }
        // The server's words may quote the row.
        Err(error) => log::warn!(
            "the active row `{}` of `configurations` cannot be read as JSON ({})",
            seen.id,
            error.code().map_or("no code", |code| code.code())
        ),
    }
    Ok(Some(seen))
}
