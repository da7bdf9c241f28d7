//! Requests of the load over one HTTP/1.1 connection.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tidewire_core::wire::Codec;
use tokio::net::TcpStream;

/// A connection to the server.
#[derive(Debug)]
pub(super) struct Requests {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
    codec: Codec,
}

impl Requests {
    pub(super) async fn open(address: SocketAddr, codec: Codec) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("no connection to {address} (open files: `ulimit -Hn`)"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Whoever uses it hears of its end.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host: address.to_string(),
            codec,
        })
    }

    /// Sends a request; what comes of it is the answer.
    pub(super) async fn post(
        &mut self,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<Incoming>> + use<>> {
        let request = Request::post(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, self.codec.media_type())
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request);
        Ok(async { good(answer.await?) })
    }
}

fn good(response: Response<Incoming>) -> anyhow::Result<Incoming> {
    let status = response.status();
    ensure!(status == StatusCode::OK, "the server answered {status}");
    Ok(response.into_body())
}
