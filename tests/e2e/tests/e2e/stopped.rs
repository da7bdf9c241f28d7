//! A program that the system stops for longer than the server waits, as the sleep of a laptop does.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tidewire::Client;
use tidewire_e2e::{Board, quick, until, within};
use tidewire_server::{Config, Principal};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};

/// A server lets go who was silent for three of them.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long it may take from waking until what was missed is shown.
const AWAKE: Duration = Duration::from_secs(3);

struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(url: &str, transport: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watching-client"));
        command.args([url, transport]).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let lines = BufReader::new(stdout).lines();
        Self { child, lines }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it runs");
        let pid = Pid::from_raw(id.cast_signed()).expect("it is not 0");
        kill_process(pid, signal).expect("it is ours");
    }

    async fn shows(&mut self, title: &str) {
        loop {
            let line = self.lines.next_line().await.expect("it can be read");
            if line.expect("it runs") == title {
                return;
            }
        }
    }
}

async fn start_server() -> String {
    let mut config = Config::default();
    config.timeouts.set_heartbeat(HEARTBEAT);
    let server = tidewire_server::Server::builder(config)
        .authenticate(|token, _| async move { Ok(Principal::new(token)) })
        .build()
        .expect("good values");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { server.run(listener, std::future::pending()).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_stopped_until_the_server_let_go_shows_what_was_missed_soon_after() {
    join_all(["websocket", "sse", "long-poll"].map(wakes)).await;
}

async fn wakes(transport: &str) {
    let url = start_server().await;
    let ana = Client::builder(&url).token("ana".to_owned());
    let ana = Board::join_as(ana.config(quick()).build().expect("the url is good")).await;
    let put = ana.cards.put("a", json!({"title": "before"}));
    within(transport, put.expect("it is taken").committed())
        .await
        .expect("nothing refuses it");
    let mut ben = Watching::start(&url, transport);
    within(transport, ben.shows("before")).await;
    let is_there = || !ana.channel.presence().peers().is_empty();
    until(transport, is_there).await;

    ben.signal(Signal::STOP);
    until(transport, || !is_there()).await;
    for number in 0..20 {
        let title = json!({"title": number.to_string()});
        let set = ana.cards.set("a", title).expect("it is taken");
        within(transport, set.committed())
            .await
            .expect("nothing refuses it");
    }
    let woken = Instant::now();
    ben.signal(Signal::CONT);
    within(transport, ben.shows("19")).await;
    let took = woken.elapsed();
    assert!(took <= AWAKE, "{transport}: {took:?}");
    until(transport, is_there).await;
}
