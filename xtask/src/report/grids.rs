//! Grids of samples as one figure: side by side in the page, one at a time where the script runs,
//! so that flipping between two keeps every picture in its place.

use super::{base64, text::escape};

/// A grid of samples; without bytes where there are none.
pub(crate) struct Picture<'a> {
    /// The model it shows.
    pub(crate) model: &'a str,
    /// How it was sampled.
    pub(crate) sampler: &'a str,
    /// The seed of its noise.
    pub(crate) seed: u64,
    /// A PNG.
    pub(crate) png: &'a [u8],
    /// A few words to stand behind the model's name.
    pub(crate) note: String,
}

/// Samplers with a line about each, in their order, and the grids of all models by them.
pub(crate) fn figure(samplers: &[(&str, &str)], pictures: &[Picture]) -> String {
    let models = distinct(pictures.iter().map(|picture| picture.model));
    let seeds = distinct(pictures.iter().map(|picture| picture.seed));
    let rows: String = samplers
        .iter()
        .map(|(sampler, about)| {
            let places = seeds.iter().flat_map(|seed| models.iter().map(move |m| (*m, *seed)));
            let figures: String = places
                .map(|(model, seed)| {
                    let here =
                        |p: &&Picture| (p.model, p.sampler, p.seed) == (model, *sampler, seed);
                    let nothing = Picture { model, sampler, seed, png: &[], note: String::new() };
                    place(pictures.iter().find(here).unwrap_or(&nothing), seeds.len() > 1)
                })
                .collect();
            format!(
                "<div class=\"row\">\n<h3>{} <span>{}</span></h3>\n\
                 <div class=\"grids\">\n{figures}</div>\n</div>\n",
                escape(sampler),
                escape(about)
            )
        })
        .collect();
    format!("<div class=\"flip\">\n{rows}</div>\n")
}

fn place(picture: &Picture, name_the_seed: bool) -> String {
    let [model, sampler] = [picture.model, picture.sampler].map(escape);
    let seed = if name_the_seed { format!(", seed {}", picture.seed) } else { String::new() };
    let image = if picture.png.is_empty() {
        "<div class=\"none\">no samples</div>".to_string()
    } else {
        let png = base64::encode(picture.png);
        format!(
            "<img alt=\"Samples of {model} by {sampler}{seed}\" \
             src=\"data:image/png;base64,{png}\">"
        )
    };
    format!(
        "<figure data-model=\"{model}\" data-sampler=\"{sampler}\" data-seed=\"{}\">{image}\
         <figcaption><b>{model}</b>{seed} {}</figcaption></figure>\n",
        picture.seed,
        escape(&picture.note)
    )
}

/// The members of a list, each once, in their order.
fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture<'a>(model: &'a str, seed: u64, png: &'a [u8]) -> Picture<'a> {
        Picture { model, sampler: "ddim", seed, png, note: "1 s".into() }
    }

    #[test]
    fn every_model_has_a_place_for_every_seed_by_every_sampler() {
        let pictures = [picture("a", 0, b"x"), picture("b\"", 0, b"y"), picture("a", 1, b"z")];
        let html = figure(&[("ddim", "10 steps"), ("ddpm", "")], &pictures);
        assert_eq!(html.matches("<figure").count(), 2 * 2 * 2);
        assert_eq!(html.matches("no samples").count(), 5);
        for png in ["eA==", "eQ==", "eg=="] {
            assert_eq!(html.matches(png).count(), 1, "a picture stands in the page once");
        }
        assert!(html.contains("data-model=\"b&quot;\""));
        assert!(html.contains("Samples of a by ddim, seed 1"));
    }

    #[test]
    fn a_single_seed_is_not_repeated_in_every_caption() {
        let html = figure(&[("ddim", "")], &[picture("a", 7, b"x")]);
        assert!(html.contains("<b>a</b> 1 s</figcaption>"), "{html}");
    }
}
