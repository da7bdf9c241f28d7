//! Whether the documents' relative links lead somewhere.

use std::fs;

use anyhow::{Context, bail};

use crate::place;
use crate::process::{capture, command};

/// Follows every relative link of every Markdown file that git knows or would add.
pub(crate) fn check() -> anyhow::Result<()> {
    let root = place::root();
    let listed = capture(command("git", &root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.md",
    ]))?;
    let mut dead = Vec::new();
    let mut followed = 0;
    for document in listed.lines() {
        let path = root.join(document);
        let Ok(text) = fs::read_to_string(&path) else {
            continue; // deleted, and not yet committed
        };
        let dir = path.parent().context("a file lies in a directory")?;
        for link in relative_links(&text) {
            followed += 1;
            if !dir.join(link).exists() {
                dead.push(format!("{document}: {link}"));
            }
        }
    }
    if !dead.is_empty() {
        bail!("links that lead nowhere: {}", dead.join(", "));
    }
    println!("{followed} links between files lead somewhere");
    Ok(())
}

/// Targets of `[text](target)` outside of code, without their anchors.
fn relative_links(markdown: &str) -> Vec<&str> {
    let mut links = Vec::new();
    let mut in_code = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:") {
                links.push(file);
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_files_are_followed() {
        let text = "[a](docs/a.md#x) and [b](https://example.org) [c](#here)\n\
                    ```\n[d](not/a/link)\n```\n| [e](src/) |";
        assert_eq!(relative_links(text), ["docs/a.md", "src/"]);
    }
}
