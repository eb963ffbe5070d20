//! From a request to what happens with it: which rule, which action, which target group, which target.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;

use super::answer::{self, Body};
use super::backend::{Backend, InFlight};
use super::cookie;
use super::{Client, forward};
use crate::Clock;
use crate::elbv2::action::Action;
use crate::elbv2::condition;
use crate::elbv2::health::Health;
use crate::elbv2::redirect::Requested;
use crate::elbv2::state::{RegionState, Target, TargetGroup};

/// Answers a request.
pub(super) async fn answer(client: Client, request: Request<Incoming>) -> Response<Body> {
    let busy = client.busy();
    match decide(&client, &request) {
        Decision::Forward(choice) => forward::forward(client, *choice, busy, request).await,
        Decision::Unavailable => {
            client.place.shared.recorder.own_answer(None, 503);
            answer::error(503)
        }
        Decision::Redirect(status, location) => {
            client.place.shared.recorder.own_answer(None, status);
            answer::redirect(status, &location)
        }
        Decision::Fixed(status, content_type, body) => {
            client.place.shared.recorder.own_answer(None, status);
            let content_type = content_type.or_else(|| body.as_ref().map(|_| "text/plain".into()));
            let mut response = answer::own(status, None, body.unwrap_or_default());
            if let Some(value) = content_type.and_then(|it| HeaderValue::from_str(&it).ok()) {
                response.headers_mut().insert(CONTENT_TYPE, value);
            }
            response
        }
    }
}

enum Decision {
    Forward(Box<Choice>),
    /// No target could take it: none was chosen, and the request counts for no group.
    Unavailable,
    Redirect(u16, String),
    Fixed(u16, Option<String>, Option<String>),
}

/// The target of a request.
#[derive(Debug)]
pub(super) struct Choice {
    /// The target group's ARN.
    pub group: String,
    pub backend: Arc<Backend>,
    pub flight: InFlight,
    /// `Set-Cookie` values for the answer.
    pub cookies: Vec<HeaderValue>,
    /// Of the load balancer, as they were when the request came.
    pub headers: HeaderSettings,
}

/// Attributes that shape the request's headers.
#[derive(Clone, Debug)]
pub(super) struct HeaderSettings {
    /// `append`, `preserve` or `remove`.
    pub forwarded_for: String,
    pub client_port: bool,
}

fn decide(client: &Client, request: &Request<Incoming>) -> Decision {
    let place = &client.place;
    let host = host_of(request);
    let facts = condition::Request {
        host: &host,
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        method: request.method().as_str(),
        headers: request.headers(),
        source: client.peer.ip(),
    };
    place.lab.elbv2.with(&place.region, |state| {
        let Some(listener) = state.listeners.get_mut(&place.listener) else {
            return Decision::Unavailable;
        };
        let rule = listener
            .rules
            .iter_mut()
            .find(|rule| rule.conditions.iter().all(|it| it.holds(&facts)))
            .unwrap_or(&mut listener.default);
        let (groups, sticky) = match &rule.action {
            Action::Forward { groups, sticky } => (groups, *sticky),
            Action::Redirect(redirect) => {
                let location = redirect.location(&Requested {
                    protocol: if client.tls { "https" } else { "http" },
                    host: &host,
                    port: place.port,
                    path: facts.path,
                    query: facts.query,
                });
                return Decision::Redirect(redirect.status, location);
            }
            Action::Fixed {
                status,
                content_type,
                body,
            } => return Decision::Fixed(*status, content_type.clone(), body.clone()),
        };
        let now = place.lab.clock.now();
        let mut cookies = Vec::new();
        let kept = sticky.and_then(|_| {
            cookie::read(request.headers(), cookie::GROUP, now)
                .filter(|(arn, _)| groups.iter().any(|(group, _)| group == arn))
        });
        let (group, until) = match kept {
            Some((arn, until)) => (arn, Some(until)),
            None => match rule.turn.pick(groups) {
                Some(arn) => (arn, None),
                None => return Decision::Unavailable,
            },
        };
        if let Some(seconds) = sticky {
            let real = place.lab.clock.real(Duration::from_secs(seconds.into()));
            let until = until.unwrap_or_else(|| cookie::expiry(now, real));
            cookies.extend(cookie::write(cookie::GROUP, &group, until));
        }
        match choose_target(state, client, request, group, cookies) {
            Some(choice) => Decision::Forward(Box::new(choice)),
            None => Decision::Unavailable,
        }
    })
}

/// The target within a group; none when no target can take it.
fn choose_target(
    state: &mut RegionState,
    client: &Client,
    request: &Request<Incoming>,
    arn: String,
    mut cookies: Vec<HeaderValue>,
) -> Option<Choice> {
    let clock = &client.place.lab.clock;
    let headers = state
        .listeners
        .get(&client.place.listener)
        .and_then(|listener| state.load_balancers.get(&listener.load_balancer))
        .map(|balancer| HeaderSettings {
            forwarded_for: balancer
                .attributes
                .text("routing.http.xff_header_processing.mode")
                .to_owned(),
            client_port: balancer
                .attributes
                .flag("routing.http.xff_client_port.enabled"),
        })?;
    let group = state.target_groups.get_mut(&arn)?;
    let sticky = group.attributes.flag("stickiness.enabled");
    let now = clock.now();
    let eligible = eligible(group);
    if eligible.is_empty() {
        return None;
    }
    let kept = cookie::read(request.headers(), cookie::TARGET, now)
        .filter(|_| sticky)
        .and_then(|(number, _)| number.parse::<u64>().ok())
        .filter(|number| eligible.contains(number));
    let number = match kept {
        Some(number) => number,
        None => by_algorithm(group, &eligible, clock)?,
    };
    if sticky {
        let lab = group
            .attributes
            .seconds("stickiness.lb_cookie.duration_seconds");
        let until = cookie::expiry(now, clock.real(lab));
        cookies.extend(cookie::write(cookie::TARGET, &number.to_string(), until));
    }
    let target = group.registration(number)?;
    Some(Choice {
        backend: Arc::clone(&target.backend),
        flight: target.backend.begin(),
        group: arn,
        cookies,
        headers,
    })
}

/// The registrations that may take a new request: the healthy ones; all that are in use when fewer
/// are healthy than `unhealthy_state_routing` asks for (by default: when none is).
fn eligible(group: &TargetGroup) -> Vec<u64> {
    let numbers = |test: fn(&Health) -> bool| -> Vec<u64> {
        group
            .targets
            .iter()
            .filter(|target| test(&target.health))
            .map(|target| target.registration)
            .collect()
    };
    let healthy = numbers(Health::is_healthy);
    let all = numbers(Health::may_fail_open);
    let key = |what: &str| {
        format!("target_group_health.unhealthy_state_routing.minimum_healthy_targets.{what}")
    };
    let count = group.attributes.number(&key("count")).unwrap_or(1) as usize;
    let percentage = group.attributes.number(&key("percentage")).unwrap_or(0) as usize;
    if healthy.len() < count.min(all.len()).max(1) || healthy.len() * 100 < percentage * all.len() {
        all
    } else {
        healthy
    }
}

/// A target's share of the traffic, 1 to 100: all of it, or what slow start allows it.
fn share(target: &Target, slow_start: Duration, clock: &Clock) -> u32 {
    match target.healthy_since {
        Some(since) if !slow_start.is_zero() => {
            let part = clock.elapsed(since).as_secs_f64() / slow_start.as_secs_f64();
            (part * 100.0).clamp(1.0, 100.0) as u32
        }
        _ => 100,
    }
}

fn by_algorithm(group: &mut TargetGroup, eligible: &[u64], clock: &Clock) -> Option<u64> {
    let least =
        group.attributes.text("load_balancing.algorithm.type") == "least_outstanding_requests";
    let slow_start = group.attributes.seconds("slow_start.duration_seconds");
    let candidates = || {
        group
            .targets
            .iter()
            .filter(|target| eligible.contains(&target.registration))
    };
    let fewest = candidates()
        .map(|target| target.backend.in_flight())
        .min()?;
    let options: Vec<(u64, u32)> = candidates()
        .filter(|target| !least || target.backend.in_flight() == fewest)
        .map(|target| (target.registration, share(target, slow_start, clock)))
        .collect();
    group.turn.pick(&options)
}

/// The host that a request is for, without the port.
fn host_of(request: &Request<Incoming>) -> String {
    let authority = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .or_else(|| {
            let value = request.headers().get(HOST)?.to_str().ok()?;
            Some(value.to_owned())
        })
        .unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => authority,
    }
}
