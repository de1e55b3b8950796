//! The commands a README promises, read out of it, so that what is checked is what is printed.

use anyhow::{Context, Result};

/// The shell command in the code block that follows the line `<!-- command: NAME -->`.
pub(crate) fn command<'a>(readme: &'a str, name: &str) -> Result<&'a str> {
    let marker = format!("<!-- command: {name} -->");
    let mut lines = readme.lines().skip_while(|line| line.trim() != marker).skip(1);
    lines
        .find(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("```sh"))
        .and_then(|_| lines.next())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("```"))
        .with_context(|| format!("README.md: expected a ```sh block after `{marker}`"))
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn the_marked_block_is_the_command() {
        let text = "```sh\nother\n```\n<!-- command: test -->\n\n```sh\ncargo test\n```\n";
        assert_eq!(command(text, "test").unwrap(), "cargo test");
    }

    #[test]
    fn a_missing_or_empty_block_is_an_error_that_names_the_marker() {
        for text in ["", "<!-- command: test -->\ncargo test", "<!-- command: test -->\n```sh\n```"]
        {
            let error = command(text, "test").unwrap_err().to_string();
            assert!(error.contains("command: test"), "{error}");
        }
    }
}
