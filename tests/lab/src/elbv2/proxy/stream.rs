//! A TCP stream that knows when it last moved a byte, for the idle time-out.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::elbv2::metrics::Open;

/// When a connection last moved a byte. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    began: Instant,
    /// Milliseconds after `began`.
    last: Arc<AtomicU64>,
}

impl Activity {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            last: Arc::default(),
        }
    }

    /// Something moved, or a request began or ended.
    pub fn touch(&self) {
        let now = self.began.elapsed().as_millis() as u64;
        self.last.store(now, Ordering::Relaxed);
    }

    /// How long nothing has moved.
    fn quiet(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }

    /// Returns when nothing has moved on any of `connections` for as long as `limit` says. Cancel-safe.
    pub async fn idle(connections: Vec<Self>, mut limit: watch::Receiver<Duration>) {
        loop {
            let allowed = *limit.borrow_and_update();
            let quiet = connections
                .iter()
                .map(Self::quiet)
                .min()
                .unwrap_or_default();
            let left = allowed.saturating_sub(quiet);
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                changed = limit.changed() => if changed.is_err() {
                    // The load balancer is gone: what it said last holds.
                    tokio::time::sleep(left).await;
                },
            }
        }
    }
}

/// A counted stream with its activity. Shared, so that [`Pulse`] can look at the socket while a
/// connection owns the stream; the socket closes with the stream.
#[derive(Debug)]
pub(super) struct Metered {
    inner: Arc<TcpStream>,
    activity: Activity,
    _open: Open,
}

impl Metered {
    pub fn new(inner: TcpStream, open: Open) -> Self {
        let _ = inner.set_nodelay(true);
        Self {
            inner: Arc::new(inner),
            activity: Activity::new(),
            _open: open,
        }
    }

    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }

    pub fn pulse(&self) -> Pulse {
        Pulse(Arc::downgrade(&self.inner))
    }
}

/// A look at an idle connection's socket.
#[derive(Debug)]
pub(super) struct Pulse(Weak<TcpStream>);

impl Pulse {
    /// Whether the other side has neither closed the connection nor sent anything, as the kernel knows
    /// it now: the task that owns the stream may not have been told yet.
    pub fn is_quiet(&self) -> bool {
        let Some(stream) = self.0.upgrade() else {
            return false;
        };
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(
            rustix::net::recv(&*stream, &mut [0_u8; 1], flags),
            Err(rustix::io::Errno::AGAIN)
        )
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.inner.poll_read_ready(cx))?;
            match self.inner.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    buffer.advance(read);
                    self.activity.touch();
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Metered {
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        mut send: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.inner.poll_write_ready(cx))?;
            match send(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(sent) => {
                    self.activity.touch();
                    return Poll::Ready(Ok(sent));
                }
            }
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |stream| stream.try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(&*self.inner, Shutdown::Write) {
            // The other side was faster.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}
