//! A box that knows WebSockets by their upgrade: it lets them open, and no further, or resets them. Everything else passes.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A longer head than this is none.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What becomes of a WebSocket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upgrade {
    /// It opens, and swallows every frame.
    Swallowed,
    /// Its request is answered with a reset (RST), and does not reach the server.
    Reset,
}

#[derive(Debug)]
pub(crate) struct UpgradeBox {
    pub(crate) address: SocketAddr,
    accepting: AbortHandle,
}

impl UpgradeBox {
    pub(crate) async fn start(server: SocketAddr, upgrade: Upgrade) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, server, upgrade));
            }
        });
        Ok(Self {
            address,
            accepting: accepting.abort_handle(),
        })
    }
}

impl Drop for UpgradeBox {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, upgrade: Upgrade) -> io::Result<()> {
    let request = head(&mut client).await?;
    let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let is_upgrade = text.contains("\r\nupgrade: websocket");
    if is_upgrade && matches!(upgrade, Upgrade::Reset) {
        return client.set_zero_linger();
    }
    let mut server = TcpStream::connect(server).await?;
    server.write_all(&request).await?;
    if !is_upgrade {
        copy_bidirectional(&mut client, &mut server).await?;
        return Ok(());
    }
    let mut answer = head(&mut server).await?;
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n");
    answer.truncate(end.map_or(answer.len(), |end| end + 4));
    client.write_all(&answer).await?;
    // Both sides are read, so that nobody feels that nothing arrives.
    let (mut sink, mut drain) = (tokio::io::sink(), tokio::io::sink());
    let (up, down) = (
        tokio::io::copy(&mut client, &mut sink),
        tokio::io::copy(&mut server, &mut drain),
    );
    let _ = tokio::join!(up, down);
    Ok(())
}

/// Reads up to the end of a head; what came behind it is kept too.
async fn head(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        if read.len() > HEAD_BYTES_MAX || from.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(read)
}
