//! A box that knows WebSockets well enough to let them open, and no further. Everything else passes.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A longer head than this is none.
const HEAD_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Swallow {
    pub(crate) address: SocketAddr,
    accepting: AbortHandle,
}

impl Swallow {
    pub(crate) async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, server));
            }
        });
        Ok(Self {
            address,
            accepting: accepting.abort_handle(),
        })
    }
}

impl Drop for Swallow {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let request = head(&mut client).await?;
    server.write_all(&request).await?;
    let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
    if !text.contains("\r\nupgrade: websocket") {
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
