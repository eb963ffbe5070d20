//! EC2's part of the control endpoint.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Lab, iam_api};

use super::faults::Ec2Fault;
use super::images::register_image;
use super::instance_types;
use super::lifecycle;
use super::state::InstanceState;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewImage {
    name: String,
    /// A directory on the lab's machine; none is an image with nothing in it.
    #[serde(default)]
    tree: Option<PathBuf>,
    /// The first region unless said otherwise.
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProfile {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Impair {
    impaired: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Freeze {
    frozen: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dark {
    dark: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Offer {
    instance_type: String,
    offered: bool,
}

fn parse<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, String> {
    serde_json::from_value(body).map_err(|error| error.to_string())
}

/// Answers `/lab/ec2/…`.
///
/// | request | does |
/// |---|---|
/// | `POST images {"name", "tree", "region", "tags"}` | registers a base image; gives `{"image_id"}` |
/// | `POST instance-profiles {"name"}` | makes a role and a profile of that name |
/// | `POST faults {…}` / `DELETE faults` | adds an [`Ec2Fault`]; clears all |
/// | `GET images` | what can run: region, id, name, state, the folders with its files, the uppermost first |
/// | `GET instances` | what runs: region, id, state, address, directory |
/// | `POST instances/ID/kill` | kills what runs in it, as a crash would; the runtime starts it again |
/// | `POST instances/ID/freeze {"frozen": true}` | stops or continues its processes |
/// | `POST zones/ZONE {"dark": true}` | the zone is gone, or back |
/// | `POST zones/ZONE/types {"instance_type": "t3.small", "offered": false}` | the zone does not offer the type, or again |
/// | `POST instances/ID/status {"impaired": true}` | its status checks fail |
pub async fn control(
    lab: &Arc<Lab>,
    method: &Method,
    path: &[&str],
    body: Value,
) -> Result<Value, String> {
    match (method.as_str(), path) {
        ("POST", ["images"]) => {
            let image: NewImage = parse(body)?;
            let first = lab.config.regions.first().map(|region| region.name.clone());
            let region = image
                .region
                .or(first)
                .ok_or("the lab has no region to register an image in")?;
            let id = register_image(
                lab,
                &region,
                &image.name,
                image.tree.as_deref(),
                image.tags.into_iter().collect(),
            )
            .await
            .map_err(|error| error.to_string())?;
            Ok(json!({ "image_id": id, "region": region }))
        }
        ("POST", ["instance-profiles"]) => {
            let profile: NewProfile = parse(body)?;
            iam_api::seed_profile(lab, &profile.name);
            Ok(json!({ "name": profile.name, "role": profile.name }))
        }
        ("POST", ["faults"]) => {
            lab.ec2.faults.add(parse::<Ec2Fault>(body)?);
            Ok(json!({}))
        }
        ("DELETE", ["faults"]) => {
            lab.ec2.faults.clear();
            Ok(json!({}))
        }
        ("GET", ["images"]) => Ok(images(lab)),
        ("GET", ["instances"]) => Ok(instances(lab)),
        ("POST", ["instances", id, "kill"]) => {
            let killed = lab.ec2.runtime.kill(id);
            Ok(json!({ "killed": killed }))
        }
        ("POST", ["instances", id, "freeze"]) => {
            let Freeze { frozen } = parse(body)?;
            Ok(json!({ "processes": lab.ec2.runtime.freeze(id, frozen) }))
        }
        ("POST", ["zones", zone]) => {
            let Dark { dark } = parse(body)?;
            let region = region_of(lab, zone)?;
            Ok(json!({ "instances": lifecycle::darken(lab, region, zone, dark).await }))
        }
        ("POST", ["zones", zone, "types"]) => {
            let offer: Offer = parse(body)?;
            if instance_types::find(&offer.instance_type).is_none() {
                return Err(format!("there is no type `{}`", offer.instance_type));
            }
            let name = region_of(lab, zone)?;
            let mut region = lab.ec2.region(name).map_err(|error| error.to_string())?;
            let pair = ((*zone).to_owned(), offer.instance_type);
            if offer.offered {
                region.not_offered.remove(&pair);
            } else {
                region.not_offered.insert(pair);
            }
            Ok(json!({}))
        }
        ("POST", ["instances", id, "status"]) => {
            let Impair { impaired } = parse(body)?;
            for region in lab.ec2.regions.keys() {
                if let Ok(mut region) = lab.ec2.region(region)
                    && let Some(instance) = region.instances.get_mut(*id)
                {
                    instance.impaired = impaired;
                    return Ok(json!({}));
                }
            }
            Err(format!("there is no instance `{id}`"))
        }
        _ => Err(format!(
            "there is no `{method} /lab/ec2/{}`",
            path.join("/")
        )),
    }
}

/// The region that has the zone.
fn region_of<'a>(lab: &'a Lab, zone: &str) -> Result<&'a str, String> {
    lab.config
        .regions
        .iter()
        .find(|region| region.zones.iter().any(|known| known == zone))
        .map(|region| region.name.as_str())
        .ok_or_else(|| format!("there is no zone `{zone}`"))
}

fn images(lab: &Lab) -> Value {
    let mut all = Vec::new();
    for name in lab.ec2.regions.keys() {
        let Ok(region) = lab.ec2.region(name) else {
            continue;
        };
        for image in region.images.values() {
            let tree = region
                .snapshots
                .get(&image.snapshot)
                .and_then(|snapshot| snapshot.tree.as_deref());
            all.push(json!({
                "region": name,
                "id": image.id,
                "name": image.name,
                "state": image.state.name(),
                "layers": tree.map(crate::runtime::Tree::layers),
            }));
        }
    }
    Value::Array(all)
}

fn instances(lab: &Lab) -> Value {
    let mut all = Vec::new();
    for name in lab.ec2.regions.keys() {
        let Ok(region) = lab.ec2.region(name) else {
            continue;
        };
        for instance in region.instances.values() {
            all.push(json!({
                "region": name,
                "id": instance.id,
                "state": instance.state.name(),
                "zone": instance.zone,
                "image": instance.image,
                "address": (instance.state != InstanceState::Terminated).then_some(instance.private_ip),
                "directory": lifecycle::machine(lab, instance).directory,
            }));
        }
    }
    Value::Array(all)
}
