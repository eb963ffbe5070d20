//! The licence's texts, as its secret in Secrets Manager holds them, and what a text says of itself.
//!
//! A licence of Mattermost is the base64 of a JSON document with a signature of 256 bytes behind it. The
//! signature is the server's affair: what is read here is for people (when does it end), and decides
//! nothing about a node. No text is ever logged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud::SecretVersion;
use fleet_proto::v1;
use jiff::Timestamp;
use plan::intent::LicenceRecord;
use plan::observed::{Licence, NoText, Term, UnreadLicence};
use plan::{NodeGoal, Observed, Spec};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::Instant;

use crate::core::Core;
use crate::store::Snapshot;

/// While an earlier version is being put in force again, that is seen within this.
const SOON: Duration = Duration::from_secs(5);
/// The signature at the end: RSA with 2048 bits.
const SIGNATURE: usize = 256;
/// Mattermost stores at most 10,000 characters of a licence; nothing longer is read.
const LONGEST: usize = 16_384;
/// Characters of a name in it that are kept.
const LONGEST_NAME: usize = 120;

/// Why a text is not read as a licence. The text is in none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReadable {
    /// Longer than any licence.
    #[error("it has {0} characters, a licence has at most {LONGEST}")]
    TooLong(usize),
    /// Not base64.
    #[error("it is not base64")]
    Encoding,
    /// Too short for a document with a signature behind it.
    #[error("it has {0} bytes, a licence has more than {SIGNATURE}")]
    TooShort(usize),
    /// What stands before the signature is not a licence's JSON document.
    #[error("what it holds is not a licence's document")]
    Document,
    /// A time-stamp outside of the calendar, or an end before its beginning.
    #[error("its term is not one")]
    Term,
}

/// The members of Mattermost's document that are of use here.
#[derive(Deserialize)]
struct Document {
    id: String,
    /// Milliseconds since 1970.
    starts_at: i64,
    /// Milliseconds since 1970.
    expires_at: i64,
    #[serde(default)]
    sku_short_name: String,
    #[serde(default)]
    customer: Option<Customer>,
    #[serde(default)]
    features: Option<Features>,
}

#[derive(Deserialize)]
struct Customer {
    #[serde(default)]
    name: String,
    #[serde(default)]
    company: String,
}

#[derive(Default, Deserialize)]
struct Features {
    cluster: Option<bool>,
    /// What a feature is that the document does not name; on when it is not named itself.
    future_features: Option<bool>,
}

/// What a licence's text says of its term and features.
pub fn term(text: &str) -> Result<Term, NotReadable> {
    if text.len() > LONGEST {
        return Err(NotReadable::TooLong(text.len()));
    }
    // As Go's decoder does, line ends are passed over.
    let text: String = text
        .trim()
        .chars()
        .filter(|c| !matches!(c, '\n' | '\r'))
        .collect();
    let bytes = STANDARD.decode(text).map_err(|_| NotReadable::Encoding)?;
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let document = end
        .checked_sub(SIGNATURE)
        .filter(|length| *length > 0)
        .and_then(|length| bytes.get(..length))
        .ok_or(NotReadable::TooShort(end))?;
    // The parser's error may quote the text.
    let document: Document = serde_json::from_slice(document).map_err(|_| NotReadable::Document)?;
    let moment = |ms| Timestamp::from_millisecond(ms).map_err(|_| NotReadable::Term);
    let (starts, expires) = (moment(document.starts_at)?, moment(document.expires_at)?);
    if expires < starts {
        return Err(NotReadable::Term);
    }
    let features = document.features.unwrap_or_default();
    let customer = document.customer.map(|customer| {
        if customer.company.is_empty() {
            customer.name
        } else {
            customer.company
        }
    });
    Ok(Term {
        id: short(&document.id),
        starts,
        expires,
        cluster: features
            .cluster
            .or(features.future_features)
            .unwrap_or(true),
        sku: short(&document.sku_short_name),
        customer: short(&customer.unwrap_or_default()),
    })
}

/// Printable and bounded: it goes to a terminal.
fn short(name: &str) -> String {
    name.chars()
        .filter(|letter| !letter.is_control())
        .take(LONGEST_NAME)
        .collect()
}

/// The texts that nodes may be given, by version id.
#[derive(Clone, Debug, Default)]
pub struct Licences(BTreeMap<String, SecretString>);

impl Licences {
    /// These texts.
    pub fn new(texts: impl IntoIterator<Item = (String, SecretString)>) -> Self {
        Self(texts.into_iter().collect())
    }

    /// The text that a node with this goal gets.
    pub fn of(&self, goal: &NodeGoal) -> Option<&SecretString> {
        self.0.get(goal.licence()?)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether these are texts of the same versions. The text of a version never changes.
    pub fn are(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }
}

/// The licence in force as `status` shows it.
pub fn row(spec: &Spec, observed: &Observed) -> Option<v1::ResourceState> {
    let name = spec.mattermost.licence_secret.clone()?;
    let seen = observed.licence.as_ref();
    let unread = observed.licence_unread.as_ref();
    let state = seen.map(|seen| match seen.terms.get(&seen.current) {
        Some(term) => end(term),
        None => "its end is not known".to_owned(),
    });
    let unread = unread.map(|unread| format!("the secret {}", unread.why));
    let state: Vec<String> = state.into_iter().chain(unread).collect();
    (!state.is_empty()).then(|| v1::ResourceState {
        kind: "licence".to_owned(),
        name,
        id: seen.map_or_else(String::new, |seen| format!("version {}", seen.current)),
        state: state.join("; "),
    })
}

/// Kind, end and reach of a licence, for people.
pub fn end(term: &Term) -> String {
    let cluster = if term.cluster { "with" } else { "without" };
    let end = term.expires.strftime("%Y-%m-%d");
    let text = format!("{} until {end}, {cluster} cluster", term.sku);
    text.trim().to_owned()
}

/// The licence as it is known at one look.
#[derive(Debug, Default)]
pub struct Known {
    /// What its secret holds, as it was read last.
    pub licence: Option<Licence>,
    /// Why the newest read gave no text.
    pub unread: Option<UnreadLicence>,
    /// The texts that are at hand.
    pub texts: Licences,
}

/// What was read of the licence's secret so far.
#[derive(Debug, Default)]
pub struct Reader {
    read: Option<Instant>,
    current: Option<String>,
    /// Why the newest read of the version in force gave no text.
    unread: Option<NoText>,
    texts: BTreeMap<String, SecretString>,
    terms: BTreeMap<String, Term>,
}

impl Reader {
    /// The licence as it is known now. Its secret is the operator's, not the stack's: it is read by name,
    /// now and then; what was read before stays good when a read fails, so that nodes do not lose it.
    /// While it cannot be read, that is tried at every look: somebody waits for it.
    pub async fn observe(&mut self, core: &Core, snapshot: &Snapshot) -> Known {
        let Some(secret) = &core.spec.mattermost.licence_secret else {
            return Known::default();
        };
        let record = &snapshot.record.licence;
        if self
            .read
            .is_none_or(|at| at.elapsed() >= self.pause(record, core.ages().state))
        {
            let answer = core.cloud.read_secret_version(secret, None).await;
            self.take(secret, answer);
            let wanted = self.wanted(record, snapshot);
            for id in &wanted {
                self.read_earlier(core, secret, id).await;
            }
            self.texts.retain(|id, _| wanted.contains(id));
            self.terms.retain(|id, _| wanted.contains(id));
        }
        self.known()
    }

    /// What was read so far. Where the version in force was never read, the texts of earlier ones are good all
    /// the same: nodes that were told one, and the proven one, do not wait for another.
    fn known(&self) -> Known {
        let readable: BTreeSet<String> = self.texts.keys().cloned().collect();
        Known {
            licence: self.current.clone().map(|current| Licence {
                current,
                readable: readable.clone(),
                terms: self.terms.clone(),
            }),
            unread: self
                .unread
                .clone()
                .map(|why| UnreadLicence { why, readable }),
            texts: Licences::new(self.texts.clone()),
        }
    }

    /// Until the next read: a renewed licence reaches the nodes within `state`.
    fn pause(&self, record: &LicenceRecord, state: Duration) -> Duration {
        let refused = record.refused.as_ref().map(|refused| &refused.version);
        if refused.is_some() && refused == self.current.as_ref() {
            SOON
        } else {
            state
        }
    }

    /// The version in force, the proven one, and what nodes were told: these alone are kept.
    fn wanted(&self, record: &LicenceRecord, snapshot: &Snapshot) -> BTreeSet<String> {
        let told = snapshot.nodes.values().filter(|row| !row.revoked);
        let told = told.filter_map(|row| row.goal.as_ref()?.licence());
        told.map(str::to_owned)
            .chain(self.current.clone())
            .chain(record.proven.clone())
            .collect()
    }

    /// The answer for the version in force.
    fn take(&mut self, secret: &str, answer: Result<SecretVersion, NoText>) {
        match answer {
            Ok(version) => {
                self.read = Some(Instant::now());
                self.unread = None;
                self.current = Some(version.id.clone());
                self.keep(version.id, version.text);
            }
            Err(why) => {
                log::warn!("licence: {}", why.words(secret));
                self.unread = Some(why);
            }
        }
    }

    async fn read_earlier(&mut self, core: &Core, secret: &str, id: &str) {
        if self.texts.contains_key(id) {
            return;
        }
        match core.cloud.read_secret_version(secret, Some(id)).await {
            Ok(version) => self.keep(version.id, version.text),
            Err(why) => log::warn!("licence: version {id}: {}", why.words(secret)),
        }
    }

    fn keep(&mut self, id: String, text: SecretString) {
        if self.texts.contains_key(&id) {
            return;
        }
        match term(text.expose_secret()) {
            Ok(term) => drop(self.terms.insert(id.clone(), term)),
            Err(error) => log::warn!("version {id} of the licence is not readable: {error}"),
        }
        self.texts.insert(id, text);
    }
}

#[cfg(test)]
mod tests;
