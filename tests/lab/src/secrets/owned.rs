//! Secrets that another service of the lab manages: `rds!db-…`. Users read them and change nothing.

use super::arn;
use super::store::{self, Content, Secret};
use crate::Lab;

/// Makes a secret that another service of the lab manages; gives its ARN.
pub fn create_owned(
    lab: &Lab,
    region: &str,
    name: &str,
    description: &str,
    value: &str,
    owner: &str,
    tags: Vec<(String, String)>,
) -> String {
    let now = lab.clock.now();
    let arn = arn(lab, region, name);
    let mut secret = Secret::new(name.to_owned(), arn.clone(), now);
    secret.description = Some(description.to_owned());
    secret.owner = Some(owner.to_owned());
    secret.tags = tags;
    let stages = [store::CURRENT.to_owned()];
    // A value by another service is never too long, and the version is the first.
    let _ = Content::text(value.to_owned())
        .and_then(|content| secret.put(&lab.ids.uuid(), content, &stages, now));
    lab.secrets.with(region, |region| {
        region.secrets.insert(name.to_owned(), secret);
    });
    arn
}

/// Gives a managed secret a new value.
pub fn set_value(lab: &Lab, region: &str, arn: &str, value: &str) {
    let (now, version) = (lab.clock.now(), lab.ids.uuid());
    let done = lab.secrets.with(region, |region| {
        let stages = [store::CURRENT.to_owned()];
        let content = Content::text(value.to_owned())?;
        region.find(arn)?.put(&version, content, &stages, now)
    });
    if let Err(error) = done {
        log::warn!("{arn}: {error}");
    }
}

/// Removes a managed secret with what it belonged to.
pub fn delete_owned(lab: &Lab, region: &str, arn: &str) {
    lab.secrets.with(region, |region| {
        region.secrets.retain(|_, secret| secret.arn != arn);
    });
}
