//! Instance type and database class: whether AWS has them where the stack is to be, and for its image.

use plan::observed::{Image, Observed};
use plan::{Spec, class_problem, launch_problems};

/// A check by name, with what was found.
pub(super) type Found = (String, Result<String, String>);

/// Both. Without a network nothing is said: the zones are not known, and the check of the network failed.
pub(super) fn offers(spec: &Spec, observed: &Observed, image: Option<&Image>) -> Vec<Found> {
    let Some(network) = &observed.network else {
        return Vec::new();
    };
    let unread = |key: &str| {
        let why = observed.unknown.get(key);
        Err(why
            .map_or("it was not asked for", String::as_str)
            .to_owned())
    };
    let zones = network.zones();
    let kind = observed.offers.instance_type.as_ref().map_or_else(
        || unread("offers/instance_type"),
        |offer| {
            let problems = launch_problems(spec, network, offer, image);
            if problems.is_empty() {
                Ok(format!("`{}` is offered in {zones}", offer.name))
            } else {
                Err(problems.join("; "))
            }
        },
    );
    let class = observed.offers.db_class.as_ref().map_or_else(
        || unread("offers/db_class"),
        |offer| match class_problem(spec, network, offer, &observed.engine_versions) {
            None => Ok(format!("`{}` is offered", offer.name)),
            Some(problem) => Err(problem),
        },
    );
    vec![
        ("instance type".to_owned(), kind),
        ("database class".to_owned(), class),
    ]
}
