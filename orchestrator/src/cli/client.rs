//! The operators' connection to a running orchestrator.

use std::path::Path;
use std::time::Duration;

use fleet_proto::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// The control service, as called.
pub type Client = ControlClient<Channel>;

/// Connects to the socket.
pub async fn connect(socket: &Path) -> anyhow::Result<Client> {
    let path = socket.to_owned();
    let channel = Endpoint::from_static("http://orchestrator.local")
        .connect_timeout(Duration::from_secs(3))
        .connect_with_connector(tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await?;
    Ok(ControlClient::new(channel))
}
