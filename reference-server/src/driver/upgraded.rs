//! What the upgrade of an HTTP connection leaves.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection that HTTP is done with.
pub(super) enum Upgraded {
    /// Of our own accept loop: the bare socket. The layers of HTTP would be most of what an idle one costs beside its task.
    Socket(TcpStream),
    /// Of a program that serves our routes itself.
    Layered(Box<TokioIo<hyper::upgrade::Upgraded>>),
}

impl Upgraded {
    /// With what was read behind the request.
    pub(super) fn new(upgraded: hyper::upgrade::Upgraded) -> (Self, Bytes) {
        match downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => (Self::Socket(parts.io.into_inner()), parts.read_buf),
            // It hands out what was read by itself.
            Err(upgraded) => {
                let layered = Box::new(TokioIo::new(upgraded));
                (Self::Layered(layered), Bytes::new())
            }
        }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Layered(layered) => Pin::new(layered).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Layered(layered) => Pin::new(layered).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Layered(layered) => Pin::new(layered).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_write_vectored(),
            Self::Layered(layered) => layered.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_flush(cx),
            Self::Layered(layered) => Pin::new(layered).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Layered(layered) => Pin::new(layered).poll_shutdown(cx),
        }
    }
}
