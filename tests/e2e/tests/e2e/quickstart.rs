//! `quickstart-native` as people start it: one edit, a prompt, a watcher.

use std::process::{Output, Stdio};

use serde_json::json;
use tidewire::Collection;
use tidewire_core::document::Rejection;
use tidewire_core::wire::{ChangeKind, ErrorCode};
use tidewire_e2e::{Board, program, until, within};
use tidewire_server::TestServer;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// A board with two columns, the second of them locked.
async fn board_server() -> (TestServer, Board) {
    let server = TestServer::start_with(|builder| {
        builder.validate("board", |_view, who, change| match &change.kind {
            Some(ChangeKind::Set(record) | ChangeKind::Put(record))
                if who.name() != "owner"
                    && record.fields.iter().any(|f| f.value == *"\"done\"") =>
            {
                Err(Rejection::new(
                    ErrorCode::Refused,
                    "the column Done is locked",
                ))
            }
            _ => Ok(()),
        })
    })
    .await;
    let owner = Board::join(&server.url(), "owner").await;
    let columns: Collection<()> = owner.channel.collection("columns");
    let mutations = [
        columns.put("todo", json!({"title": "To do", "order": 1})),
        columns.put("done", json!({"title": "Done", "order": 2, "locked": true})),
        owner.cards.put(
            "c1",
            json!({"title": "Old card", "column": "todo", "order": 1, "by": "owner"}),
        ),
    ];
    for mutation in mutations {
        let mutation = mutation.expect("the put is taken");
        within("the board is set up", mutation.committed())
            .await
            .expect("nothing refuses it");
    }
    (server, owner)
}

fn quickstart(server: &TestServer, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("quickstart-native"));
    command
        .args(["--url", &server.url(), "--name", name])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Output {
    within("the program ends", command.output())
        .await
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn single_edits_reach_everyone_or_say_why_not() {
    let (server, owner) = board_server().await;
    let added = output(quickstart(&server, "ana", &["add", "Buy", "milk"])).await;
    assert!(added.status.success(), "{added:?}");
    let id = text(&added.stdout)
        .trim()
        .rsplit_once('[')
        .and_then(|(_, id)| Some(id.strip_suffix(']')?.to_owned()))
        .expect("it prints the id in brackets");
    until("the owner has the card", || owner.cards.json(&id).is_some()).await;
    assert_eq!(owner.card(&id).title, "Buy milk");

    let renamed = output(quickstart(
        &server,
        "ana",
        &["rename", &id[..6], "Buy oat milk"],
    ))
    .await;
    assert!(renamed.status.success(), "{renamed:?}");
    until("it is renamed", || owner.card(&id).title == "Buy oat milk").await;

    let refused = output(quickstart(&server, "ana", &["move", &id, "Done"])).await;
    assert_eq!(refused.status.code(), Some(1));
    let reason = text(&refused.stderr);
    assert!(
        reason.contains("refused: the column Done is locked"),
        "{reason}"
    );

    let deleted = output(quickstart(&server, "ana", &["delete", "c1"])).await;
    assert!(deleted.status.success(), "{deleted:?}");
    until("it is deleted", || owner.cards.json("c1").is_none()).await;

    let unknown = output(quickstart(&server, "ana", &["delete", "c1"])).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no card begins with \"c1\""));
}

/// Reads lines until one has this part.
async fn line_with(
    lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    part: &str,
) -> String {
    within(part, async {
        loop {
            let line = lines.next_line().await.expect("it can be read");
            let line = line.unwrap_or_else(|| panic!("it ended without saying {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    })
    .await
}

/// Reads lines until each of these parts was said, in whichever order.
async fn lines_with(
    lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    parts: &[&str],
) {
    let mut missing = parts.to_vec();
    within(&parts.join(", "), async {
        while !missing.is_empty() {
            let line = lines.next_line().await.expect("it can be read");
            let line = line.unwrap_or_else(|| panic!("it ended without saying {missing:?}"));
            missing.retain(|part| !line.contains(part));
        }
    })
    .await;
}

#[tokio::test]
async fn the_prompt_shows_what_others_do_and_why_edits_are_refused() {
    let (mut server, owner) = board_server().await;
    let mut child: Child = quickstart(&server, "ana", &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    // The connection and the board are watched apart: on a busy machine the board may be looked at first.
    let shown = [
        "~ connected as ana",
        "To do [todo]",
        "Old card",
        "Done [done]  locked",
    ];
    lines_with(&mut lines, &shown).await;

    let put = owner
        .cards
        .set("c1", json!({"title": "New title"}))
        .expect("the set is taken");
    line_with(&mut lines, "~ \"Old card\" is \"New title\" now").await;
    within("the set is logged", put.committed())
        .await
        .expect("nothing refuses it");

    input.write_all(b"move c1 done\n").await.expect("it reads");
    line_with(&mut lines, "! rejected: refused: the column Done is locked").await;
    input
        .write_all(b"add From the prompt\n")
        .await
        .expect("it reads");
    line_with(&mut lines, "+ \"From the prompt\" in To do").await;

    server.restart().await;
    // `~ waiting` may be missing: a watch shows the latest state, and the first pause can be next to none.
    line_with(&mut lines, "~ connected as ana").await;
    let there = || {
        let mut cards = owner.cards.all().into_iter();
        cards.any(|(_, card)| card.is_ok_and(|card| card.title == "From the prompt"))
    };
    until("the owner has the new card", there).await;

    input.write_all(b"quit\n").await.expect("it reads");
    let status = within("it ends", child.wait()).await.expect("a child");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_watcher_prints_what_happens() {
    let (server, owner) = board_server().await;
    let mut child = quickstart(&server, "ana", &["watch"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    line_with(&mut lines, "Old card").await;
    until("the owner sees the watcher", || {
        !owner.channel.presence().peers().is_empty()
    })
    .await;
    owner
        .channel
        .presence()
        .set(json!({"name": "Olga"}))
        .expect("small");
    line_with(&mut lines, "* Olga is here").await;
    let delete = owner.cards.delete("c1").expect("the delete is taken");
    line_with(&mut lines, "- \"Old card\" is gone").await;
    within("the delete is logged", delete.committed())
        .await
        .expect("nothing refuses it");
    within("it is stopped", child.kill())
        .await
        .expect("an own child");
}
