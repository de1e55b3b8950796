//! What the names of pictures say: parts and labels, by the same rules in folders and archives.

use super::{Request, split_named};
use crate::{
    Result,
    data::{Dataset, Split},
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Endings of names of pictures.
const PICTURES: [&str; 5] = ["png", "jpg", "jpeg", "bmp", "webp"];
/// Labels by name, in EDM's layout.
const LABELS: &str = "dataset.json";

/// The pictures of a part, in order.
pub(super) struct Listing {
    pub(super) entries: Vec<Entry>,
    pub(super) classes: Vec<String>,
    pub(super) ignored: u64,
}

/// A picture by its place among the names that were given.
pub(super) struct Entry {
    pub(super) place: usize,
    pub(super) label: Option<u32>,
}

/// A name as the rules see it.
struct Name {
    place: usize,
    /// The components below what all names share.
    parts: Vec<String>,
}

/// EDM's `dataset.json`.
#[derive(Deserialize)]
struct Labels {
    labels: Option<Vec<(String, u32)>>,
}

type Read<'a> = &'a dyn Fn(usize) -> Result<Vec<u8>>;

/// Sorts names, with `/` between their components, into the part that is asked for and its labels;
/// `read` reads the file at a place.
///
/// # Errors
/// When there is no such part, or `dataset.json` does not read or lacks a name.
pub(super) fn arrange(names: &[String], request: &Request, read: Read) -> Result<Listing> {
    let (mut pictures, mut json, mut ignored) = (Vec::new(), Vec::new(), 0);
    for (place, name) in names.iter().enumerate() {
        let parts: Vec<String> = name.split('/').map(String::from).collect();
        let hidden = parts.iter().any(|part| part.starts_with('.') || part == "__MACOSX");
        let name = Name { place, parts };
        match (hidden, name.last()) {
            (false, LABELS) => json.push(name),
            (false, last) if is_picture(last) => pictures.push(name),
            _ => ignored += 1,
        }
    }
    pictures.sort_by(|a, b| names[a.place].as_bytes().cmp(names[b.place].as_bytes()));
    strip_common(&mut pictures, &mut json);
    let parts = Parts::of(&pictures);
    let classes = class_folders(&pictures, &parts);
    let folder = parts.choose(request)?;
    if let Some(folder) = &folder {
        let inside = |name: &Name| name.parts.len() > 1 && name.parts[0] == *folder;
        pictures.retain(inside);
        pictures.iter_mut().for_each(|name| drop(name.parts.remove(0)));
    }
    // The part's own file comes before the one of the whole.
    let own =
        json.iter().find(|n| folder.as_ref().is_some_and(|f| n.path() == format!("{f}/{LABELS}")));
    let (table, prefix) = match own.or_else(|| json.iter().find(|n| n.path() == LABELS)) {
        None => (None, String::new()),
        Some(file) => {
            let whole = folder.filter(|_| own.is_none()).map(|folder| format!("{folder}/"));
            let bytes = read(file.place)?;
            (Some(parse(&bytes, request, &names[file.place])?), whole.unwrap_or_default())
        }
    };
    let (labels, classes) = match table {
        Some(table) => (listed(&pictures, table, &prefix, request)?, Vec::new()),
        None if !classes.is_empty() => (by_folder(&pictures, &classes), classes),
        None => (by_prefix(&pictures), Vec::new()),
    };
    let entry = |(name, label): (&Name, Option<u32>)| Entry { place: name.place, label };
    let entries = pictures.iter().zip(labels).map(entry).collect();
    Ok(Listing { entries, classes, ignored })
}

impl Name {
    fn last(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }

    fn path(&self) -> String {
        self.parts.join("/")
    }
}

fn is_picture(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| PICTURES.contains(&ending.as_str()))
}

/// Takes folders away that hold everything and are no part by their name.
fn strip_common(pictures: &mut [Name], json: &mut [Name]) {
    while let Some(first) = pictures.first().map(|name| name.parts[0].clone()) {
        let mut all = pictures.iter().chain(json.iter());
        let shared = all.all(|name| name.parts.len() > 1 && name.parts[0] == first);
        if !shared || split_named(&first).is_some() {
            return;
        }
        for name in pictures.iter_mut().chain(json.iter_mut()) {
            name.parts.remove(0);
        }
    }
}

/// The folders that stand for parts; none unless there is one to train on.
struct Parts(BTreeSet<String>);

impl Parts {
    fn of(pictures: &[Name]) -> Self {
        let top = pictures.iter().filter(|name| name.parts.len() > 1).map(|name| &name.parts[0]);
        let named: BTreeSet<String> =
            top.filter(|part| split_named(part).is_some()).cloned().collect();
        let train = named.iter().any(|part| matches!(split_named(part), Some((Split::Train, _))));
        Parts(if train { named } else { BTreeSet::new() })
    }

    /// The folder of the part that is asked for; none for a source without parts.
    fn choose(&self, request: &Request) -> Result<Option<String>> {
        let ranked = self.0.iter().filter_map(|part| match split_named(part) {
            Some((split, rank)) if split == request.split => Some((rank, part)),
            _ => None,
        });
        match ranked.min() {
            Some((_, part)) => Ok(Some(part.clone())),
            None => request.undivided().map(|()| None),
        }
    }
}

/// Names of the classes where every picture lies in a folder of its class, of which there are at
/// least two. All parts together decide, so that labels mean the same in each.
fn class_folders(pictures: &[Name], parts: &Parts) -> Vec<String> {
    let mut classes = BTreeSet::new();
    for name in pictures {
        let below = usize::from(parts.0.contains(&name.parts[0]));
        // In a source with parts, what lies outside of them does not count.
        if below == 0 && !parts.0.is_empty() {
            continue;
        }
        match name.parts.get(below..) {
            Some([class, _, ..]) => classes.insert(class.clone()),
            _ => return Vec::new(),
        };
    }
    if classes.len() > 1 { classes.into_iter().collect() } else { Vec::new() }
}

fn by_folder(pictures: &[Name], classes: &[String]) -> Vec<Option<u32>> {
    let label = |name: &Name| classes.binary_search(&name.parts[0]).ok().map(|i| i as u32);
    pictures.iter().map(label).collect()
}

/// Labels of names like `7_000123.png`; none unless all names are like it.
fn by_prefix(pictures: &[Name]) -> Vec<Option<u32>> {
    let label = |name: &Name| {
        let (digits, _) = name.last().split_once('_')?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let labels: Option<Vec<u32>> = pictures.iter().map(label).collect();
    match labels {
        Some(labels) => labels.into_iter().map(Some).collect(),
        None => vec![None; pictures.len()],
    }
}

type Table = BTreeMap<String, u32>;

fn parse(bytes: &[u8], request: &Request, file: &str) -> Result<Option<Table>> {
    let labels: Labels = serde_json::from_slice(bytes).map_err(|e| {
        let expected = r#"{"labels": [["00000/img00000000.png", 6], ...]} or {"labels": null}"#;
        Dataset::error(request.name, format!("{file}: {e}; expected {expected}"))
    })?;
    Ok(labels.labels.map(|labels| labels.into_iter().collect()))
}

fn listed(
    pictures: &[Name],
    table: Option<Table>,
    prefix: &str,
    request: &Request,
) -> Result<Vec<Option<u32>>> {
    let Some(table) = table else { return Ok(vec![None; pictures.len()]) };
    let label = |name: &Name| {
        let path = format!("{prefix}{}", name.path());
        let missing = || Dataset::error(request.name, format!("{LABELS} has no label for {path}"));
        table.get(&path).copied().map(Some).ok_or_else(missing)
    };
    pictures.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataConfig;

    fn arranged(names: &[&str], json: &str, split: Split) -> Result<(Vec<String>, Listing)> {
        let config = DataConfig { split, ..DataConfig::default() };
        let request = Request { name: "set", split, config: &config };
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let listing = arrange(&names, &request, &|_| Ok(json.as_bytes().to_vec()))?;
        let entry = |e: &Entry| match e.label {
            Some(label) => format!("{}={label}", names[e.place]),
            None => names[e.place].clone(),
        };
        Ok((listing.entries.iter().map(entry).collect(), listing))
    }

    fn train(names: &[&str]) -> Vec<String> {
        arranged(names, "", Split::Train).unwrap().0
    }

    #[test]
    fn class_folders_give_labels_in_the_order_of_their_names() {
        let (entries, listing) =
            arranged(&["dog/b.png", "cat/x/1.JPG", "cat/0.webp"], "", Split::Train).unwrap();
        assert_eq!(entries, ["cat/0.webp=0", "cat/x/1.JPG=0", "dog/b.png=1"]);
        assert_eq!(listing.classes, ["cat", "dog"]);
        // One level down from what all share; one folder alone is no class.
        assert_eq!(train(&["s/dog/b.png", "s/cat/a.png"]), ["s/cat/a.png=0", "s/dog/b.png=1"]);
        assert_eq!(train(&["s/b.png", "s/a.png"]), ["s/a.png", "s/b.png"]);
        assert_eq!(train(&["b.png", "s/a.png"]), ["b.png", "s/a.png"]);
    }

    #[test]
    fn numbers_before_the_underscore_are_labels_if_every_name_has_one() {
        assert_eq!(train(&["7_01.png", "0_02.png"]), ["0_02.png=0", "7_01.png=7"]);
        assert_eq!(train(&["7_01.png", "x_02.png"]), ["7_01.png", "x_02.png"]);
        assert_eq!(train(&["_01.png"]), ["_01.png"]);
    }

    #[test]
    fn dataset_json_comes_before_all_other_rules() {
        let names = ["00000/img1.png", "00001/img2.png", "dataset.json"];
        let json = r#"{"labels": [["00000/img1.png", 6], ["00001/img2.png", 0]]}"#;
        let (entries, listing) = arranged(&names, json, Split::Train).unwrap();
        assert_eq!(entries, ["00000/img1.png=6", "00001/img2.png=0"]);
        assert!(listing.classes.is_empty() && listing.ignored == 0);
        let (entries, _) = arranged(&names, r#"{"labels": null}"#, Split::Train).unwrap();
        assert_eq!(entries, ["00000/img1.png", "00001/img2.png"]);
        let fails = |json| arranged(&names, json, Split::Train).err().unwrap().to_string();
        let error = fails(r#"{"labels": [["00000/img1.png", 6]]}"#);
        assert!(error.contains("00001/img2.png"), "{error}");
        assert!(fails("[").contains("dataset.json"));
        assert!(fails(r#"{"labels": [["00000/img1.png", -1]]}"#).contains("dataset.json"));
    }

    #[test]
    fn dataset_json_lies_above_the_parts_or_in_them() {
        let json = r#"{"labels": [["train/1.png", 3], ["test/1.png", 4]]}"#;
        let names = ["train/1.png", "test/1.png", "dataset.json"];
        assert_eq!(arranged(&names, json, Split::Test).unwrap().0, ["test/1.png=4"]);
        let names = ["train/1.png", "test/1.png", "train/dataset.json", "test/dataset.json"];
        let json = r#"{"labels": [["1.png", 5]]}"#;
        assert_eq!(arranged(&names, json, Split::Train).unwrap().0, ["train/1.png=5"]);
    }

    #[test]
    fn parts_are_folders_and_labels_mean_the_same_in_each() {
        let names = ["train/cat/1.png", "train/dog/2.png", "val/dog/3.png", "x.txt", "other/y.png"];
        let (entries, listing) = arranged(&names, "", Split::Test).unwrap();
        assert_eq!(entries, ["val/dog/3.png=1"]);
        assert_eq!((listing.classes.len(), listing.ignored), (2, 1));
        let (entries, _) = arranged(&names, "", Split::Train).unwrap();
        assert_eq!(entries, ["train/cat/1.png=0", "train/dog/2.png=1"]);
        let both = ["train/1.png", "val/2.png", "test/3.png"];
        assert_eq!(arranged(&both, "", Split::Test).unwrap().0, ["test/3.png"]);
    }

    #[test]
    fn a_test_part_that_does_not_exist_is_refused_with_advice() {
        for names in [&["a.png", "b.png"][..], &["train/a.png"], &["cat/a.png", "dog/b.png"]] {
            let error = arranged(names, "", Split::Test).err().unwrap().to_string();
            assert!(error.contains("data.held_out") && error.contains("data.range"), "{error}");
        }
    }

    #[test]
    fn hidden_files_and_other_endings_are_counted_and_left_alone() {
        let names = ["a.png", "notes.txt", ".b.png", "__MACOSX/._a.png", "Thumbs.db", "png"];
        let (entries, listing) = arranged(&names, "", Split::Train).unwrap();
        assert_eq!((entries, listing.ignored), (vec!["a.png".to_string()], 5));
    }
}
