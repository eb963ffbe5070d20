//! An upgraded connection: bytes both ways until one side ends it, both are silent for the idle
//! time-out, the target's deregistration delay is over, or the listener goes.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::Client;
use super::route::Choice;
use super::stream::Activity;

/// Carries bytes; the choice's place in the target's in-flight count is held to the end.
pub(super) async fn carry(
    client: Client,
    choice: Choice,
    upstream: Activity,
    from_client: OnUpgrade,
    from_target: OnUpgrade,
) {
    let work = async {
        let (client, target) = match tokio::try_join!(from_client, from_target) {
            Ok(both) => both,
            Err(error) => {
                log::debug!("upgrade to {}: {error}", choice.backend.address);
                return;
            }
        };
        let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut target).await;
    };
    let shared = &client.place.shared;
    let both = vec![client.activity.clone(), upstream];
    tokio::select! {
        () = work => {}
        () = Activity::idle(both, shared.idle.subscribe()) => {}
        () = choice.backend.cut.cancelled() => {}
        () = client.closed.cancelled() => {}
        () = shared.gone.cancelled() => {}
    }
}
