//! What is offered of the type and the class that the specification names, asked once in a quarter of an hour.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, join};
use plan::observed::{ClassOffer, Offers, TypeOffer};

use crate::connect::Cloud;
use crate::error::ReadError;
use crate::scope::Scope;

/// How long an answer holds: what AWS offers changes by the month, and the class alone costs several calls.
const HOLDS: Duration = Duration::from_secs(15 * 60);

/// The last answers.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    instance_type: Option<(Instant, TypeOffer)>,
    db_class: Option<(Instant, ClassOffer)>,
}

/// An answer that still holds, about this name.
fn held<T: Clone>(
    answer: Option<&(Instant, T)>,
    name: impl Fn(&T) -> &str,
    wanted: &str,
) -> Option<T> {
    let (at, answer) = answer?;
    (at.elapsed() < HOLDS && name(answer) == wanted).then(|| answer.clone())
}

impl Asked {
    fn with<R>(&self, f: impl FnOnce(&mut Answers) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was read, and of what was not why, by the key of `Observed::unknown`.
pub(crate) type OffersRead = (Offers, Vec<(&'static str, ReadError)>);

impl Cloud {
    /// Both offers. A failed read is tried again with the next look.
    pub(crate) async fn observe_offers(&self, scope: &Scope) -> OffersRead {
        let (kind, class) = join!(
            self.type_offer(&scope.spec.fleet.instance_type).boxed(),
            self.class_offer(&scope.spec.database.class).boxed(),
        );
        let mut unread = Vec::new();
        let mut offers = Offers::default();
        match kind {
            Ok(offer) => offers.instance_type = Some(offer),
            Err(error) => unread.push(("offers/instance_type", error)),
        }
        match class {
            Ok(offer) => offers.db_class = Some(offer),
            Err(error) => unread.push(("offers/db_class", error)),
        }
        (offers, unread)
    }

    async fn type_offer(&self, name: &str) -> Result<TypeOffer, ReadError> {
        let asked = self.offers_asked();
        let last = asked.with(|last| held(last.instance_type.as_ref(), |it| &it.name, name));
        if let Some(offer) = last {
            return Ok(offer);
        }
        let offer = self.observe_type_offer(name).await?;
        asked.with(|last| last.instance_type = Some((Instant::now(), offer.clone())));
        Ok(offer)
    }

    async fn class_offer(&self, name: &str) -> Result<ClassOffer, ReadError> {
        let asked = self.offers_asked();
        let last = asked.with(|last| held(last.db_class.as_ref(), |it| &it.name, name));
        if let Some(offer) = last {
            return Ok(offer);
        }
        let offer = self.observe_class_offer(name).await?;
        asked.with(|last| last.db_class = Some((Instant::now(), offer.clone())));
        Ok(offer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_its_name_and_a_while() {
        let offer = TypeOffer {
            name: "m7i.large".to_owned(),
            ..TypeOffer::default()
        };
        let fresh = Some((Instant::now(), offer.clone()));
        let name = |it: &TypeOffer| it.name.clone();
        let ask = |answer: Option<&(Instant, TypeOffer)>, wanted: &str| {
            held(answer, |it| &it.name, wanted).map(|it| name(&it))
        };
        assert_eq!(ask(fresh.as_ref(), "m7i.large"), Some(name(&offer)));
        assert_eq!(ask(fresh.as_ref(), "m7g.large"), None);
        assert_eq!(ask(None, "m7i.large"), None);
        if let Some(long_ago) = Instant::now().checked_sub(HOLDS) {
            assert_eq!(ask(Some(&(long_ago, offer)), "m7i.large"), None);
        }
    }
}
