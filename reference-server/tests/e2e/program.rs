//! Flags, environment, file, printed lines, exit codes.

use std::path::Path;
use std::process::Output;

use crate::support::{Program, command, run};

fn text(output: &Output) -> (i32, String, String) {
    (
        output.status.code().expect("not killed"),
        String::from_utf8_lossy(&output.stdout).into(),
        String::from_utf8_lossy(&output.stderr).into(),
    )
}

#[test]
fn standard_output_is_exactly_the_two_lines() {
    let server = Program::start(&[]);
    assert_eq!(
        server.lines,
        [
            format!("listening http://{}", server.public()),
            format!("admin http://{}", server.admin()),
        ]
    );
    for address in [server.public(), server.admin()] {
        let port: u16 = address.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
        assert_ne!(port, 0);
    }
}

#[tokio::test]
async fn a_drained_server_exits_0_and_a_second_signal_exits_1_at_once() {
    let mut server = Program::start(&[]);
    server.signal("TERM");
    assert_eq!(server.exit_code().await, 0, "{}", server.log());
    let mut server = Program::start(&[]);
    let client = server.client("ana").await;
    server.signal("INT");
    server.logged("draining").await;
    server.signal("INT");
    assert_eq!(server.exit_code().await, 1, "{}", server.log());
    drop(client);
}

#[test]
fn without_a_way_to_authenticate_it_does_not_start_and_names_the_ways() {
    for args in [&["--listen", "127.0.0.1:0"][..], &["check-config"]] {
        let (code, out, err) = text(&run(args));
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(
            err.contains("--dev-auth") && err.contains("authenticate"),
            "{err}"
        );
    }
}

#[test]
fn development_tokens_are_for_loopback_addresses_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let (code, _, err) = text(&run(&["--dev-auth", "--listen", address]));
        assert_eq!(code, 2, "{address}");
        assert!(
            err.contains("listen") && err.contains(address) && err.contains("127.0.0.1"),
            "{err}"
        );
    }
    for address in ["127.0.0.1:0", "[::1]:0", "127.9.9.9:0"] {
        let (code, _, err) = text(&run(&["check-config", "--dev-auth", "--listen", address]));
        assert_eq!(code, 0, "{address}: {err}");
    }
}

#[test]
fn bad_configuration_exits_2_and_names_key_value_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let schema = dir.path().join("no.json");
    std::fs::write(&schema, "{\"$ref\": \"https://example.com/schema.json\"}").unwrap();
    for (toml, key, value, fix) in [
        ("listen = 'nonsense'", "listen", "nonsense", "IP:PORT"),
        ("listen = 7400", "listen", "7400", "IP:PORT"),
        ("admin = 'yes'", "admin", "yes", "off"),
        (
            "broker = 'redis://localhost'",
            "broker",
            "redis://localhost",
            "disk",
        ),
        (
            "broker = 'nats://localhost'",
            "broker",
            "nats://localhost",
            "disk",
        ),
        ("broker = 'tape'", "broker", "tape", "memory"),
        ("data_dir = ''", "data_dir", "", "directory"),
        ("dev_auth = 'yes'", "dev_auth", "yes", "true or false"),
        (
            "allow_origin = ['*']",
            "allow_origin",
            "*",
            "https://app.example.com",
        ),
        (
            "allow_origin = ['https://a.example.com/']",
            "allow_origin",
            "a.example.com",
            "HOST",
        ),
        (
            "allow_origin = 'https://a.example.com'",
            "allow_origin",
            "a.example.com",
            "list",
        ),
        ("drain_grace_ms = -1", "drain_grace_ms", "-1", "from 0"),
        ("connections_max = 0", "connections_max", "0", "from 1"),
        (
            "enable_http_fallback = 1",
            "enable_http_fallback",
            "1",
            "true or false",
        ),
        (
            "fallback_poll_interval_ms = 99",
            "fallback_poll_interval_ms",
            "99",
            "from 100 to 60000",
        ),
        (
            "[timeouts]\npoll_hold_s = 61",
            "timeouts.poll_hold_s",
            "61",
            "from 1 to 60",
        ),
        ("[limits]\nrequests = 0", "limits.requests", "0", "from 1"),
        ("channels_max = 1.5", "channels_max", "1.5", "from 1"),
        ("frame_up_bytes = 0", "frame_up_bytes", "0", "from 32768"),
        (
            "epoch_keys = ['00ff']",
            "epoch_keys",
            "00ff",
            "openssl rand -hex 32",
        ),
        (
            "epoch_keys = 'a'",
            "epoch_keys",
            "a",
            "list of keys, each 64 hex digits",
        ),
        (
            "epoch_keys = ['zzzz000000000000000000000000000000000000000000000000000000000000']",
            "epoch_keys",
            "zzzz… (64 characters",
            "64 hex digits",
        ),
        ("epoch_keys = [7]", "epoch_keys", "7", "64 hex digits"),
        (
            "[timeouts]\nheartbeat_s = 0",
            "timeouts.heartbeat_s",
            "0",
            "from 1 to 60",
        ),
        (
            "[timeouts]\nheartbeat_s = 61",
            "timeouts.heartbeat_s",
            "61",
            "from 1 to 60",
        ),
        ("timeouts = 3", "timeouts", "3", "timeouts.heartbeat_s"),
        ("log = 'a=b=c'", "log", "a=b=c", "info"),
        ("lisen = '127.0.0.1:1'", "lisen", "127.0.0.1:1", "listen"),
        (
            "[namespace.board]\nkind = 'stream'",
            "namespace.board.kind",
            "stream",
            "state",
        ),
        (
            "[namespace.board]\nkind = 'broadcast'",
            "namespace.board.kind",
            "broadcast",
            "state",
        ),
        (
            "[namespace.board]\nhistory = 0",
            "namespace.board.history",
            "0",
            "from 1",
        ),
        (
            "[namespace.board]\nlag = 'wait'",
            "namespace.board.lag",
            "wait",
            "conflate",
        ),
        (
            "[namespace.board]\ncreate = 'never'",
            "namespace.board.create",
            "never",
            "on_use",
        ),
        (
            "[namespace.board]\nhistroy = 1",
            "namespace.board.histroy",
            "1",
            "history",
        ),
        (
            "[namespace.'a b']\nhistory = 1",
            "namespace.\"a b\".history",
            "1",
            "A-Z",
        ),
        ("namespace = 1", "namespace", "1", "[namespace.board]"),
        (
            "[namespace.b.collections.cards]\nid_lists = ['x']",
            "namespace.b.collections.cards.id_lists",
            "x",
            "remove it",
        ),
        (
            "[namespace.b.collections.cards]\nschema = 'missing.json'",
            "namespace.b.collections.cards.schema",
            "missing.json",
            "name a JSON Schema file",
        ),
        (
            "[namespace.b.collections.cards]\nschema = 'no.json'",
            "namespace.b.collections.cards.schema",
            "no.json",
            "correct the file",
        ),
    ] {
        let file = dir.path().join("server.toml");
        std::fs::write(&file, toml).unwrap();
        let file = file.to_str().unwrap();
        // A `dev_auth` of the file itself is what is judged in its row.
        let flag: &[&str] = if key == "dev_auth" {
            &[]
        } else {
            &["--dev-auth"]
        };
        for command in [&["check-config"][..], &[]] {
            let (code, out, err) = text(&run(&[command, flag, &["--config", file]].concat()));
            assert_eq!((code, out.as_str()), (2, ""), "{toml}: {err}");
            for part in [key, value, fix] {
                assert!(err.contains(part), "{toml}: {part:?} is not in: {err}");
            }
        }
    }
}

#[test]
fn every_problem_is_named_at_once() {
    let args = [
        "check-config",
        "--listen",
        "x",
        "--broker",
        "y",
        "--dev-auth",
    ];
    let (code, _, err) = text(&run(&args));
    assert_eq!(code, 2);
    assert!(err.contains("listen = \"x\" (flag --listen)"), "{err}");
    assert!(err.contains("broker = \"y\" (flag --broker)"), "{err}");
}

#[test]
fn a_file_that_cannot_be_read_or_is_not_toml_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.toml");
    let (code, _, err) = text(&run(&["--config", missing.to_str().unwrap(), "--dev-auth"]));
    assert_eq!(code, 2);
    assert!(
        err.contains("missing.toml") && err.contains("flag --config"),
        "{err}"
    );
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "listen = [").unwrap();
    let output = command(&["check-config"])
        .env("TIDEWIRE_CONFIG", &bad)
        .output()
        .unwrap();
    let (code, _, err) = text(&output);
    assert_eq!(code, 2);
    assert!(
        err.contains("bad.toml") && err.contains("env TIDEWIRE_CONFIG"),
        "{err}"
    );
}

#[test]
fn an_unknown_flag_exits_2() {
    let (code, _, err) = text(&run(&["--no-such-flag"]));
    assert_eq!(code, 2);
    assert!(err.contains("--no-such-flag"), "{err}");
}

fn printed(file: &Path, env: &[(&str, &str)], args: &[&str]) -> String {
    let mut command = command(args);
    command.args(["--config", file.to_str().unwrap(), "print-config"]);
    let output = command.envs(env.iter().copied()).output().unwrap();
    let (code, out, err) = text(&output);
    assert_eq!(code, 0, "{err}");
    out
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(
        &file,
        "listen = '127.0.0.1:1'\nbroker = 'disk'\ndrain_grace_ms = 1\n[namespace.board]\nhistory = 7\n",
    )
    .unwrap();
    let env = [
        ("TIDEWIRE_LISTEN", "127.0.0.1:2"),
        ("TIDEWIRE_DRAIN_GRACE_MS", "2"),
    ];
    let out = printed(&file, &env, &["--listen", "127.0.0.1:3"]);
    let line = |key: &str| {
        let line = out
            .lines()
            .find(|line| line.starts_with(&format!("{key} = ")));
        line.unwrap_or_else(|| panic!("{key} is not in {out}"))
            .to_owned()
    };
    let source = format!("# file {}", file.display());
    assert!(
        line("listen").contains("\"127.0.0.1:3\"") && line("listen").ends_with("# flag --listen")
    );
    assert!(line("drain_grace_ms").contains("= 2 "), "{out}");
    assert!(line("drain_grace_ms").ends_with("# env TIDEWIRE_DRAIN_GRACE_MS"));
    assert!(line("broker").contains("\"disk\"") && line("broker").ends_with(&source));
    assert!(line("data_dir").ends_with("# default"));
    assert!(line("namespace.board.history").contains("= 7 "));
    assert!(line("namespace.board.history").ends_with(&source));
    assert!(line("namespace.board.lag").ends_with("# default"));
    assert!(
        !out.contains("namespace.\"*\""),
        "named namespaces replace the default one: {out}"
    );
}

#[test]
fn print_config_does_not_judge_and_prints_toml() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(
        &file,
        "listen = 'nonsense'\nmade_up = 3\n[namespace.board]\n",
    )
    .unwrap();
    let env = [
        ("TIDEWIRE_CONNECTIONS_MAX", "many"),
        ("TIDEWIRE_ALLOW_ORIGIN", "a, b"),
    ];
    let out = printed(&file, &env, &[]);
    for part in [
        "listen = \"nonsense\"",
        "made_up = 3",
        "connections_max = \"many\"",
        "allow_origin = [\"a\", \"b\"]",
        "namespace.board.history = 2000",
    ] {
        assert!(out.contains(part), "{part} is not in {out}");
    }
}

#[test]
fn keys_are_never_printed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    let (first, second) = ("ab".repeat(32), "cd".repeat(33));
    std::fs::write(&file, format!("epoch_keys = ['{first}', '{second}']")).unwrap();
    let out = printed(&file, &[], &[]);
    let (code, _, err) = text(&run(&[
        "check-config",
        "--dev-auth",
        "--config",
        file.to_str().unwrap(),
    ]));
    assert_eq!(code, 2);
    assert!(err.contains("key 2"), "{err}");
    for text in [&out, &err] {
        assert!(!text.contains(&first[..12]), "{text}");
        assert!(!text.contains(&second[..12]), "{text}");
        assert!(
            text.contains("abab… (64") && text.contains("cdcd… (66"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_data_directory_keeps_its_epoch_key_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let args = ["--broker", "disk", "--data-dir", data.to_str().unwrap()];
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut server = Program::start(&args);
        kept.push(std::fs::read_to_string(data.join("epoch.key")).unwrap());
        server.signal("TERM");
        assert_eq!(server.exit_code().await, 0, "{}", server.log());
    }
    assert_eq!(kept[0], kept[1]);
    assert_eq!(kept[0].trim_end().len(), 64);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(data.join("epoch.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    std::fs::write(data.join("epoch.key"), "nonsense").unwrap();
    let base = ["--dev-auth", "--listen", "127.0.0.1:0"];
    let (code, _, err) = text(&run(&[&base[..], &args].concat()));
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("epoch.key") && err.contains("epoch_keys"),
        "{err}"
    );
}

#[test]
fn a_second_server_on_the_same_data_directory_exits_1() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let args = ["--broker", "disk", "--data-dir", data.to_str().unwrap()];
    let first = Program::start(&args);
    let base = ["--dev-auth", "--listen", "127.0.0.1:0"];
    let (code, out, err) = text(&run(&[&base[..], &args].concat()));
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains(data.to_str().unwrap()), "{err}");
    drop(first);
}

#[test]
fn a_copied_data_directory_is_given_a_new_run_id_by_a_command() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let name = data.to_str().unwrap();
    let args = ["--broker", "disk", "--data-dir", name];
    drop(Program::start(&args));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (code, out, err) = text(&run(&["restore", "--data-dir", name]));
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        assert!(out.starts_with(name), "{out}");
        let words = out.split([' ', ';']);
        ids.extend(words.filter(|word| word.len() == 16).map(str::to_owned));
    }
    // From the first to the second, from the second to the third.
    assert_eq!(ids.len(), 4);
    assert!(
        ids[0] != ids[1] && ids[1] == ids[2] && ids[2] != ids[3],
        "{ids:?}"
    );
    drop(Program::start(&args));
    let (code, _, err) = text(&run(&["restore"]));
    assert_eq!(code, 2);
    assert!(err.contains("--data-dir"), "{err}");
    let missing = dir.path().join("typo");
    let (code, _, err) = text(&run(&["restore", "--data-dir", missing.to_str().unwrap()]));
    assert_eq!(code, 1, "{err}");
    assert!(!missing.exists());
}

/// What another version wrote is not touched, and whoever starts the program on it is told what to do.
#[test]
fn a_data_directory_of_another_format_exits_2_and_is_left_as_it_is() {
    const META: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("meta");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let args = ["--broker", "disk", "--data-dir", data.to_str().unwrap()];
    drop(Program::start(&args));
    let file = data.join("tidewire.redb");
    for format in [1u64, 2, 99] {
        let database = redb::Database::open(&file).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut meta = transaction.open_table(META).unwrap();
        assert!(meta.insert("format", format).unwrap().is_some());
        drop(meta);
        transaction.commit().unwrap();
        drop(database);
        let before = std::fs::read(&file).unwrap();
        let base = ["--dev-auth", "--listen", "127.0.0.1:0"];
        let restore = ["restore", "--data-dir", data.to_str().unwrap()];
        for command in [&[&base[..], &args].concat()[..], &restore] {
            let (code, out, err) = text(&run(command));
            assert_eq!((code, out.as_str()), (2, ""), "{command:?}: {err}");
            for part in [
                data.to_str().unwrap(),
                &format!("format {format}"),
                "run the version that wrote it, or name an empty directory",
            ] {
                assert!(err.contains(part), "{part:?} is not in: {err}");
            }
            assert!(std::fs::read(&file).unwrap() == before, "it was written to");
        }
    }
}

#[test]
fn an_address_in_use_exits_1_and_says_which() {
    let first = Program::start(&[]);
    let (code, _, err) = text(&run(&["--dev-auth", "--listen", &first.public()]));
    assert_eq!(code, 1);
    assert!(err.contains(&first.public()), "{err}");
}

/// More connections than the process may open files: said once at the start, not found out under load.
#[cfg(unix)]
#[tokio::test]
async fn too_few_files_for_the_connections_are_raised_or_else_warned_of() {
    let log_under = async |limit: &str| {
        let server = command(&[
            "--dev-auth",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--connections-max",
            "300",
        ]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"]);
        shell.arg(server.get_program()).args(server.get_args());
        let program = Program::spawn(shell);
        // The limit is looked at before that.
        program.logged("accepting clients").await;
        program.log()
    };
    assert!(log_under("-n 200").await.contains("files_max=200"));
    assert!(!log_under("-S -n 200").await.contains("files_max"));
}
