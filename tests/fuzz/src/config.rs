//! Settings from file, environment and flags: whatever they say, they are a configuration or problems
//! that each name key, value and fix.

use std::collections::BTreeMap;
use std::io;

use tidewire_server::Config;
use tidewire_server::config::{ApiKey, ApiSecret, LoadError, Overrides, Settings};

/// Lines `NAME=value` are the environment, lines that begin with `--` flags, the rest is the file.
pub(crate) fn run(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let mut file = String::new();
    let mut env = BTreeMap::new();
    let mut flags = Vec::new();
    for line in input.lines() {
        match line.split_once('=') {
            Some((name, value)) if name.starts_with("TIDEWIRE_") => {
                env.insert(name, value);
            }
            _ if line.starts_with("--") => flags.push(line),
            _ => {
                file.push_str(line);
                file.push('\n');
            }
        }
    }
    let Ok(mut overrides) = Overrides::from_args(flags) else {
        return;
    };
    overrides.config = Some("server.toml".into());
    let load = |overrides: &Overrides, text: String| {
        Settings::load_with(
            overrides,
            |name| env.get(name).map(|value| (*value).to_owned()),
            |_| Ok::<_, io::Error>(text),
        )
    };
    let settings = match load(&overrides, file) {
        Ok(settings) => settings,
        Err(error) => {
            assert!(matches!(error, LoadError::NotToml { .. }));
            return assert!(error.to_string().contains("server.toml"));
        }
    };
    let printed = settings.to_string();
    match Config::from_settings(&settings) {
        Ok(config) => {
            let has_digest = |key: &ApiKey| matches!(key.secret, ApiSecret::Sha256(_));
            if !config.epoch_keys.is_empty() || config.api_keys.iter().any(has_digest) {
                // Keys are not printed.
                for key in &config.epoch_keys {
                    assert!(!printed.contains(&key.to_hex()));
                }
                return;
            }
            // What `print-config` prints is a file that says the same.
            let file_alone = Overrides {
                config: overrides.config.clone(),
                ..Overrides::default()
            };
            let again = Settings::load_with(&file_alone, |_| None, |_| Ok(printed));
            let again = again.expect("what is printed is TOML");
            let again = Config::from_settings(&again).expect("what is printed is legal");
            assert_eq!(format!("{again:?}"), format!("{config:?}"));
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                assert!(!problem.key.is_empty() && !problem.fix.is_empty());
                let text = problem.to_string();
                assert!(text.contains(&problem.key) && text.contains(&problem.value));
            }
        }
    }
}
