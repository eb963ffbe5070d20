//! What EC2 and RDS offer of what the specification names.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Asked once in a while: types and zones change by the month. None: not asked, or the answer is missing
/// (`Observed::unknown`: `offers/instance_type`, `offers/db_class`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    /// The fleet's instance type.
    pub instance_type: Option<TypeOffer>,
    /// The database's class.
    pub db_class: Option<ClassOffer>,
}

/// An EC2 instance type in the home region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeOffer {
    /// As the specification names it.
    pub name: String,
    /// `x86_64`, `arm64`, …, in EC2's words. Empty: the region has no such type.
    pub architectures: BTreeSet<String>,
    /// Zones that offer it.
    pub zones: BTreeSet<String>,
}

/// A DB instance class in the home region, with PostgreSQL on the storage that we order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassOffer {
    /// As the specification names it.
    pub name: String,
    /// Zones that offer it, by engine version. Empty: the region has no such class for PostgreSQL.
    pub zones: BTreeMap<String, BTreeSet<String>>,
}
