//! What RDS offers of a class.

use std::collections::{BTreeMap, BTreeSet};

use plan::action::DB_STORAGE_TYPE;
use plan::observed::ClassOffer;

use super::observe::ENGINE;
use crate::connect::Cloud;
use crate::error::{Called, ReadError};

impl Cloud {
    /// The class in the home region, on the storage that we order. One that RDS does not know is in no zone.
    pub(crate) async fn observe_class_offer(&self, name: &str) -> Result<ClassOffer, ReadError> {
        let options = self
            .look()
            .rds
            .describe_orderable_db_instance_options()
            .engine(ENGINE)
            .db_instance_class(name)
            .vpc(true)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("rds:DescribeOrderableDBInstanceOptions")?;
        let mut zones: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for option in &options {
            let (Some(version), Some(DB_STORAGE_TYPE)) =
                (option.engine_version(), option.storage_type())
            else {
                continue;
            };
            let named = option.availability_zones().iter();
            zones
                .entry(version.to_owned())
                .or_default()
                .extend(named.filter_map(|zone| zone.name().map(str::to_owned)));
        }
        Ok(ClassOffer {
            name: name.to_owned(),
            zones,
        })
    }
}
