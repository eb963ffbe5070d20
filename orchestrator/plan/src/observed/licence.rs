//! The licence: what its secret holds, and what servers say of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a running server answers of its licence without a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerLicence {
    /// It runs on a licence.
    pub licensed: bool,
    /// That licence allows a cluster.
    pub cluster: bool,
}

impl ServerLicence {
    /// Whether this is what is wanted: a licence, and one for a cluster where there is to be one.
    pub fn is_taken(self, cluster: bool) -> bool {
        self.licensed && (self.cluster || !cluster)
    }
}

/// The licence's secret in Secrets Manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licence {
    /// Id of the version that is in force there (`AWSCURRENT`).
    pub current: String,
    /// Ids of the versions whose text could be read: these alone can be given to nodes.
    pub readable: BTreeSet<String>,
    /// What the text of each of them says. Not in it: a text that is no licence of the known form.
    pub terms: BTreeMap<String, Term>,
}

/// What a licence's text says of itself. Nothing of it is proven: the signature is the server's affair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The licence's own id.
    pub id: String,
    /// Valid from.
    pub starts: Timestamp,
    /// Valid until.
    pub expires: Timestamp,
    /// It allows a cluster.
    pub cluster: bool,
    /// `professional`, `enterprise`, …; empty when it does not say.
    pub sku: String,
    /// To whom it was given; empty when it does not say.
    pub customer: String,
}
