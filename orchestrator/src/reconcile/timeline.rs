//! What a decision makes happen, as events: the time line of console and CLI is drawn from them.

use plan::Decision;
use plan::intent::{Intent, Phase};

use crate::store::{NewEvent, phase_name};

/// What this decision makes happen, for the time line.
pub(super) fn events(
    intent: &Intent,
    decision: &Decision,
    before: Option<&Decision>,
) -> Vec<NewEvent> {
    let mut events = Vec::new();
    let subject = intent
        .rollout
        .as_ref()
        .map_or_else(|| intent.spec.stack.clone(), |rollout| rollout.id.clone());
    let was = intent
        .rollout
        .as_ref()
        .map(|rollout| &rollout.phase)
        .or_else(|| before.map(|before| &before.next));
    if was != Some(&decision.next) {
        let cause = match &decision.next {
            Phase::Stuck { reason } => reason.clone(),
            _ => decision
                .reasons
                .first()
                .map(|reason| reason.text.clone())
                .unwrap_or_default(),
        };
        events.push(NewEvent {
            subject: subject.clone(),
            what: format!("phase {}", phase_name(&decision.next)),
            cause,
        });
    } else if let (Some(now), old) = (
        decision.reasons.first(),
        before.and_then(|before| before.reasons.first()),
    ) && old.is_none_or(|old| old.gate != now.gate)
    {
        events.push(NewEvent {
            subject,
            what: "waits".to_owned(),
            cause: now.text.clone(),
        });
    }
    events.extend(decision.record.iter().flat_map(|record| {
        let changed = record.salts.iter().filter_map(|(name, now)| {
            let before = intent.record.salts.get(name)?;
            (before != now).then(|| NewEvent {
                subject: intent.spec.stack.clone(),
                what: "salt".to_owned(),
                cause: plan::configuration::changed(name, before, now),
            })
        });
        changed.collect::<Vec<_>>()
    }));
    for action in &decision.actions {
        let again =
            before.is_some_and(|before| before.actions.iter().any(|old| old.key() == action.key()));
        if !again {
            events.push(NewEvent {
                subject: action.key(),
                what: "effect".to_owned(),
                cause: String::new(),
            });
        }
    }
    events
}
