//! The embedded default: 1,797 handwritten digits of 8x8 (UCI Optical Recognition of Handwritten
//! Digits, test part; E. Alpaydin and C. Kaynak, 1998; CC BY 4.0).

use crate::{
    Result,
    data::{Dataset, Item, Pixels, Raw, Source, Split},
};
use std::io::Read;

const FILE: &[u8] = include_bytes!("../../../assets/digits.csv.gz");
const SIDE: usize = 8;
/// Every fifth picture is held out (360 of 1,797). The file comes in series of 0 to 9 from one hand
/// after the other, so a cut at the end would hold out hands instead of pictures.
const HELD_OUT_EVERY: usize = 5;

pub(super) struct Digits {
    split: Split,
}

impl Digits {
    pub(super) fn new(split: Split) -> Self {
        Digits { split }
    }
}

impl Source for Digits {
    fn name(&self) -> String {
        "digits".into()
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(format!("digits {:?}", self.split))
    }

    fn count(&self) -> Option<u64> {
        Some(if self.split == Split::Test { 360 } else { 1437 })
    }

    fn classes(&self) -> Vec<String> {
        (0..10).map(|digit| digit.to_string()).collect()
    }

    fn is_small(&self) -> bool {
        true
    }

    fn items(&self) -> Result<Box<dyn Iterator<Item = Result<Item>> + Send + '_>> {
        let mut text = String::new();
        flate2::read::GzDecoder::new(FILE)
            .read_to_string(&mut text)
            .map_err(|e| Dataset::error("digits", e.to_string()))?;
        let test = self.split == Split::Test;
        let held_out = move |index: &usize| index.is_multiple_of(HELD_OUT_EVERY) == test;
        let lines: Vec<String> = text.lines().map(String::from).collect();
        let lines = lines.into_iter().enumerate().filter(move |(index, _)| held_out(index));
        Ok(Box::new(lines.map(|(index, line)| item(index, &line))))
    }
}

fn item(index: usize, line: &str) -> Result<Item> {
    let name = format!("line {}", index + 1);
    let (bytes, label) =
        parse(line).ok_or_else(|| Dataset::error("digits", format!("{name}: {line}")))?;
    let pixels = Pixels { height: SIDE, width: SIDE, channels: 1, bytes: bytes.to_vec() };
    Ok(Item { index: index as u64, name, label: Some(label), raw: Raw::Pixels(pixels) })
}

/// 64 values of 0..=16, then a label of 0..=9; grey levels are spread over 0..=255.
fn parse(line: &str) -> Option<([u8; SIDE * SIDE], u32)> {
    let mut values = line.split(',').map(|v| v.parse::<u32>().ok());
    let mut pixels = [0u8; SIDE * SIDE];
    for pixel in &mut pixels {
        let value = values.next()??;
        *pixel = (value <= 16).then_some((value * 255 + 8) / 16)? as u8;
    }
    let label = values.next()??;
    (label < 10 && values.next().is_none()).then_some((pixels, label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataConfig, open};

    fn digits(split: Split) -> Dataset {
        open(&DataConfig { split, ..DataConfig::default() }).unwrap()
    }

    #[test]
    fn the_split_is_fixed_and_disjoint() {
        let (train, test) = (digits(Split::Train), digits(Split::Test));
        assert_eq!((train.len(), test.len()), (1437, 360));
        let count = |split| Digits::new(split).count();
        assert_eq!((count(Split::Train), count(Split::Test)), (Some(1437), Some(360)));
        let mut all: Vec<u64> = (0..train.len()).map(|i| train.index(i)).collect();
        all.extend((0..test.len()).map(|i| test.index(i)));
        all.sort_unstable();
        assert_eq!(all, (0..1797).collect::<Vec<_>>());
    }

    #[test]
    fn pictures_are_upright_and_spread_over_all_grey_levels() {
        // Line 1 of the file (index 0, held out) is a zero: dark centre, bright ring.
        let test = digits(Split::Test);
        assert_eq!((test.index(0), test.label(0)), (0, Some(0)));
        assert_eq!((test.shape(), test.classes()), ([1, SIDE, SIDE], 10));
        let rows: Vec<&[u8]> = test.picture(0).chunks(SIDE).collect();
        assert_eq!(rows[0], [0, 0, 80, 207, 143, 16, 0, 0]);
        assert_eq!(rows[7], [0, 0, 96, 207, 159, 0, 0, 0]);
        assert!((0..test.len()).any(|i| test.picture(i).contains(&255)));
    }

    #[test]
    fn bad_lines_are_refused() {
        assert!(parse("1,2,3").is_none());
        assert!(parse(&format!("17,{}1", "0,".repeat(63))).is_none());
        assert!(parse(&format!("{}10", "0,".repeat(64))).is_none());
        assert!(parse(&format!("{}9", "16,".repeat(64))).is_some());
    }
}
