//! What is offered of the type and the class that the specification names.

use futures_util::{FutureExt, join};
use plan::observed::Offers;

use crate::connect::Cloud;
use crate::error::ReadError;
use crate::kept::Pass;
use crate::observe::Answers;
use crate::scope::Scope;

/// What was read, and of what was not why, by the key of `Observed::unknown`.
pub(crate) type OffersRead = (Offers, Vec<(&'static str, ReadError)>);

impl Cloud {
    /// Both offers. A failed read is tried again with the next pass.
    pub(crate) async fn observe_offers(
        &self,
        (pass, kept): (&Pass<'_>, &Answers),
        scope: &Scope,
    ) -> OffersRead {
        let (kind, class) = (&scope.spec.fleet.instance_type, &scope.spec.database.class);
        let (of_kind, of_class) = (
            self.observe_type_offer(kind).boxed(),
            self.observe_class_offer(class).boxed(),
        );
        let (kind, class) = join!(
            kept.type_offer.or(pass, kind, of_kind),
            kept.class_offer.or(pass, class, of_class),
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
}
