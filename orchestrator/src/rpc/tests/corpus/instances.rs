//! What EC2 and Auto Scaling say of the instance, and where the connection comes from.

use lab::iam::ACCOUNT;

use super::enrolment::from;
use super::region::ROLE;
use super::stage::Stage;
use super::{Case, How, forge::Attempt};

/// Credentials of another machine: taken from its metadata service, used from here.
fn stolen(stage: &Stage, attempt: &mut Attempt, of: &str) {
    attempt.signing.credentials = stage.machine(of).credentials.clone();
}

pub fn cases() -> Vec<Case> {
    vec![
        from(
            "ann",
            "an instance that never was",
            "instance_unknown",
            |stage, attempt| {
                let id = "i-00000000000000000";
                attempt.signing.credentials = stage.region.session(ACCOUNT, ROLE, id);
            },
        ),
        from(
            "ann",
            "an instance of the account, not of the stack",
            "instance_unknown",
            |stage, attempt| {
                stolen(stage, attempt, "untagged");
            },
        ),
        from(
            "ann",
            "a stopped instance",
            "instance_state",
            |stage, attempt| {
                stolen(stage, attempt, "stopped");
            },
        ),
        from(
            "ann",
            "a terminated instance",
            "instance_state",
            |stage, attempt| {
                // Its role credentials outlive it by hours on AWS; the lab takes them away at once.
                let id = stage.machine("terminated").id.clone();
                attempt.signing.credentials = stage.region.session(ACCOUNT, ROLE, &id);
            },
        ),
        from("abroad", "an instance in another VPC", "vpc", |_, _| {}),
        from(
            "stray",
            "an instance of our template in no group",
            "group",
            |_, _| {},
        ),
        from(
            "unlisted",
            "a member that was launched by hand",
            "template",
            |_, _| {},
        ),
        from(
            "templated",
            "a member of another template",
            "template",
            |_, _| {},
        ),
        Case {
            name: "a member of a template version that was deleted",
            check: "template",
            attack: How::Other(|stage| {
                Box::pin(async move {
                    let kept = stage.world.core.looks.borrow().clone();
                    stage.world.core.looks.send_modify(|look| {
                        let look = std::sync::Arc::make_mut(look);
                        look.observed.template.as_mut().unwrap().versions.clear();
                    });
                    let How::Enrol(enrol) = from("ann", "", "", |_, _| {}).attack else {
                        unreachable!("`from` makes an enrolment");
                    };
                    let heard = stage.enrol(&enrol).await;
                    stage.world.core.looks.send_replace(kept);
                    heard
                })
            }),
        },
        from(
            "imaged",
            "a member of our template with another image",
            "image",
            |_, _| {},
        ),
        from(
            "bob",
            "a node's credentials at another node",
            "source_address",
            |stage, attempt| {
                stolen(stage, attempt, "ann");
            },
        ),
        from(
            "laptop",
            "a node's credentials outside the fleet",
            "source_unknown",
            |_, _| {},
        ),
        from(
            "stopped",
            "the address of an instance that does not run",
            "source_unknown",
            |_, _| {},
        ),
    ]
}
