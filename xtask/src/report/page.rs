//! The frame of a page that needs nothing else: style and script are inside, and the browser is
//! told to fetch nothing.

use super::text::escape;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");
/// What the page may do: show what is in it.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
                      script-src 'unsafe-inline'";

/// A page of its title, `header` below it, and sections of heading and body with a table of
/// contents. Empty sections are left out. Headings are words that differ in their letters.
pub(crate) fn render(title: &str, header: &str, sections: &[(&str, String)]) -> String {
    let title = escape(title);
    let shown = || sections.iter().filter(|(_, body)| !body.is_empty());
    let links: String = shown()
        .map(|(heading, _)| format!("<a href=\"#{}\">{}</a>\n", anchor(heading), escape(heading)))
        .collect();
    let bodies: String = shown()
        .map(|(heading, body)| {
            let (id, heading) = (anchor(heading), escape(heading));
            format!("<section id=\"{id}\">\n<h2>{heading}</h2>\n{body}</section>\n")
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n{header}</header>\n\
         <nav aria-label=\"Contents\">\n{links}</nav>\n<main>\n{bodies}</main>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

/// A heading as the name of a place on the page.
fn anchor(heading: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    heading.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_with_a_body_is_linked_and_no_other() {
        let sections = [("Wall times", "<p>x</p>".to_string()), ("Empty", String::new())];
        let page = render("a < b", "", &sections);
        assert!(page.contains("<title>a &lt; b</title>"));
        assert!(page.contains("href=\"#wall-times\">Wall times</a>"));
        assert!(page.contains("<section id=\"wall-times\">\n<h2>Wall times</h2>\n<p>x</p>"));
        assert!(!page.contains("Empty"));
    }

    #[test]
    fn the_style_and_the_script_do_not_end_their_element() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
    }
}
